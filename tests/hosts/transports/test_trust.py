"""What makes a host trusted: certificates, revocation, hashed names, many writers; with OpenSSH's tools."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.transports.base import HostKeyChanged, HostKeyError, HostKeyRevoked, HostKeyUnknown
from dlpx_remote.transports.ssh import TraceEvent, connect
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of

Start = Callable[..., Sshd]


def _keygen(*arguments: object) -> str:
    command = ["ssh-keygen", "-q", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Certified:
    """An authority, and servers that show its certificates."""

    def __init__(self, directory: Path, start: Start, kind: str = "ed25519") -> None:
        self.directory = directory
        self.start = start
        self.key = directory / f"authority_{kind}"
        _keygen("-t", kind, "-N", "", "-C", "authority", "-f", self.key)

    @property
    def public(self) -> str:
        """As in ``known_hosts``."""
        return " ".join(self.key.with_name(self.key.name + ".pub").read_text().split()[:2])

    def server(self, *how: str, kind: str = "ed25519") -> Sshd:
        """A server whose key is signed with the options ``how`` of ssh-keygen."""
        server = self.start(key_types=(kind,))
        server.stop()
        key = server.host_keys[kind]
        _keygen("-s", self.key, "-h", "-I", "test", *how, f"{key}.pub")
        server.options = (f"HostCertificate {key}-cert.pub",)
        return server.start()

    def known(self, marker: str = "@cert-authority", names: str = "*") -> Path:
        """A file that knows the authority, and no host."""
        path = self.directory / "known"
        path.write_text(f"{marker} {names} {self.public}\n")
        return path


@pytest.fixture
def authority(tmp_path: Path, start_sshd: Start) -> Certified:
    """An authority with an Ed25519 key."""
    return Certified(tmp_path, start_sshd)


class TestCertificates:
    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    @pytest.mark.parametrize("signer", ["ed25519", "ecdsa", "rsa"])
    def test_one_of_a_known_authority_is_enough(
        self, kind: str, signer: str, tmp_path: Path, start_sshd: Start, open_connection: Connect
    ) -> None:
        authority = Certified(tmp_path, start_sshd, signer)
        server = authority.server("-n", "127.0.0.1,other", kind=kind)
        events: list[TraceEvent] = []
        connection = open_connection(target_of(server, known_hosts=authority.known()), trace=events.append)
        assert connection.run("echo here").stdout == b"here\n"
        [judged] = [event.detail for event in events if event.stage == "host key" and event.detail]
        assert judged.startswith(f"{server.fingerprint(kind)} is certified by SHA256:")

    def test_the_authority_counts_only_for_the_hosts_it_is_named_for(self, authority: Certified) -> None:
        server = authority.server("-n", "127.0.0.1")
        with pytest.raises(HostKeyUnknown):
            connect(target_of(server, known_hosts=authority.known(names="*.example.com")))

    def test_a_pattern_among_its_names_counts(self, authority: Certified, open_connection: Connect) -> None:
        server = authority.server("-n", "*.example.com,127.0.*")
        assert open_connection(target_of(server, known_hosts=authority.known())).is_open

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            (("-n", "other.example.com"), r"is for other\.example\.com, not for 127\.0\.0\.1"),
            ((), "is for no name at all"),
            (("-n", "127.0.0.1", "-V", "20200101:20200102"), "expired at 2020-01-0"),
            (("-n", "127.0.0.1", "-V", "20990101:20990102"), "is not valid before 209"),
        ],
    )
    def test_one_that_is_not_good_for_the_host_is_refused_with_the_reason(
        self, how: tuple[str, ...], reason: str, authority: Certified
    ) -> None:
        server = authority.server(*how)
        with pytest.raises(HostKeyError, match=reason) as caught:
            connect(target_of(server, known_hosts=authority.known()))
        assert "ssh-keygen -s" in caught.value.action
        assert caught.value.fingerprint == server.fingerprint()

    def test_another_authority_s_leaves_the_key_unknown(
        self, authority: Certified, tmp_path: Path, start_sshd: Start
    ) -> None:
        server = authority.server("-n", "127.0.0.1")
        (tmp_path / "another").mkdir()
        another = Certified(tmp_path / "another", start_sshd)
        with pytest.raises(HostKeyUnknown, match="certificate authority") as caught:
            connect(target_of(server, known_hosts=another.known()))
        assert "showed no certificate of that one" in caught.value.message

    def test_a_revoked_authority_is_refused(self, authority: Certified) -> None:
        server = authority.server("-n", "127.0.0.1")
        known = authority.known()
        known.write_text(f"{known.read_text()}@revoked * {authority.public}\n")
        with pytest.raises(HostKeyRevoked, match="authority"):
            connect(target_of(server, known_hosts=known))

    def test_a_host_without_one_can_still_be_known_by_its_key(
        self, authority: Certified, sshd: Sshd, open_connection: Connect
    ) -> None:
        known = authority.known()
        known.write_text(known.read_text() + sshd.known_hosts.read_text())
        assert open_connection(target_of(sshd, known_hosts=known)).is_open


class TestFiles:
    def test_names_that_ssh_keygen_hashed_are_found(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        known = tmp_path / "known"
        known.write_text(sshd.known_hosts.read_text())
        _keygen("-H", "-f", known)
        assert sshd.address not in known.read_text()
        assert open_connection(target_of(sshd, known_hosts=known)).is_open

    def test_accept_new_hashes_names_where_the_configuration_says_so(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        known, config = tmp_path / "known", tmp_path / "config"
        config.write_text("HashKnownHosts yes\n")
        target = target_of(sshd, known_hosts=known, ssh_config=config, host_key_policy="accept-new")
        assert open_connection(target).is_open
        assert known.read_text().startswith("|1|")
        assert open_connection(target_of(sshd, known_hosts=known)).is_open
        found = _keygen("-F", f"[{sshd.address}]:{sshd.port}", "-f", known)
        assert found.strip() == known.read_text().strip()

    def test_a_key_known_without_the_port_counts_as_with_ssh(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        known = tmp_path / "known"
        known.write_text(f"{sshd.address} {sshd.public_key()}\n")
        assert open_connection(target_of(sshd, known_hosts=known)).is_open
        other = sshd.make_key("other_of_port").with_suffix(".pub").read_text()
        known.write_text(f"{sshd.address} {other}")
        with pytest.raises(HostKeyUnknown):  # another server of that address may well have another key
            connect(target_of(sshd, known_hosts=known))
        known.write_text(f"[{sshd.address}]:{sshd.port} {other}{sshd.address} {sshd.public_key()}\n")
        with pytest.raises(HostKeyChanged):
            connect(target_of(sshd, known_hosts=known))

    def test_a_file_of_revoked_keys_is_obeyed(self, sshd: Sshd, tmp_path: Path) -> None:
        revoked, config = tmp_path / "revoked", tmp_path / "config"
        config.write_text(f"RevokedHostKeys {revoked}\n")
        revoked.write_text("".join(f"{sshd.public_key(kind)} old\n" for kind in sshd.host_keys))
        target = target_of(sshd, ssh_config=config)
        with pytest.raises(HostKeyRevoked, match=re.escape(f"{revoked}:")):
            connect(target)

    def test_a_file_of_revoked_keys_that_cannot_be_understood_refuses_all(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        revoked, config = tmp_path / "revoked", tmp_path / "config"
        config.write_text(f"RevokedHostKeys {revoked}\n")
        with pytest.raises(HostKeyError, match="cannot be read: No such file"):
            connect(target_of(sshd, ssh_config=config))
        _keygen("-k", "-f", revoked, f"{sshd.user_key}.pub")
        with pytest.raises(HostKeyError, match="KRL") as caught:
            connect(target_of(sshd, ssh_config=config))
        assert "one a line" in caught.value.action

    def test_a_laxer_configuration_is_spoken_of_and_not_taken_over(self, sshd: Sshd, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text("StrictHostKeyChecking no\n")
        with pytest.raises(HostKeyUnknown, match=r"StrictHostKeyChecking no .* is not taken over"):
            connect(target_of(sshd, ssh_config=config, known_hosts=tmp_path / "none"))

    def test_many_processes_that_write_lose_no_entry_and_nobody_reads_half_a_file(
        self, tmp_path: Path
    ) -> None:
        known = tmp_path / "known"
        code = (
            "import sys; from pathlib import Path\n"
            "from dlpx_remote.transports.ssh.hostkeys import remember\n"
            "for n in range(40): remember(Path(sys.argv[1]), f'{sys.argv[2]}-{n}', 'ssh-ed25519', b'key' * 9)"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", code, str(known), f"host{number}"]) for number in range(4)
        ]
        while any(writer.poll() is None for writer in writers):
            text = known.read_text() if known.exists() else ""
            assert text == "" or text.endswith("\n")
            assert all(len(line.split()) == 3 for line in text.splitlines())
        assert [writer.returncode for writer in writers] == [0] * 4
        names = {line.split()[0] for line in known.read_text().splitlines()}
        assert names == {f"host{number}-{n}" for number in range(4) for n in range(40)}
        assert {path.name for path in tmp_path.glob("known*")} == {"known", "known.lock"}
