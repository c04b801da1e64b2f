"""Runs the real PowerShell for commands that no rule answers, where ``pwsh`` is on PATH.

The command line is taken as a client sent it, with ``powershell.exe`` replaced; stdin and output are passed
through as bytes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import threading
from typing import IO

from .process import Ended, Process
from .programs import Invocation, Live

_PIECE = 1 << 15
_PROGRAM = re.compile(r"^\s*\"?[^\"\s]*?(?:powershell|pwsh)(?:\.exe)?\"?\s*", re.IGNORECASE)


def installed() -> str | None:
    """Path of ``pwsh``; None where there is none."""
    return shutil.which("pwsh")


def live(program: str) -> Live:
    """A program that runs ``program`` with the arguments of the command line."""

    def run(invocation: Invocation, process: Process) -> int:
        arguments = shlex.split(_PROGRAM.sub("", invocation.command_line), posix=True)
        child = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=invocation.directory or None,
            env={**os.environ, **invocation.environment},
        )
        process.on_kill(child.kill)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        threads = [
            threading.Thread(target=_feed, args=(process, child.stdin), daemon=True),
            threading.Thread(target=_drain, args=(process, child.stdout, "stdout"), daemon=True),
            threading.Thread(target=_drain, args=(process, child.stderr, "stderr"), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        return child.wait()

    return Live(run)


def _feed(process: Process, stdin: IO[bytes]) -> None:
    try:
        with stdin:
            while data := process.read(_PIECE):
                stdin.write(data)
                stdin.flush()
    except (Ended, OSError):
        pass


def _drain(process: Process, output: IO[bytes], stream: str) -> None:
    try:
        while data := os.read(output.fileno(), _PIECE):
            process.write(data, stream)
    except Ended:
        pass
    finally:
        output.close()
