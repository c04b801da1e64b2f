"""``ProxyCommand``: a command of this machine whose standard input and output lead to the host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from typing import IO, Self

GRACE = 1.0
"""Seconds that the command may take to end once its streams are closed."""

_LONGEST_SAYING = 500


class ProxyCommand(socket.socket):
    """Our end of a socket pair whose other end is the command's standard input and output.

    A socket like that of any connection, so that deadlines and polling work as there. Closing it ends the
    command with all that it started.
    """

    _process: subprocess.Popen[bytes]
    _errors: IO[bytes]
    _lock: threading.Lock
    _said: str

    @classmethod
    def started(cls, command: str) -> Self:
        """Start ``command`` with the shell, its tokens already expanded.

        Raises:
            OSError: there is no shell to start it with.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            errors = undo.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors.fileno(),
                start_new_session=True,
            )
            undo.pop_all()
        connection = cls(fileno=ours.detach())
        connection._process, connection._errors = process, errors
        connection._lock, connection._said = threading.Lock(), ""
        return connection

    def last_words(self) -> str:
        """What the command wrote to standard error last, in one line, and how it ended if it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        with self._lock:
            self._note()
            code = self._process.poll()
        end = "still runs" if code is None else f"ended with exit code {code}"
        return f"{end} and said: {self._said}" if self._said else end

    def close(self) -> None:
        """Close our end, and end the command. Idempotent."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        super().close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with self._lock:
            self._note()
            self._errors.close()

    def _note(self) -> None:
        """Read what was said, while it can be read: the session's thread may close all at any time."""
        if not self._errors.closed:
            size = os.fstat(self._errors.fileno()).st_size
            said = os.pread(self._errors.fileno(), _LONGEST_SAYING, max(0, size - _LONGEST_SAYING))
            self._said = " ".join(said.decode("utf-8", "replace").split())
