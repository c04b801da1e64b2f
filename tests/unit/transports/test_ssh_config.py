"""What ``ssh_config`` means, word by word; where ssh is installed, what it says itself is compared."""

from __future__ import annotations

import getpass
import logging
import subprocess
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.ssh import ssh_config, target
from dlpx_remote.transports.ssh.target import Hop, SshTarget, hops


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    target._tell_once.cache_clear()
    return tmp_path


def _hop(home: Path, text: str, **fields: object) -> Hop:
    config = home / ".ssh" / "config"
    config.write_text(text)
    chain = hops(SshTarget(**{"host": "db1", "ssh_config": config, **fields}))  # type: ignore[arg-type]
    return chain[-1]


def _openssh(home: Path, *arguments: str) -> dict[str, str]:
    """What ``ssh -G`` makes of the same file."""
    command = ["ssh", "-G", "-F", str(home / ".ssh" / "config"), *arguments]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


class TestMatch:
    @pytest.mark.parametrize(
        ("criteria", "asked_for", "holds"),
        [
            ("host db1", None, True),
            ("host db2", None, False),
            ("Host db1", None, True),
            ("host db*,!db1", None, False),
            ("!host db1", None, False),
            ("originalhost db1", None, True),
            ("user oracle", "oracle", True),
            ("user oracle", "postgres", False),
            ("user oracle", None, False),
            (f"user {getpass.getuser()}", None, True),
            ("!user oracle", "postgres", True),
            (f"localuser {getpass.getuser()}", "oracle", True),
            ("localuser nobody-else", "oracle", False),
            ("host db1 user oracle", "oracle", True),
            ("host db1 user oracle", "postgres", False),
            ("exec true", None, True),
            ("exec false", None, False),
            ("!exec false", None, True),
            ('exec "test %n-%p-%r = db1-2222-oracle"', "oracle", True),
            ("final host db1", None, True),
            ("all", None, True),
        ],
    )
    def test_a_block_applies_where_openssh_says_so(
        self, criteria: str, asked_for: str | None, holds: bool, home: Path
    ) -> None:
        text = f"Match {criteria}\n  HostKeyAlias matched\n"
        hop = _hop(home, text, user=asked_for, port=2222)
        assert (hop.key_name == "matched") is holds
        arguments = ["-p", "2222", *(("-l", asked_for) if asked_for else ())]
        assert (_openssh(home, *arguments, "db1").get("hostkeyalias") == "matched") is holds

    def test_an_earlier_user_of_the_configuration_counts(self, home: Path) -> None:
        hop = _hop(home, "Host db1\n  User oracle\nMatch user oracle\n  HostKeyAlias matched\n")
        assert hop.key_name == "matched"

    def test_a_condition_that_is_not_known_is_no_condition_that_holds(self, home: Path) -> None:
        with pytest.raises(InvalidRequest, match="Match tagged is not supported") as caught:
            _hop(home, "Match tagged x\n  User other\n")
        assert "ssh configuration" in caught.value.action

    def test_a_command_is_run_once_and_for_so_long_only(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _hop(home, f'Match exec "echo ran >> {home}/runs"\n  User other\n')
        assert (home / "runs").read_text() == "ran\n"
        monkeypatch.setattr(ssh_config, "EXEC_SECONDS", 0.1)
        with pytest.raises(InvalidRequest, match="did not end within"):
            _hop(home, 'Match exec "sleep 20"\n  User other\n')


class TestInclude:
    def test_what_follows_belongs_to_the_block_that_included(self, home: Path) -> None:
        (home / ".ssh/other").write_text("Host elsewhere\n  User nobody\n")
        hop = _hop(home, "Host db1\n  Include other\n  User oracle\n  Port 2222\n")
        assert (hop.user, hop.port) == ("oracle", 2222)
        assert _openssh(home, "db1")["user"] == "oracle"

    @pytest.mark.parametrize(("outer", "user"), [("db1", "oracle"), ("db2", getpass.getuser())])
    def test_a_block_in_it_needs_both_conditions(self, outer: str, user: str, home: Path) -> None:
        (home / ".ssh/other").write_text("Host db*\n  User oracle\n")
        hop = _hop(home, f"Host {outer}\n  Include other\n")
        assert hop.user == user == _openssh(home, "db1")["user"]

    @pytest.mark.parametrize(("outer", "user"), [("all", "oracle"), ("host db2", getpass.getuser())])
    def test_a_match_block_includes_too(self, outer: str, user: str, home: Path) -> None:
        (home / ".ssh/other").write_text("Match originalhost db1\n  User oracle\nHost *\n  Port 77\n")
        hop = _hop(home, f"Match {outer}\n  Include other\nHost *\n  Port 78\n")
        assert (hop.user, hop.port) == (user, 77 if outer == "all" else 78)
        assert _openssh(home, "db1")["port"] == str(hop.port)

    def test_a_file_that_includes_itself_is_no_hang(self, home: Path) -> None:
        assert _hop(home, "Include config\nHost db1\n  User oracle\n").user == "oracle"


class TestKeys:
    def test_no_key_named_means_the_default_ones(self, home: Path) -> None:
        hop = _hop(home, "")
        assert not hop.identities_chosen
        assert [path.name for path in hop.identity_files] == ["id_ed25519", "id_ecdsa", "id_rsa"]

    def test_several_keys_keep_their_order_and_their_tokens(self, home: Path) -> None:
        hop = _hop(
            home, "Host db1\n  HostName 10.0.0.5\n  IdentityFile ~/%h-%r\nIdentityFile b~c\n", user="joe"
        )
        assert hop.identities_chosen
        assert hop.identity_files == (home / "10.0.0.5-joe", Path("b~c"))

    def test_none_means_none(self, home: Path) -> None:
        assert _hop(home, "IdentityFile none\n").identity_files == ()

    def test_this_machine_s_name_is_not_asked_of_the_name_service(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object) -> str:
            raise AssertionError("asked the name service")

        monkeypatch.setattr("socket.getfqdn", never)
        assert _hop(home, "IdentityFile ~/.ssh/%n-100%%\n").identity_files == (home / ".ssh/db1-100%",)

    def test_the_rest(self, home: Path) -> None:
        hop = _hop(
            home,
            "IdentityAgent ~/agent-%n\nIdentitiesOnly yes\n"
            "CertificateFile ~/cert\nHashKnownHosts yes\nRevokedHostKeys ~/revoked\n"
            "StrictHostKeyChecking accept-new\n",
        )
        assert hop.identities_only
        assert hop.identity_agent == "~/agent-db1"
        assert hop.hash_known_hosts
        assert hop.certificate_files == (home / "cert",)
        assert hop.revoked_host_keys == home / "revoked"
        assert hop.configured_check == "accept-new"
        assert hop.not_honoured == ()


class TestWaysThrough:
    def test_a_proxy_command_has_its_tokens(self, home: Path) -> None:
        hop = _hop(
            home, "Host db1\n  HostName 10.0.0.5\n  ProxyCommand nc %h %p %r 100%%\n", port=22, user="j"
        )
        assert hop.proxy_command == "nc 10.0.0.5 22 j 100%"

    @pytest.mark.parametrize(
        ("text", "fields"),
        [
            ("Host db1\n  ProxyCommand none\nHost *\n  ProxyCommand nc %h %p\n", {}),
            ("ProxyCommand nc %h %p\nHost db1\n  ProxyJump gate\n", {}),
            ("ProxyCommand nc %h %p\n", {"jump": ("gate",)}),
        ],
    )
    def test_none_and_jump_hosts_come_before_it(
        self, text: str, fields: dict[str, object], home: Path
    ) -> None:
        assert _hop(home, text, **fields).proxy_command is None

    def test_only_the_first_jump_host_is_reached_by_its_proxy_command(self, home: Path) -> None:
        (home / ".ssh" / "config").write_text("Host gate*\n  ProxyCommand nc %h %p\n")
        chain = hops(SshTarget("db1", jump=("gate1", "gate2")))
        assert [hop.proxy_command for hop in chain] == ["nc gate1 22", None, None]


class TestWhatIsNotHonoured:
    def test_is_said_once_for_each_host(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        text = "Host db1\n  BindAddress 10.0.0.1\n  KexAlgorithms +diffie-hellman-group1-sha1\n"
        for _ in range(2):
            hop = _hop(home, text)
        assert hop.not_honoured == ("bindaddress", "kexalgorithms")
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert record.getMessage() == (
            "The ssh configuration of db1 sets bindaddress, kexalgorithms; that is not honoured."
        )

    def test_choices_of_algorithms_alone_are_no_warning(
        self, home: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Red Hat's configuration sets them for every host."""
        with caplog.at_level(logging.INFO):
            _hop(home, "Ciphers aes256-ctr\nMACs hmac-sha2-256\n")
        [record] = [record for record in caplog.records if "not honoured" in record.getMessage()]
        assert record.levelno == logging.INFO

    def test_what_the_engine_has_no_use_for_is_not_spoken_of(self, home: Path) -> None:
        text = "SendEnv LANG LC_*\nHashKnownHosts yes\nGSSAPIAuthentication yes\nControlMaster auto\n"
        assert _hop(home, f"{text}ServerAliveInterval 30\nForwardAgent yes\n").not_honoured == ()
