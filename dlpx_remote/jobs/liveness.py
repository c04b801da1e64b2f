"""Who runs jobs, and whether that process still lives.

On one machine that is certain: the process table says so. Of a process elsewhere only its beats are seen, a
number in the database that grows; one whose number has stood still for a while, measured by the watcher's own
monotonic clock, counts as dead. No two clocks are compared, so a clock that jumps kills nobody.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SILENCE = 12.0
"""Seconds without a beat after which a process elsewhere counts as dead."""
CUT_OFF = 9.0
"""Seconds out of reach of the database after which a process counts itself as dead: before others do."""
_BLIND = 6.0  # seconds between two looks after which nothing that was seen before counts: nobody looked

_PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """A process that runs jobs.

    Attributes:
        id: its name in the database; new with every start.
        host_name: its machine, for people.
        boot: boot and process id namespace, within which ``process`` means something.
        process: its process id there.
        started_ticks: when it began, in clock ticks since the boot.
    """

    id: str
    host_name: str
    boot: str
    process: int
    started_ticks: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host_name}"


def own_identity() -> Identity:
    """Of this process."""
    return Identity(
        id=uuid.uuid4().hex,
        host_name=socket.gethostname(),
        boot=_boot(),
        process=os.getpid(),
        started_ticks=_started_ticks(os.getpid()) or 0,
    )


@dataclass
class Watch:
    """Tells which of the known processes are dead.

    Args:
        clock: seconds of a clock that never jumps.
        silence: seconds without a beat after which a process elsewhere counts as dead.
    """

    clock: Callable[[], float] = time.monotonic
    silence: float = field(default_factory=lambda: SILENCE)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _looked: float | None = None

    def dead(self, executor: Identity, beats: int) -> bool:
        """Whether ``executor``, whose count of beats is now ``beats``, is surely or presumably dead."""
        if executor.boot == _boot():
            return _started_ticks(executor.process) != executor.started_ticks
        now = self.clock()
        if self._looked is not None and now - self._looked > _BLIND:
            self._seen.clear()  # the database was away, from us and perhaps from them
        self._looked = now
        last, since = self._seen.get(executor.id, (None, now))
        if last != beats:
            self._seen[executor.id] = (beats, now)
            return False
        return now - since > self.silence

    def forget(self, id: str) -> None:
        """No longer watch it."""
        self._seen.pop(id, None)


def _boot() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot} {str(namespace).removeprefix('pid:').strip('[]')}"


def _started_ticks(process: int) -> int | None:
    """Field 22 of proc_pid_stat(5); None when there is no such process, or only what is left of one."""
    try:
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
