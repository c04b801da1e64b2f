"""Discovery on a hundred hosts of which five cannot be reached, each in its own way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlpx_remote.engine import Authentication, DiscoveryEvent, Engine, EnvironmentSpec
from tests.hosts.engine_plugin import write_plugin
from tests.hosts.sshd import Sshd

ALIVE = 95
ADDRESSES_A_SERVER = 16
"""OpenSSH's own limit on ``ListenAddress`` lines (``MAX_LISTEN_SOCKS`` in sshd.c)."""

MESSAGES = {
    "refused": ("ConnectionRefused", "127.78.9.1 refuses connections to port"),
    "silent": ("ConnectTimeout", "No connection to 127.78.9.2 port"),
    "impostor": ("HostKeyChanged", "127.78.9.3 showed the key SHA256:"),
    "nameless": ("NameNotResolved", "The host name nowhere.invalid does not resolve"),
    "locked": ("AuthenticationFailed", "127.78.9.3 refused the login of"),
}
"""Kind and beginning of the line for each dead host."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[tuple[str, Sshd]]]:
    """A hundred addresses, each with the server that answers there."""
    home = tmp_path / "home"
    home.mkdir()
    addresses = [f"127.78.0.{number}" for number in range(1, ALIVE + 1)]
    found: list[tuple[str, Sshd]] = []
    with ExitStack() as stack:
        for start in range(0, ALIVE, ADDRESSES_A_SERVER):
            own = addresses[start : start + ADDRESSES_A_SERVER]
            directory = tmp_path / f"sshd{start}"
            directory.mkdir()
            others = [f"ListenAddress {address}" for address in own[1:]]
            settings = ["UsePAM no", f"SetEnv HOME={home}", *others]
            server = stack.enter_context(Sshd(directory, settings, address=own[0]))
            found += [(address, server) for address in own]
        yield found


def _specs(servers: list[tuple[str, Sshd]], tmp_path: Path, silent: int) -> list[EnvironmentSpec]:
    def spec(name: str, host: str, port: int, key: Path, fingerprint: str) -> EnvironmentSpec:
        return EnvironmentSpec(
            name,
            host,
            port=port,
            authentication=Authentication(key=str(key)),
            fingerprint=fingerprint,
            directory=str(tmp_path / "made" / name),
        )

    alive = [
        spec(f"db{number}", address, server.port, server.user_key, server.fingerprint())
        for number, (address, server) in enumerate(servers)
    ]
    last = servers[-1][1]
    key, pinned = last.user_key, last.fingerprint()
    stranger = last.make_key("stranger")
    with socket.socket() as probe:
        probe.bind(("127.78.9.1", 0))
        closed = int(probe.getsockname()[1])
    return [
        *alive,
        spec("refused", "127.78.9.1", closed, key, pinned),
        spec("silent", "127.78.9.2", silent, key, pinned),
        spec("impostor", "127.78.9.3", last.port, key, "SHA256:" + "A" * 43),
        spec("nameless", "nowhere.invalid", 22, key, pinned),
        spec("locked", "127.78.9.3", last.port, stranger, pinned),
    ]


def test_ninety_five_are_discovered_and_five_say_plainly_why_not(
    servers: list[tuple[str, Sshd]], tmp_path: Path, clean_home: Path
) -> None:
    data = tmp_path / "data"
    for repository in ("one", "two"):
        (data / repository).mkdir(parents=True)
        (data / repository / "file").write_text("found")
    events: list[DiscoveryEvent] = []
    with (
        ExitStack() as stack,
        socket.create_server(("127.78.9.2", 0)) as silent,
        Engine(tmp_path / "state") as engine,
    ):
        last = servers[-1][1]
        directory = tmp_path / "other"
        directory.mkdir()
        other = Sshd(directory, ["UsePAM no"], address="127.78.9.3")
        other.port, other.host_keys = last.port, last.host_keys
        other.authorize(last.user_key)
        stack.enter_context(other)
        for spec in _specs(servers, tmp_path, int(silent.getsockname()[1])):
            engine.add_environment(spec)
        engine.add_plugin(write_plugin(tmp_path / "plugin", data))
        report = engine.discover(on_event=events.append)

    failures = {result.environment: result.failure for result in report.results if result.failure is not None}
    assert set(failures) == set(MESSAGES)
    for name, (kind, beginning) in MESSAGES.items():
        assert failures[name].kind == kind
        assert failures[name].message.startswith(beginning)
        assert failures[name].action
        lines = [event.detail for event in events if event.environment == name and event.stage == "failed"]
        assert lines == [failures[name].message]
    found = [result for result in report.results if result.failure is None]
    assert len(found) == ALIVE
    for result in found:
        assert [len(repository.source_configs) for repository in result.repositories] == [1, 1]
