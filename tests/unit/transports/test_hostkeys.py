"""Known hosts: reading, judging and remembering, without a connection."""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.base import HostKeyChanged, HostKeyError, HostKeyRevoked, HostKeyUnknown
from dlpx_remote.transports.ssh import hostkeys
from dlpx_remote.transports.ssh.target import Hop, HostKeyPolicy

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 key one", b"\0\0\0\x0bssh-ed25519 key two"


def _text(key: bytes = KEY) -> str:
    return f"ssh-ed25519 {base64.b64encode(key).decode()}"


def _hop(file: Path, name: str = "db1", port: int = 22) -> Hop:
    key_name = name if port == 22 else f"[{name}]:{port}"
    return Hop(name, name, port, "joe", key_name, (file,), (), last=True)


def _judge(
    file: Path, key: bytes = KEY, policy: HostKeyPolicy = "strict", pinned: str | None = None, port: int = 22
) -> str:
    return hostkeys.judge(_hop(file, port=port), "ssh-ed25519", key, policy, pinned)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


@pytest.mark.parametrize(
    ("patterns", "name", "matches"),
    [
        ("db1", "db1", True),
        ("db1", "db10", False),
        ("DB1", "db1", True),
        ("other,db1,10.0.0.1", "db1", True),
        ("db?", "db1", True),
        ("db*,!db1", "db1", False),
        ("!db2,db*", "db1", True),
        ("[db1]:2222", "[db1]:2222", True),
        ("[db1]:2222", "db1", False),
        ("[db*]:2222", "[db7]:2222", True),
        ("db1", "[db1]:2222", False),
    ],
)
def test_patterns_of_a_line_name_the_hosts_that_openssh_says(
    file: Path, patterns: str, name: str, matches: bool
) -> None:
    file.write_text(f"{patterns} {_text()}\n")
    assert bool(hostkeys.known_keys([file], name)) is matches


def test_hashed_names_are_found(file: Path) -> None:
    salt = b"0123456789abcdef0123"
    digest = base64.b64encode(hmac.digest(salt, b"db1", "sha1")).decode()
    file.write_text(f"|1|{base64.b64encode(salt).decode()}|{digest} {_text()}\n")
    assert [entry.key for entry in hostkeys.known_keys([file], "db1")] == [KEY]
    assert hostkeys.known_keys([file], "db2") == []


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    assert hostkeys.known_keys([file], "db1") == []
    for content in (f"db1 {_text()}\n", f"db1 {_text()}\n@revoked db1 {_text()}\n", ""):
        file.write_text(content)
        lines = [(entry.line, entry.marker) for entry in hostkeys.known_keys([file], "db1")]
        assert lines == [(1, ""), (2, "@revoked")][: content.count("\n")]
    file.unlink()
    assert hostkeys.known_keys([file], "db1") == []


def test_entries_come_in_the_order_of_their_lines(file: Path) -> None:
    file.write_text(f"db* {_text()}\ndb1,other {_text(OTHER)}\n@revoked * {_text()}\n")
    assert [entry.line for entry in hostkeys.known_keys([file], "db1")] == [1, 2, 3]


@given(st.text(max_size=200))
def test_no_line_makes_the_reader_stumble(text: str) -> None:
    for line in [text, f"|1|{text} {_text()}", f"db1 {text}", f"@{text} db1 {_text()}"]:
        hostkeys._File(Path("known_hosts"), line).entries("db1")


def test_comments_blank_and_broken_lines_do_not_hide_a_good_one(file: Path) -> None:
    file.write_text(f"# comment\n\ndb1 ssh-ed25519 !!!\ndb1\nnonsense\ndb1 {_text()} joe@home\n")
    [entry] = hostkeys.known_keys([file], "db1")
    assert entry.place == f"{file}:6"


def test_a_known_key_is_accepted_and_its_place_told(file: Path) -> None:
    file.write_text(f"db1 {_text()}\n")
    assert f"{file}:1" in _judge(file)


def test_an_unknown_key_shows_its_fingerprint_and_every_way_to_accept_it(file: Path) -> None:
    with pytest.raises(HostKeyUnknown) as caught:
        _judge(file)
    shown = hostkeys.fingerprint(KEY)
    assert caught.value.fingerprint == shown
    assert shown in caught.value.message
    for way in ("pin", "accept-new", str(file), "ssh-keyscan"):
        assert way in caught.value.action


@pytest.mark.parametrize("policy", ["strict", "accept-new"])
def test_a_changed_key_shows_both_fingerprints_and_where_the_known_one_is(
    file: Path, policy: HostKeyPolicy
) -> None:
    file.write_text(f"# one\ndb1 {_text(OTHER)}\n")
    with pytest.raises(HostKeyChanged) as caught:
        _judge(file, policy=policy)
    for part in (hostkeys.fingerprint(KEY), hostkeys.fingerprint(OTHER), f"{file}:2"):
        assert part in caught.value.message
    assert f"ssh-keygen -R 'db1' -f {file}" in caught.value.action
    assert file.read_text() == f"# one\ndb1 {_text(OTHER)}\n"


@pytest.mark.parametrize("policy", ["strict", "accept-new", "off"])
def test_a_revoked_key_is_refused_under_every_policy(file: Path, policy: HostKeyPolicy) -> None:
    file.write_text(f"db1 {_text()}\n@revoked * {_text()}\n")
    with pytest.raises(HostKeyRevoked, match="revoked") as caught:
        _judge(file, policy=policy)
    assert f"{file}:2" in caught.value.message


def test_a_certificate_authority_is_not_taken_for_a_host_key(file: Path) -> None:
    file.write_text(f"@cert-authority db1 {_text()}\n")
    with pytest.raises(HostKeyUnknown, match="certificate authority") as caught:
        _judge(file)
    assert f"{file}:1" in caught.value.message


def test_a_pinned_fingerprint_is_enough_and_overrides_the_files(file: Path) -> None:
    file.write_text(f"db1 {_text(OTHER)}\n")
    assert "pinned" in _judge(file, pinned=hostkeys.fingerprint(KEY))
    assert "pinned" in _judge(file, pinned=hostkeys.fingerprint(KEY).removeprefix("SHA256:") + "=")


def test_another_key_than_the_pinned_one_is_refused_under_every_policy(file: Path) -> None:
    with pytest.raises(HostKeyChanged) as caught:
        _judge(file, policy="off", pinned=hostkeys.fingerprint(OTHER))
    assert hostkeys.fingerprint(OTHER) in caught.value.message
    assert hostkeys.fingerprint(KEY) in caught.value.message


def test_switching_the_check_off_is_loud(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _judge(file, policy="off")
    assert "NOT CHECKED" in caplog.text
    assert not file.exists()


def test_accept_new_remembers_the_key_with_the_port_in_brackets(file: Path) -> None:
    _judge(file, policy="accept-new", port=2222)
    assert file.read_text() == f"[db1]:2222 {_text()}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "known from" in _judge(file, port=2222)


def test_remembering_keeps_what_the_file_held_and_its_mode(file: Path) -> None:
    file.write_text("# mine, without a final end of line")
    file.chmod(0o644)
    hostkeys.remember(file, "db1", "ssh-ed25519", KEY)
    assert file.read_text() == f"# mine, without a final end of line\ndb1 {_text()}\n"
    assert file.stat().st_mode & 0o777 == 0o644


def test_remembering_through_a_symbolic_link_keeps_the_link(tmp_path: Path, file: Path) -> None:
    real = tmp_path / "real"
    real.write_text("")
    file.symlink_to(real)
    hostkeys.remember(file, "db1", "ssh-ed25519", KEY)
    assert file.is_symlink()
    assert "db1" in real.read_text()


def test_many_writers_lose_no_entry(file: Path) -> None:
    names = [f"db{number}" for number in range(40)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: hostkeys.remember(file, name, "ssh-ed25519", KEY), names))
    assert sorted(line.split()[0] for line in file.read_text().splitlines()) == sorted(names)


def test_a_key_that_another_process_remembered_meanwhile_is_not_overruled(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostkeys.remember(file, "db1", "ssh-ed25519", OTHER)
    known = hostkeys.known_keys
    # The first look, before the lock, is as if the other process had not written yet.
    answers: Iterator[list[hostkeys.KnownKey]] = iter([[]])
    monkeypatch.setattr(hostkeys, "known_keys", lambda files, name: next(answers, None) or known(files, name))
    with pytest.raises(HostKeyChanged):
        _judge(file, policy="accept-new")


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, not a directory")
    with pytest.raises(HostKeyError, match="cannot be written") as caught:
        _judge(tmp_path / "blocked" / "known_hosts", policy="accept-new")
    assert "pin" in caught.value.action


def test_the_type_of_a_known_key_is_asked_for_first() -> None:
    known = [hostkeys.KnownKey(Path("f"), 1, "", "ssh-rsa", KEY)]
    available = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    assert hostkeys.preferred_algorithms(available, known) == [
        "rsa-sha2-512",
        "rsa-sha2-256",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
    ]
    assert hostkeys.preferred_algorithms(available, []) == available
