"""What a target comes to with ``ssh_config`` applied."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.ssh.agent import agent_place
from dlpx_remote.transports.ssh.target import Hop, SshTarget, hops


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def _hops(home: Path, text: str, **fields: object) -> list[Hop]:
    config = home / ".ssh" / "config"
    config.write_text(text)
    return hops(SshTarget(**{"host": "db1", **fields}))  # type: ignore[arg-type]


def test_without_configuration_the_defaults_are_openssh_s(home: Path) -> None:
    [hop] = hops(SshTarget("db1"))
    assert (hop.host, hop.port, hop.user) == ("db1", 22, getpass.getuser())
    assert hop.known_hosts == (home / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts"))
    assert [path.name for path in hop.identity_files] == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert hop.last


def test_a_host_block_gives_name_port_user_keys_and_known_hosts(home: Path) -> None:
    [hop] = _hops(
        home,
        "Host db1\n  HostName 10.0.0.5\n  Port 2222\n  User oracle\n  IdentityFile ~/.ssh/special\n"
        "  UserKnownHostsFile ~/known\n",
    )
    assert (hop.name, hop.host, hop.port, hop.user) == ("db1", "10.0.0.5", 2222, "oracle")
    assert hop.identity_files == (home / ".ssh/special",)
    assert hop.known_hosts[0] == home / "known"
    assert hop.key_name == "[10.0.0.5]:2222"
    assert hop.address == "oracle@10.0.0.5:2222"


def test_what_the_caller_says_wins(home: Path) -> None:
    [hop] = _hops(home, "Host db1\n  Port 2222\n  User oracle\n", port=22, user="joe", known_hosts=home / "k")
    assert (hop.port, hop.user, hop.known_hosts[0]) == (22, "joe", home / "k")
    assert hop.known_hosts[1] == home / ".ssh/known_hosts"


def test_known_hosts_of_the_configuration_are_read_beside_the_caller_s(home: Path) -> None:
    [hop] = _hops(
        home, "UserKnownHostsFile ~/one ~/two\nGlobalKnownHostsFile none\n", known_hosts=home / "own"
    )
    assert hop.known_hosts == (home / "own", home / "one", home / "two")


def test_a_host_key_alias_is_the_name_keys_are_filed_under(home: Path) -> None:
    [hop] = _hops(home, "Host db1\n  HostKeyAlias cluster\n  Port 2222\n")
    assert hop.key_name == "cluster"


def test_match_blocks_apply(home: Path) -> None:
    [hop] = _hops(home, "Match host db1\n  User matched\n")
    assert hop.user == "matched"


def test_included_files_apply_where_they_are_named(home: Path) -> None:
    (home / ".ssh/conf.d").mkdir()
    (home / ".ssh/conf.d/a.conf").write_text("Host db1\n  User included\n")
    [hop] = _hops(home, "Include conf.d/*.conf\nHost *\n  User later\n")
    assert hop.user == "included"


def test_jump_hosts_of_the_caller_come_first_in_their_order(home: Path) -> None:
    chain = _hops(home, "", jump=("joe@gate:2200", "[::1]"))
    assert [(hop.user, hop.host, hop.port) for hop in chain[:2]] == [
        ("joe", "gate", 2200),
        (getpass.getuser(), "::1", 22),
    ]
    assert [hop.last for hop in chain] == [False, False, True]


def test_proxy_jump_is_followed_from_host_to_host(home: Path) -> None:
    text = "Host db1\n  ProxyJump inner\nHost inner\n  ProxyJump joe@outer:23\n  User bob\n"
    assert [hop.address.split("@")[1] for hop in _hops(home, text)] == ["outer:23", "inner:22", "db1:22"]


def test_proxy_jump_none_means_none(home: Path) -> None:
    assert len(_hops(home, "Host db1\n  ProxyJump none\nHost *\n  ProxyJump gate\n")) == 1


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("Host db1\n  ProxyJump db1\n", {}, "in a circle"),
        ("Host db1\n  Port many\n", {}, "cannot be understood"),
        ("nonsense", {}, "cannot be understood"),
        ("", {"jump": ("joe@gate:none",)}, "'joe@gate:none' cannot be understood"),
    ],
)
def test_configuration_that_cannot_be_used_says_why(
    home: Path, text: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        _hops(home, text, **fields)


def test_a_configuration_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no ssh configuration file"):
        hops(SshTarget("db1", ssh_config=tmp_path / "missing"))


def test_no_secret_is_in_the_representation_of_a_target() -> None:
    def password() -> str:
        return "hunter2"

    assert "password" not in repr(SshTarget("db1", password=password, passphrase=password))


def test_a_changed_configuration_holds_from_the_next_connection_on(home: Path) -> None:
    [before] = _hops(home, "Host db1\n  Port 2222\n")
    [after] = _hops(home, "Host db1\n  Port 2223\n")
    assert (before.port, after.port) == (2222, 2223)


def test_another_person_s_home_and_name_are_not_taken_for_this_one_s(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOGNAME", raising=False)
    config = tmp_path / "common"
    config.write_text("Host db1\n  IdentityFile ~/key\n")
    target = SshTarget("db1", ssh_config=config)
    monkeypatch.setenv("USER", "joe")
    [first] = hops(target)
    monkeypatch.setenv("USER", "anna")
    monkeypatch.setenv("HOME", str(home / "anna"))
    [second] = hops(target)
    assert (first.user, second.user) == ("joe", "anna")
    assert (first.identity_files, second.identity_files) == ((home / "key",), (home / "anna/key",))


def test_a_condition_that_runs_a_program_is_asked_again_every_time(home: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    text = f'Match exec "test -e {flag}"\n  Port 2222\n'
    [without] = _hops(home, text)
    flag.touch()
    [with_flag] = _hops(home, text)
    assert (without.port, with_flag.port) == (22, 2222)


def test_the_agent_is_the_one_of_now(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/tmp/one", "/tmp/two"):
        monkeypatch.setenv("SSH_AUTH_SOCK", place)
        monkeypatch.setenv("OWN_AGENT", f"{place}-own")
        [plain] = _hops(home, "")
        [own] = _hops(home, "Host db1\n  IdentityAgent $OWN_AGENT\n")
        assert (agent_place(plain.identity_agent), agent_place(own.identity_agent)) == (place, f"{place}-own")
    assert agent_place("none") == ""
    assert agent_place("SSH_AUTH_SOCK") == "/tmp/two"
    assert agent_place("~/agent") == str(home / "agent")
