"""A contestant in a process of its own, so that its memory and processor time are its own too.

``python -m benchmarks.ssh.contestant NAME`` answers requests, one JSON line each, until its input ends. A
failure is an answer like any other.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from benchmarks.ssh.hosts import allow_many_files

_TAIL = 2000


class ContestantFailed(Exception):
    """It gave no measurement; the text says why, in its own words."""


class Contestant:
    """The near end: starts the process, asks, ends it.

    Args:
        name: of the adapter in ``benchmarks.ssh.peers``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        near, far = socket.socketpair()
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.ssh.contestant", name],
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=self._errors,
            )
        self._socket = near
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: Mapping[str, Any], limit: float) -> dict[str, float]:
        """Have one measurement taken.

        Args:
            request: ``measure`` and its arguments.
            limit: seconds to wait for the answer.

        Raises:
            ContestantFailed: it said so, it ended, or the time was up.
        """
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise ContestantFailed(self._last_words("It ended.")) from None
        answer = json.loads(self._line(limit))
        if "error" in answer:
            raise ContestantFailed(str(answer["error"]))
        return {name: float(value) for name, value in answer.items()}

    def close(self) -> None:
        """End the process, by force if it does not end by itself."""
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _line(self, limit: float) -> bytes:
        until = time.monotonic() + limit
        while b"\n" not in self._pending:
            try:
                self._socket.settimeout(max(0.001, until - time.monotonic()))
                piece = self._socket.recv(65536)
            except TimeoutError:
                self._process.kill()
                raise ContestantFailed(self._last_words(f"No answer within {limit:g} s.")) from None
            except OSError:
                piece = b""
            if not piece:
                raise ContestantFailed(self._last_words("It ended."))
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _last_words(self, sentence: str) -> str:
        self._errors.seek(0)
        words = self._errors.read()[-_TAIL:].decode("utf-8", "replace").strip()
        return f"{sentence} {words}".strip()


def _serve(name: str) -> None:
    """The far end. Libraries may print: they get the error stream, and never see the requests."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    allow_many_files()
    peer: Any = None
    for line in requests:
        try:
            if peer is None:
                # Here, so that a library that is not installed is an answer too.
                from benchmarks.ssh.peers import load

                peer = load(name)
            answer = peer.measure(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
    # Libraries leave threads behind that would hold up an orderly end.
    os._exit(0)
