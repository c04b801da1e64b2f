"""Fixtures of the fault tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlpx_remote.transports.ssh import SshTarget
from tests.hosts.faults.leftovers import nothing_left
from tests.hosts.ssh_host import SshHost
from tests.hosts.sshd import Sshd

ServerFactory = Callable[..., Sshd]
Reach = Callable[[Sshd | SshHost], SshTarget]


@pytest.fixture
def server_with(tmp_path: Path) -> Iterator[ServerFactory]:
    """``server_with("MaxSessions 1")``: a running sshd; afterwards nothing of it may be left."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(*options: str, quick: bool = False) -> Sshd:
            directory = tmp_path / f"sshd-{next(numbers)}"
            directory.mkdir()
            # No PAM: a tenth of the time for a login.
            server = stack.enter_context(Sshd(directory, (*options, "UsePAM no"), quick=quick))
            stack.enter_context(nothing_left(server))
            return server

        yield start


@pytest.fixture
def reach(tmp_path: Path) -> Reach:
    """The target that leads to a server or host, with nothing of this machine's own configuration."""
    ssh_config = tmp_path / "ssh_config"
    ssh_config.touch()

    def target(server: Sshd | SshHost) -> SshTarget:
        return SshTarget(
            host=server.address,
            port=server.port,
            user=server.user if isinstance(server, Sshd) else "engine",
            key=str(server.user_key if isinstance(server, Sshd) else server.key),
            fingerprint=server.fingerprint() if isinstance(server, Sshd) else server.fingerprint,
            ssh_config=ssh_config,
            default_keys=False,
        )

    return target
