"""Progress of a discovery on stderr, for people who wait longer than a second at a terminal."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dlpx_remote.cli.output import plain

if TYPE_CHECKING:
    from rich.status import Status

    from dlpx_remote.engine import DiscoveryEvent

_PATIENCE = 1.0
_SHOWN_AT_ONCE = 3


class DiscoveryProgress:
    """Call it with the events of a discovery; it shows one line while the ``with`` block runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working: dict[str, str] = {}
        self._finished = 0
        self._failed = 0
        self._status: Status | None = None
        self._timer = threading.Timer(_PATIENCE, self._appear)
        self._timer.daemon = True

    def __call__(self, event: DiscoveryEvent) -> None:
        with self._lock:
            if event.stage in ("connecting", "discovering"):
                what = f"{event.environment}: {event.plugin or event.stage}"
                self._working[event.environment] = f"{what} {event.detail}".rstrip()
            else:
                self._working.pop(event.environment, None)
                self._finished += event.stage == "finished"
                self._failed += event.stage == "failed"
            if self._status is not None:
                self._status.update(self._line())

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._timer = threading.Timer(_PATIENCE, lambda: None)
            if self._status is not None:
                self._status.stop()
                self._status = None

    def _appear(self) -> None:
        from rich.console import Console
        from rich.status import Status

        with self._lock:
            console = Console(file=sys.stderr, highlight=False, markup=False)
            self._status = Status(self._line(), console=console)
            self._status.start()

    def _line(self) -> str:
        working = list(self._working.values())
        more = f" and {len(working) - _SHOWN_AT_ONCE} more" if len(working) > _SHOWN_AT_ONCE else ""
        now = ", ".join(working[:_SHOWN_AT_ONCE]) + more
        failed = f", {self._failed} failed" if self._failed else ""
        return plain(f"Discovering: {self._finished} finished{failed}. {now}").replace("[", "\\[")
