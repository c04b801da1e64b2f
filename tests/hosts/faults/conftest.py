"""Fixtures of the fault tests."""

from __future__ import annotations

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
    with ExitStack() as stack:

        def start(*options: str) -> Sshd:
            directory = tmp_path / "sshd"
            directory.mkdir()
            home = tmp_path / "home"
            home.mkdir()
            # Neither PAM nor the account's own start-up files: a tenth of the time for a login and a command.
            server = stack.enter_context(Sshd(directory, (*options, "UsePAM no", f"SetEnv HOME={home}")))
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
