"""Processes of NFS servers of engines that are no more: found by what only they are started with, and ended.

A supervisor, message bus or Ganesha of an engine names that engine's directory on its command line. It is
left over where that directory is gone, or, of this engine's own, where neither its supervisor nor anything
exported is there. Other engines' processes are never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlpx_remote.mounts.base import ExportFailed
from dlpx_remote.mounts.ganesha_server import RUNTIME, SUPERVISOR, GaneshaServer

Program = Literal["supervisor", "ganesha.nfsd", "dbus-daemon"]
_ORDER: tuple[Program, ...] = (
    "supervisor",
    "ganesha.nfsd",
    "dbus-daemon",
)  # the first would start the others
_PATIENCE = 5.0


@dataclass(frozen=True)
class Leftover:
    """A process that nothing needs.

    Attributes:
        process: its number.
        born: when it began, in the kernel's ticks: numbers of processes are used again.
        program: what it is.
        directory: of the server that it belongs to.
        why: it is left over, in words.
    """

    process: int
    born: str
    program: Program
    directory: Path
    why: str


def leftovers(server: GaneshaServer, *, exported: bool) -> list[Leftover]:
    """Those on this machine, in the order in which they are to end.

    Args:
        server: this engine's own, whether or not it runs.
        exported: whether the engine has anything to export.
    """
    found: list[Leftover] = []
    own, supervised = server.directory.absolute(), server.supervised()
    for process, words in _command_lines():
        program, directory = _recognised(words)
        if program is None or directory is None:
            continue
        if not (Path(f"/proc/{process}/root") / directory.relative_to("/")).exists():
            why = f"its engine's directory {directory} is gone"
        elif directory == own and not supervised and not exported:
            why = "its supervisor is gone, and nothing is exported"
        else:
            continue
        with contextlib.suppress(OSError):
            found.append(Leftover(process, _born(process), program, directory, why))
    return sorted(found, key=lambda one: (str(one.directory), _ORDER.index(one.program), one.process))


def end(leftover: Leftover) -> bool:
    """End it; False where it has ended by itself.

    Raises:
        ExportFailed: it is still there.
    """
    if not _is(leftover):
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(leftover.process, number)
        until = time.monotonic() + _PATIENCE
        while _is(leftover) and time.monotonic() < until:
            time.sleep(0.02)
    if _is(leftover):
        raise ExportFailed(
            f"The process {leftover.process} ({leftover.program}) does not end.",
            "See what it waits for: a file system that does not answer, for example.",
        )
    if leftover.program == "dbus-daemon":
        digest = hashlib.sha256(os.fsencode(leftover.directory)).hexdigest()[:16]
        shutil.rmtree(RUNTIME / digest, ignore_errors=True)
    return True


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = os.fsdecode((place / "cmdline").read_bytes()).split("\0")[:-1]
        except OSError:
            continue
        if words:
            yield int(place.name), words


def _recognised(words: list[str]) -> tuple[Program | None, Path | None]:
    """Which program of an engine's server a command line is of, and in which directory."""
    program: Program
    match words:
        case [_, "-c", _, mark, directory, _] if mark == SUPERVISOR:
            program, path = "supervisor", directory
        case ["dbus-daemon", file, "--nofork", "--nopidfile"] if file.endswith("/bus.conf"):
            program, path = "dbus-daemon", file.removeprefix("--config-file=").removesuffix("/bus.conf")
        case ["ganesha.nfsd", "-F", "-f", file, "-L", _, "-p", lock] if (
            lock.removesuffix("/lock.pid") == file.removesuffix("/ganesha.conf") != file
        ):
            program, path = "ganesha.nfsd", file.removesuffix("/ganesha.conf")
        case _:
            return None, None
    return (program, Path(path)) if path.startswith("/") else (None, None)


def _is(leftover: Leftover) -> bool:
    try:
        return _born(leftover.process) == leftover.born
    except OSError:
        return False


def _born(process: int) -> str:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ProcessLookupError
    return fields[19]
