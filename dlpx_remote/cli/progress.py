"""Progress on stderr, in one line, for people who wait longer than a second at a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dlpx_remote.cli.output import plain

if TYPE_CHECKING:
    from rich.status import Status

    from dlpx_remote.engine import DiscoveryEvent

_PATIENCE = 1.0
_SHOWN_AT_ONCE = 3
_running: list[StatusLine] = []


class StatusLine:
    """A line that is shown while the ``with`` block runs; it says what :meth:`line` gives."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._wanted = False
        self._hidden = 0
        self._status: Status | None = None
        self._timer = threading.Timer(_PATIENCE, self._appear)
        self._timer.daemon = True

    def line(self) -> str:
        """What the line says now."""
        raise NotImplementedError

    def update(self) -> None:
        """What :meth:`line` gives has changed."""
        with self._lock:
            if self._status is not None:
                self._status.update(self._escaped())

    def __enter__(self) -> Self:
        _running.append(self)
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _running.remove(self)
        self._timer.cancel()
        with self._lock:
            self._hidden += 1  # a timer that went off just now finds itself too late
            self._redraw()

    def hide(self) -> None:
        """Take the line away until :meth:`show`; calls may nest."""
        with self._lock:
            self._hidden += 1
            self._redraw()

    def show(self) -> None:
        """Undo one :meth:`hide`."""
        with self._lock:
            self._hidden -= 1
            self._redraw()

    def _appear(self) -> None:
        with self._lock:
            self._wanted = True
            self._redraw()

    def _redraw(self) -> None:
        visible = self._wanted and not self._hidden
        if visible and self._status is None:
            from rich.console import Console
            from rich.status import Status

            self._status = Status(self._escaped(), console=Console(file=sys.stderr, highlight=False))
            self._status.start()
        elif not visible and self._status is not None:
            self._status.stop()
            self._status = None

    def _escaped(self) -> str:
        from rich.markup import escape

        return escape(plain(self.line()))


class DiscoveryProgress(StatusLine):
    """Call it with the events of a discovery."""

    def __init__(self) -> None:
        super().__init__()
        self._working: dict[str, str] = {}
        self._finished = 0
        self._failed = 0

    def __call__(self, event: DiscoveryEvent) -> None:
        with self._lock:
            if event.stage in ("connecting", "discovering"):
                self._working[event.environment] = f"{event.environment}: {event.plugin or event.stage}"
            else:
                self._working.pop(event.environment, None)
                self._finished += event.stage == "finished"
                self._failed += event.stage == "failed"
            self.update()

    def line(self) -> str:
        """How many environments are done, and what is being worked on."""
        working = list(self._working.values())
        more = f" and {len(working) - _SHOWN_AT_ONCE} more" if len(working) > _SHOWN_AT_ONCE else ""
        now = ", ".join(working[:_SHOWN_AT_ONCE]) + more
        failed = f", {self._failed} failed" if self._failed else ""
        return f"Discovering: {self._finished} finished{failed}. {now}"


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Nothing is drawn while a person is asked something."""
    shown = list(_running)
    for progress in shown:
        progress.hide()
    try:
        yield
    finally:
        for progress in shown:
            progress.show()
