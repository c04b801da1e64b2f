"""A real sshd on loopback, shared by the tests of the transport, and a way in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect, execution
from dlpx_remote.transports.ssh.runners import Kind
from tests.hosts.sshd import Sshd

Connect = Callable[..., SshConnection]


def target_of(server: Sshd, **changes: Any) -> SshTarget:
    """The way into ``server``: its key, its host key known, and nothing of the person who runs the tests."""
    return SshTarget(
        **{
            "host": server.address,
            "port": server.port,
            "user": server.user,
            "key": str(server.user_key),
            "known_hosts": server.known_hosts,
            "ssh_config": server.empty_config,
            "default_keys": False,
            **changes,
        }
    )


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server with default options for the whole session."""
    with Sshd(tmp_path_factory.mktemp("sshd"), key_types=("ed25519", "ecdsa", "rsa")) as server:
        yield server


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts servers with options of their own; ends them."""
    with ExitStack() as stack:
        count = 0

        def start(*options: str, **arguments: Any) -> Sshd:
            nonlocal count
            count += 1
            directory = tmp_path / f"sshd{count}"
            directory.mkdir()
            return stack.enter_context(Sshd(directory, options, **arguments))

        yield start


@pytest.fixture(scope="module")
def connection(sshd: Sshd) -> Iterator[SshConnection]:
    """One open connection for the tests of a module."""
    with connect(target_of(sshd)) as opened:
        yield opened


@pytest.fixture
def open_connection() -> Iterator[Connect]:
    """``connect`` whose connections end with the test."""
    with ExitStack() as stack:

        def opening(target: SshTarget, **arguments: Any) -> SshConnection:
            return stack.enter_context(connect(target, **arguments))

        yield opening


@pytest.fixture(params=["perl", "bash"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """What runners are, in the tests that hold for both kinds."""
    kind: Kind = request.param
    monkeypatch.setattr(execution, "FIRST_KIND", kind)
    return kind


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent; ``SSH_AUTH_SOCK`` names it."""
    place = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    try:
        while not place.exists():
            assert process.poll() is None
        yield place
    finally:
        process.terminate()
        process.wait()
