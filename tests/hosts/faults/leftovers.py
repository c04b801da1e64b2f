"""What a test may leave running: nothing on the server, and no thread here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.sshd import Sshd

PATIENCE = 30.0
"""Seconds that what is ending may take, on a machine that does much else."""


def session_processes(server: Sshd) -> list[str]:
    """What runs in sessions of ``server``: sshd names the connection in the environment of each."""
    found = []
    mark = f" {server.address} {server.port}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes():
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append(f"{entry.name} {arguments}".rstrip())
        except OSError:
            continue  # it has ended
    return found


def wait_until_empty(look: Callable[[], list[str]]) -> None:
    """Wait until ``look`` finds nothing.

    Raises:
        AssertionError: it still finds something after ``PATIENCE``.
    """
    until = time.monotonic() + PATIENCE
    while found := look():
        assert time.monotonic() < until, f"left: {found}"
        time.sleep(0.05)


@contextmanager
def nothing_left(server: Sshd) -> Iterator[None]:
    """After the block, no session of ``server`` runs anything and no thread is here that was not before."""
    before = set(threading.enumerate())
    yield
    wait_until_empty(lambda: session_processes(server))
    wait_until_empty(lambda: [repr(thread) for thread in set(threading.enumerate()) - before])
