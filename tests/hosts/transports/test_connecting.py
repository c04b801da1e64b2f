"""Everything that can stop a connection, produced for real, and what a person is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.transports.base import (
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    Deadlines,
    HandshakeFailed,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    NameNotResolved,
)
from dlpx_remote.transports.ssh import Figures, SshTarget, TraceEvent, connect
from tests.hosts.sshd import Sshd
from tests.hosts.transports import network
from tests.hosts.transports.conftest import Connect, target_of


def _to_port(port: int, tmp_path: Path) -> SshTarget:
    config = tmp_path / "config"
    config.touch()
    return SshTarget("127.0.0.1", "joe", port, default_keys=False, ssh_config=config)


def _fails_soon(target: SshTarget, seconds: float = 1.0) -> ConnectFailed:
    """The error of a connection, which must not take (much) longer than its deadline."""
    before = _threads()
    began = time.monotonic()
    with pytest.raises(ConnectFailed) as caught:
        connect(target, deadlines=Deadlines(connect=seconds))
    assert time.monotonic() - began < seconds + 10  # hangs are what is looked for
    assert caught.value.host == target.host
    assert _threads() <= before, "a thread was left behind"
    return caught.value


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith("bad network")}


@pytest.mark.parametrize(
    "only",
    [
        "KexAlgorithms ecdh-sha2-nistp256",
        "KexAlgorithms curve25519-sha256",
        "KexAlgorithms curve25519-sha256@libssh.org",
        "KexAlgorithms diffie-hellman-group14-sha256",
        "Ciphers aes128-gcm@openssh.com",
        "Ciphers aes256-gcm@openssh.com",
        "Ciphers aes256-ctr\nMACs hmac-sha2-512-etm@openssh.com",
        "Ciphers aes128-ctr\nMACs hmac-sha1",
    ],
)
def test_a_server_that_takes_only_one_algorithm_is_reached(
    only: str, start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd(*only.splitlines())))
    assert connection.run("head -c 300000 /dev/zero").stdout == bytes(300_000)


class TestTheNetwork:
    def test_a_name_that_does_not_resolve_is_named(self, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.touch()
        error = _fails_soon(SshTarget("no-such-host.invalid", "joe", ssh_config=config), 20)
        assert isinstance(error, NameNotResolved)
        assert "no-such-host.invalid does not resolve" in error.message
        assert "spelling" in error.action

    @pytest.mark.parametrize("name", ["a" * 70, "two..dots", ""])
    def test_a_name_that_can_be_no_name_is_no_crash(self, name: str, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.touch()
        with pytest.raises(ConnectFailed):
            connect(SshTarget(name, "joe", ssh_config=config), deadlines=Deadlines(connect=10))

    def test_a_refused_port_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            error = _fails_soon(_to_port(port, tmp_path))
        assert isinstance(error, ConnectionRefused)
        assert error.message == f"127.0.0.1 refuses connections to port {port}."
        assert "SSH server runs" in error.action

    def test_a_server_that_says_nothing_ends_with_the_connect_deadline(self, tmp_path: Path) -> None:
        with network.server(network.silent) as port:
            error = _fails_soon(_to_port(port, tmp_path))
        assert isinstance(error, ConnectTimeout)
        assert "within 1 s" in error.message
        assert "did not complete the SSH handshake" in error.message
        assert "time-out" in error.action

    def test_a_server_that_stops_in_mid_handshake_ends_with_the_connect_deadline(
        self, tmp_path: Path
    ) -> None:
        with network.server(network.saying(b"SSH-2.0-Stuck\r\n")) as port:
            error = _fails_soon(_to_port(port, tmp_path))
        assert isinstance(error, ConnectTimeout)

    def test_a_server_that_sends_its_banner_byte_by_byte_for_ever_ends_with_the_deadline(
        self, tmp_path: Path
    ) -> None:
        def drip(connection: socket.socket) -> None:
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

        with network.server(drip) as port:
            assert isinstance(_fails_soon(_to_port(port, tmp_path)), ConnectTimeout)

    @pytest.mark.parametrize("text", [b"", b"SSH-2", b"SSH-2.0-Half"])
    def test_a_server_that_closes_in_mid_banner_is_told_apart(self, text: bytes, tmp_path: Path) -> None:
        with network.server(network.closing_after(text)) as port:
            error = _fails_soon(_to_port(port, tmp_path), 10)
        assert isinstance(error, HandshakeFailed)
        assert "closed the connection before" in error.message
        assert "MaxStartups" in error.action

    def test_a_server_that_closes_in_mid_handshake_is_told_apart(self, tmp_path: Path) -> None:
        with network.server(network.closing_after(b"SSH-2.0-Gone\r\n")) as port:
            error = _fails_soon(_to_port(port, tmp_path), 10)
        assert isinstance(error, HandshakeFailed)
        assert "during the SSH handshake" in error.message

    def test_a_server_that_speaks_something_else_is_no_ssh_server(self, tmp_path: Path) -> None:
        with network.server(network.closing_after(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 120)) as port:
            error = _fails_soon(_to_port(port, tmp_path), 20)
        assert isinstance(error, HandshakeFailed)
        assert "no SSH server" in error.message
        assert "HTTP/1.1" in error.message or "said" in error.message

    def test_an_old_protocol_version_is_refused(self, tmp_path: Path) -> None:
        with network.server(network.saying(b"SSH-1.5-Ancient\r\n")) as port:
            error = _fails_soon(_to_port(port, tmp_path), 10)
        assert isinstance(error, HandshakeFailed)

    def test_no_common_algorithm_is_explained(self, start_sshd: Callable[..., Sshd]) -> None:
        server = start_sshd("KexAlgorithms diffie-hellman-group18-sha512")
        error = _fails_soon(target_of(server), 10)
        assert isinstance(error, HandshakeFailed)
        assert "no algorithm in common" in error.message or "algorithm in common" in error.message
        assert "sshd_config" in error.action


class TestHostKeys:
    def test_an_unknown_key_is_refused_with_its_true_fingerprint(self, sshd: Sshd, tmp_path: Path) -> None:
        with pytest.raises(HostKeyUnknown) as caught:
            connect(target_of(sshd, known_hosts=tmp_path / "none"))
        assert caught.value.fingerprint in {sshd.fingerprint(kind) for kind in sshd.host_keys}
        assert f"ssh-keyscan -p {sshd.port} {sshd.address}" in caught.value.action
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_a_known_key_of_any_type_is_found_whatever_the_server_prefers(
        self, kind: str, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        known = tmp_path / "known"
        known.write_text(f"[{sshd.address}]:{sshd.port} {sshd.public_key(kind)}\n")
        assert open_connection(target_of(sshd, known_hosts=known)).is_open

    def test_a_changed_key_shows_both_and_where_the_known_one_is(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known"
        other = sshd.make_key("other").with_suffix(".pub").read_text()
        known.write_text(f"# comment\n[{sshd.address}]:{sshd.port} {other}")
        with pytest.raises(HostKeyChanged) as caught:
            connect(target_of(sshd, known_hosts=known))
        assert sshd.fingerprint() in caught.value.message
        assert f"{known}:2" in caught.value.message
        assert caught.value.fingerprint == sshd.fingerprint()

    def test_a_revoked_key_is_refused(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known"
        place = f"[{sshd.address}]:{sshd.port}"
        known.write_text(f"{place} {sshd.public_key()}\n@revoked {place} {sshd.public_key()}\n")
        with pytest.raises(HostKeyRevoked):
            connect(target_of(sshd, known_hosts=known))

    def test_accept_new_remembers_and_from_then_on_is_strict(
        self, start_sshd: Callable[..., Sshd], tmp_path: Path, open_connection: Connect
    ) -> None:
        server = start_sshd()
        known = tmp_path / "new" / "known"
        target = target_of(server, known_hosts=known, host_key_policy="accept-new")
        open_connection(target).close()
        assert known.read_text() == f"[{server.address}]:{server.port} {server.public_key()}\n"
        open_connection(target_of(server, known_hosts=known))
        server.stop()
        server.host_keys = {"ed25519": server.make_key("replaced")}
        server.start()
        with pytest.raises(HostKeyChanged):
            connect(target)

    def test_a_pinned_fingerprint_needs_no_file(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        nothing = tmp_path / "none"
        with pytest.raises(HostKeyUnknown) as caught:
            connect(target_of(sshd, known_hosts=nothing))
        pinned = caught.value.fingerprint
        assert open_connection(target_of(sshd, known_hosts=nothing, fingerprint=pinned)).is_open
        with pytest.raises(HostKeyChanged, match="is pinned"):
            connect(target_of(sshd, fingerprint="SHA256:" + "A" * 43))

    def test_switched_off_it_connects(self, sshd: Sshd, tmp_path: Path, open_connection: Connect) -> None:
        assert open_connection(target_of(sshd, known_hosts=tmp_path / "none", host_key_policy="off")).is_open


class TestConfiguration:
    def test_ssh_config_gives_address_port_user_key_and_alias(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        known = tmp_path / "known"
        known.write_text(f"cluster {sshd.public_key()}\n")
        config = tmp_path / "config"
        config.write_text(
            f"Host db1\n  HostName {sshd.address}\n  Port {sshd.port}\n  User {sshd.user}\n"
            f"  IdentityFile {sshd.user_key}\n  HostKeyAlias cluster\n  UserKnownHostsFile {known}\n"
        )
        connection = open_connection(SshTarget("db1", ssh_config=config))
        assert connection.address == f"{sshd.user}@{sshd.address}:{sshd.port}"
        assert connection.run("echo here").stdout == b"here\n"

    def test_a_chain_of_jump_hosts_is_followed(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        outer, inner, last = start_sshd(), start_sshd(), start_sshd()
        known = tmp_path / "known"
        known.write_text("".join(server.known_hosts.read_text() for server in (outer, inner, last)))
        for server in (outer, inner):
            server.authorize(last.user_key)
        jump = tuple(f"{server.user}@{server.address}:{server.port}" for server in (outer, inner))
        connection = open_connection(target_of(last, jump=jump, known_hosts=known))
        seen = connection.run("echo $SSH_CONNECTION").stdout_text.split()
        assert seen[3] == str(last.port)
        threads = _threads()
        connection.close()
        assert len(threads - _threads()) == 3

    def test_a_jump_host_that_cannot_reach_the_next_says_so(
        self, sshd: Sshd, start_sshd: Callable[..., Sshd]
    ) -> None:
        target = target_of(sshd, host="127.0.0.1", port=1, jump=(f"{sshd.user}@{sshd.address}:{sshd.port}",))
        with pytest.raises(ConnectionRefused, match=r"jump host cannot reach 127\.0\.0\.1 port 1"):
            connect(target)
        closed = start_sshd("AllowTcpForwarding no")
        jump = (f"{closed.user}@{closed.address}:{closed.port}",)
        with pytest.raises(ConnectionRefused, match="does not allow") as caught:
            connect(target_of(closed, port=1, jump=jump))
        assert "AllowTcpForwarding" in caught.value.action

    def test_a_jump_host_s_key_is_checked_too(self, sshd: Sshd, tmp_path: Path) -> None:
        jump = (f"{sshd.user}@{sshd.address}:{sshd.port}",)
        with pytest.raises(HostKeyUnknown):
            connect(target_of(sshd, jump=jump, known_hosts=tmp_path / "none", fingerprint=sshd.fingerprint()))


class TestTrace:
    def test_every_stage_reports_its_start_and_end(self, sshd: Sshd, open_connection: Connect) -> None:
        events: list[TraceEvent] = []
        connection = open_connection(target_of(sshd), trace=events.append)
        assert [(event.stage, event.state) for event in events] == [
            (stage, state)
            for stage in ("resolve", "connect", "handshake", "host key", "auth")
            for state in ("started", "complete")
        ]
        assert {event.address for event in events} == {connection.address}
        assert any("OpenSSH" in event.detail for event in events)

    def test_what_runs_and_moves_reports_its_bytes_and_the_end_its_end(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        events: list[TraceEvent] = []
        connection = open_connection(target_of(sshd), trace=events.append)
        connection.facts()
        events.clear()
        connection.run('printf %s "$WORD"', variables={"WORD": "12345"})
        (tmp_path / "up").write_bytes(b"x" * 3000)
        connection.put(tmp_path / "up", "moved")
        connection.get("moved", tmp_path / "down")
        connection.run("rm moved")
        connection.close()
        connection.close()
        ended = [event for event in events if event.state != "started"]
        assert {event.state for event in ended} == {"complete"}
        assert [event.stage for event in ended if event.stage != "channel"] == [
            "run",
            "transfer",
            "transfer",
            "run",
            "close",
        ]
        run, put, get = [event for event in ended if event.stage in ("run", "transfer")][:3]
        assert (run.sent, run.received) == (len('printf %s "$WORD"12345'), 5)
        assert (put.sent, get.received) == (3000, 3000)

    def test_figures_tell_how_long_each_part_took(self, sshd: Sshd) -> None:
        figures = Figures()
        with connect(target_of(sshd), trace=figures) as connection:
            connection.run("exit 3")
        [host] = figures.take()
        assert host.address == connection.address
        assert host.connections == host.of("close").complete == 1
        assert host.of("run").complete == 1  # the facts came when its shell began
        assert 0 < host.of("auth").seconds < host.connect_seconds
        assert f"{host.address}: connected in " in host.in_words()

    def test_a_hook_that_fails_breaks_nothing(self, sshd: Sshd) -> None:
        def fails(_event: TraceEvent) -> None:
            raise RuntimeError("the hook is broken")

        with connect(target_of(sshd), trace=fails) as connection:
            assert connection.run("echo here").stdout == b"here\n"

    def test_a_failed_stage_says_why(self, sshd: Sshd, tmp_path: Path) -> None:
        events: list[TraceEvent] = []
        with pytest.raises(HostKeyUnknown):
            connect(target_of(sshd, known_hosts=tmp_path / "none"), trace=events.append)
        assert (events[-1].stage, events[-1].state) == ("host key", "failed")
        assert "SHA256:" in events[-1].detail
