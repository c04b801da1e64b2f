"""The trace hook: every stage of a connection or command reports that it started, completed or failed.

The log (at debug level), ``--verbose`` and the figures of ``figures.py`` all come from here. Where neither a
hook nor the debug log listens, a stage costs less than a microsecond: no event is made and no text formatted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import redact

Stage = Literal["resolve", "connect", "handshake", "host key", "auth", "channel", "run", "transfer", "close"]

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One report of one stage. No text in it has a secret in it.

    Attributes:
        stage: what is being done.
        state: how it stands.
        address: ``user@host:port`` of the hop it concerns.
        detail: what was found (an address, a fingerprint, a method), or why it failed.
        duration: seconds since the stage started; 0 when it starts.
        sent: bytes of a script with its variables, or of a file, that went to the host.
        received: bytes of a script's output, or of a file, that came from it.
    """

    stage: Stage
    state: Literal["started", "complete", "failed"]
    address: str
    detail: str = ""
    duration: float = 0.0
    sent: int = 0
    received: int = 0


Trace = Callable[[TraceEvent], None]
"""Called from the thread that works; what it raises is logged, and changes nothing else."""


class StageDetail:
    """Lets the code inside a stage say what it found, and how many bytes went each way."""

    __slots__ = ("received", "sent", "text")

    def __init__(self) -> None:
        self.text = ""
        self.sent = 0
        self.received = 0


class _Unheard:
    """A stage that nobody listens to."""

    __slots__ = ()

    def __enter__(self) -> StageDetail:
        return StageDetail()

    def __exit__(self, *_: object) -> None:
        pass


_UNHEARD = _Unheard()


class Tracer:
    """Emits events to the log (debug level) and to the caller's hook.

    Args:
        hook: None for the log alone.
    """

    __slots__ = ("_failed", "_hook", "_lock")

    def __init__(self, hook: Trace | None) -> None:
        self._hook = hook
        self._failed = False
        self._lock = threading.Lock()

    def stage(self, stage: Stage, address: str) -> _Stage | _Unheard:
        """A context manager: reports the start of ``stage``, and its end whichever way the block is left."""
        if self._hook is None and not _LOGGER.isEnabledFor(logging.DEBUG):
            return _UNHEARD
        return _Stage(self, stage, address)

    def emit(self, event: TraceEvent) -> None:
        """Hand one event to whoever listens. A hook that fails is told of in the log, once."""
        if event.state != "started" and _LOGGER.isEnabledFor(logging.DEBUG):  # one line a stage
            _LOGGER.debug("%s", in_words(event))
        if self._hook is None:
            return
        try:
            self._hook(event)
        except Exception:
            with self._lock:
                first, self._failed = not self._failed, True
            if first:
                _LOGGER.warning("A trace hook failed at the stage %r; going on.", event.stage, exc_info=True)


class _Stage:
    """One stage of one tracer, while it lasts."""

    __slots__ = ("_address", "_began", "_detail", "_stage", "_tracer")

    def __init__(self, tracer: Tracer, stage: Stage, address: str) -> None:
        self._tracer = tracer
        self._stage: Stage = stage
        self._address = address
        self._detail = StageDetail()
        self._began = 0.0

    def __enter__(self) -> StageDetail:
        self._tracer.emit(TraceEvent(self._stage, "started", self._address))
        self._began = time.monotonic()
        return self._detail

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        found = self._detail
        self._tracer.emit(
            TraceEvent(
                self._stage,
                "complete" if kind is None else "failed",
                self._address,
                redact(found.text if kind is None else _reason(kind, error)),
                time.monotonic() - self._began,
                found.sent,
                found.received,
            )
        )


def in_words(event: TraceEvent) -> str:
    """One line for people: ``joe@db1:22 auth complete in 0.008 s: the key ~/.ssh/id_ed25519``."""
    words = f"{event.address} {event.stage} {event.state}"
    if event.state != "started":
        words += f" in {event.duration:.4f} s"
    if event.sent or event.received:
        words += f", {event.sent} bytes sent, {event.received} received"
    return f"{words}: {event.detail}" if event.detail else words


def _reason(kind: type[BaseException], error: BaseException | None) -> str:
    if isinstance(error, RemoteError):
        return error.message
    return str(error).strip() or kind.__name__
