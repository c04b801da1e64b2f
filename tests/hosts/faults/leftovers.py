"""What a test may leave running: nothing on the server, and no thread here."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.hosts.sshd import Sshd

PATIENCE = 30.0
"""Seconds that what is ending may take, on a machine that does much else."""


class Listening(Protocol):
    """A server's address."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class SessionProcess:
    """What runs in a session.

    Attributes:
        client_port: where the session's connection comes from.
    """

    process: int
    client_port: int
    arguments: str

    def __str__(self) -> str:
        return f"{self.process} {self.arguments}".rstrip()


def session_processes(server: Listening) -> list[SessionProcess]:
    """What runs in sessions of ``server``: sshd names the connection in the environment of each."""
    found = []
    mark = re.compile(
        rb"SSH_CONNECTION=\S+ (\d+) %s %d\0" % (re.escape(server.address.encode()), server.port)
    )
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if session := mark.search((entry / "environ").read_bytes()):
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append(SessionProcess(int(entry.name), int(session[1]), arguments))
        except OSError:
            continue  # it has ended
    return found


def files_left(places: Iterable[Path]) -> list[str]:
    """What sessions have left in directories that were empty."""
    return sorted(str(path) for place in places for path in place.rglob("*"))


def places_of(server: Sshd) -> tuple[Path, Path]:
    """The home and the temporary directory of the sessions of ``server``."""
    return server.home, server.temporary


def wait_until_empty(look: Callable[[], Sequence[object]]) -> None:
    """Wait until ``look`` finds nothing.

    Raises:
        AssertionError: it still finds something after ``PATIENCE``.
    """
    until = time.monotonic() + PATIENCE
    while found := look():
        assert time.monotonic() < until, f"left: {', '.join(map(str, found))}"
        time.sleep(0.05)


@contextmanager
def nothing_left(server: Sshd) -> Iterator[None]:
    """After the block no session of ``server`` has left a process or file, and no new thread is here."""
    before = set(threading.enumerate())
    yield
    wait_until_empty(lambda: session_processes(server))
    wait_until_empty(lambda: files_left(places_of(server)))
    wait_until_empty(lambda: [repr(thread) for thread in set(threading.enumerate()) - before])
