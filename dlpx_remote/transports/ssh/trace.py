"""The trace hook: every stage of a connection or command reports that it started, completed or failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Stage = Literal["resolve", "connect", "handshake", "host key", "auth", "channel", "run", "transfer", "close"]

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")


@dataclass(frozen=True)
class TraceEvent:
    """One report of one stage.

    Attributes:
        stage: what is being done.
        state: how it stands.
        address: ``user@host:port`` of the hop it concerns.
        detail: what was found (an address, a fingerprint, a method), or why it failed.
        duration: seconds since the stage started; 0 when it starts.
    """

    stage: Stage
    state: Literal["started", "complete", "failed"]
    address: str
    detail: str = ""
    duration: float = 0.0


Trace = Callable[[TraceEvent], None]


class StageDetail:
    """Lets the code inside a stage say what it found."""

    def __init__(self) -> None:
        self.text = ""


class Tracer:
    """Emits events to the log (debug level) and to the caller's hook."""

    def __init__(self, hook: Trace | None) -> None:
        self._hook = hook

    @contextmanager
    def stage(self, stage: Stage, address: str) -> Iterator[StageDetail]:
        """Report the start of ``stage``, and its end whichever way the block is left."""
        detail = StageDetail()
        began = time.monotonic()
        self._emit(TraceEvent(stage, "started", address))
        try:
            yield detail
        except BaseException as error:
            self._emit(TraceEvent(stage, "failed", address, str(error), time.monotonic() - began))
            raise
        self._emit(TraceEvent(stage, "complete", address, detail.text, time.monotonic() - began))

    def _emit(self, event: TraceEvent) -> None:
        if event.state != "started":  # one line a stage
            _LOGGER.debug(
                "%s %s %s in %.3f s: %s",
                event.address,
                event.stage,
                event.state,
                event.duration,
                event.detail,
            )
        if self._hook is not None:
            self._hook(event)
