"""A running command: bytes in, bytes out, an exit code at the end.

The service feeds stdin and takes output; a program (scripted, of a test, or real) is on the other side.
Thread-safe. Knows nothing of SOAP or shells.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

CTRL_C_EXIT = 3221225786
"""Exit code of a process that Ctrl-C or a terminate ends (STATUS_CONTROL_C_EXIT)."""


class Ended(Exception):
    """The command has been ended from outside while a program was at work for it."""


@dataclass(frozen=True)
class Taken:
    """What a Receive gets.

    Attributes:
        pieces: stream and bytes, in order.
        exit_code: None while the command runs.
    """

    pieces: tuple[tuple[str, bytes], ...]
    exit_code: int | None


class Process:
    """One command of a shell.

    Attributes:
        exit_code: None while it runs.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stdin = bytearray()
        self._stdin_ended = False
        self._output: deque[tuple[str, bytes] | None] = deque()  # None ends a Receive reply
        self._killed = False
        self._on_kill: list[Callable[[], None]] = []
        self.exit_code: int | None = None

    # the program's side

    def read(self, size: int = -1) -> bytes:
        """Wait for input: ``size`` bytes or fewer, all up to the end with -1; empty at the end.

        Raises:
            Ended: the command has been ended from outside.
        """
        with self._changed:
            while not (self._stdin_ended or self._killed) and (size < 0 or not self._stdin):
                self._changed.wait()
            if self._killed:
                raise Ended
            count = len(self._stdin) if size < 0 else min(size, len(self._stdin))
            data = bytes(self._stdin[:count])
            del self._stdin[:count]
            return data

    def read_line(self) -> bytes:
        """Wait for a line, with its line feed; less at the end of input, and then empty."""
        with self._changed:
            while b"\n" not in self._stdin and not (self._stdin_ended or self._killed):
                self._changed.wait()
            if self._killed:
                raise Ended
            count = self._stdin.find(b"\n") + 1 or len(self._stdin)
            data = bytes(self._stdin[:count])
            del self._stdin[:count]
            return data

    def write(self, data: str | bytes, stream: str = "stdout") -> None:
        """Write output; ``stream`` is ``stdout`` or ``stderr``. Text becomes UTF-8."""
        content = data.encode() if isinstance(data, str) else data
        with self._changed:
            if self._killed:
                raise Ended
            if content:
                self._output.append((stream, content))
                self._changed.notify_all()

    def close_piece(self) -> None:
        """What is written from here on comes in another Receive reply."""
        with self._changed:
            self._output.append(None)

    def pause(self, seconds: float) -> None:
        """Sleep, unless the command is ended from outside meanwhile (:class:`Ended`)."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._killed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._killed:
                raise Ended

    def on_kill(self, act: Callable[[], None]) -> None:
        """Call ``act`` when the command is ended from outside (at once, if it has been)."""
        with self._changed:
            if not self._killed:
                self._on_kill.append(act)
                return
        act()

    def finish(self, exit_code: int) -> None:
        """The command has ended by itself. A second call changes nothing."""
        with self._changed:
            if self.exit_code is None:
                self.exit_code = exit_code
                self._changed.notify_all()

    # the service's side

    @property
    def accepts_input(self) -> bool:
        """Whether more stdin can be sent."""
        with self._changed:
            return not self._stdin_ended and self.exit_code is None

    @property
    def stdin(self) -> bytes:
        """What has been sent and not been read."""
        with self._changed:
            return bytes(self._stdin)

    def feed(self, data: bytes, *, end: bool) -> None:
        """Add to stdin."""
        with self._changed:
            self._stdin += data
            self._stdin_ended = self._stdin_ended or end
            self._changed.notify_all()

    def kill(self) -> None:
        """End the command from outside: what waits for it is told."""
        with self._changed:
            if self._killed:
                return
            self._killed = True
            if self.exit_code is None:
                self.exit_code = CTRL_C_EXIT
            acts, self._on_kill = self._on_kill, []
            self._changed.notify_all()
        for act in acts:
            act()

    def take(self, limit: int, timeout: float) -> Taken | None:
        """Output for one Receive reply, as soon as there is some or the command has ended.

        Args:
            limit: bytes at most.
            timeout: seconds to wait.

        Returns:
            None when nothing happened in time.

        Raises:
            Ended: the command was ended from outside while this waited.
        """
        until = time.monotonic() + timeout
        with self._changed:
            while True:
                while self._output and self._output[0] is None:
                    self._output.popleft()
                if self._output or self.exit_code is not None:
                    break
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
                if self._killed:
                    raise Ended
            pieces, more = self._pieces(limit)
            return Taken(tuple(pieces), None if more else self.exit_code)

    def _pieces(self, limit: int) -> tuple[list[tuple[str, bytes]], bool]:
        """Up to ``limit`` bytes up to the end of a piece, and whether something is to come after them."""
        pieces: list[tuple[str, bytes]] = []
        while self._output and limit > 0:
            item = self._output.popleft()
            if item is None:
                return pieces, True
            stream, data = item
            if len(data) > limit:
                self._output.appendleft((stream, data[limit:]))
                data = data[:limit]
            limit -= len(data)
            pieces.append((stream, data))
        return pieces, bool(self._output)
