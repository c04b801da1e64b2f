"""What a real server sees of a login: how often, in which order, and with what; counted in its own log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlpx_remote.transports.base import AuthenticationFailed
from dlpx_remote.transports.ssh import connect
from tests.hosts.sshd import PasswordSshd, Sshd
from tests.hosts.transports.conftest import Connect, target_of
from tests.secret_scan import secret

Start = Callable[..., PasswordSshd]


@pytest.fixture
def password() -> str:
    """The account's, on servers of :func:`start`."""
    return secret("password of a real account")


@pytest.fixture
def start(tmp_path: Path, password: str) -> Iterator[Start]:
    """Starts servers with passwords."""
    with ExitStack() as stack:

        def starting(*options: str) -> PasswordSshd:
            directory = tmp_path / "password-sshd"
            directory.mkdir()
            return stack.enter_context(PasswordSshd(directory, password, options))

        yield starting


def _seen(server: Sshd, wanted: int = 0) -> list[str]:
    """``Failed publickey`` and the like, in their order, from the server's log.

    Args:
        server: whose log.
        wanted: lines to wait for: the server may write after it has answered.
    """
    patience = time.monotonic() + 5
    while True:
        lines = [line.split() for line in server.log.read_text().splitlines()]
        seen = [
            f"{line[0]} {line[1]}"
            for line in lines
            if line[:1] and line[0] in {"Failed", "Accepted", "Partial"} and line[1] != "key"
        ]
        if len(seen) >= wanted or time.monotonic() > patience:
            return seen
        time.sleep(0.02)


def _config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config"
    path.write_text(text)
    return path


METHODS = {
    "password": ("PasswordAuthentication yes", "KbdInteractiveAuthentication no"),
    "keyboard-interactive/pam": ("PasswordAuthentication no", "KbdInteractiveAuthentication yes"),
}


class TestPasswords:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_right_one_lets_in_at_the_first_attempt(
        self, method: str, start: Start, password: str, open_connection: Connect
    ) -> None:
        server = start(*METHODS[method], "MaxAuthTries 1")
        assert open_connection(target_of(server, key=None, password=lambda: password)).is_open
        assert _seen(server, 1) == [f"Accepted {method}"]

    @pytest.mark.parametrize(
        "options", [*METHODS.values(), ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes")]
    )
    def test_a_wrong_one_is_one_failure_in_the_server_s_books(
        self, options: tuple[str, ...], start: Start
    ) -> None:
        server = start(*options)
        wrong = secret("wrong password")
        with pytest.raises(AuthenticationFailed, match="refused the login") as caught:
            connect(target_of(server, key=None, password=lambda: wrong))
        assert [line.split()[0] for line in _seen(server, 1)] == ["Failed"]
        assert "not tried again" in caught.value.action
        assert wrong not in str(caught.value)

    @pytest.mark.parametrize("tries", [1, 2, 3])
    def test_a_wrong_one_is_one_failure_however_few_are_allowed(self, tries: int, start: Start) -> None:
        server = start(*METHODS["password"], f"MaxAuthTries {tries}")
        with pytest.raises(AuthenticationFailed) as caught:
            connect(target_of(server, key=None, password=lambda: secret("wrong password")))
        assert _seen(server, 1) == ["Failed password"]
        assert "the password" in caught.value.message


class TestTwoFactors:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_key_and_then_a_password(
        self, method: str, start: Start, password: str, open_connection: Connect
    ) -> None:
        wanted = method.partition("/")[0]
        server = start(f"AuthenticationMethods publickey,{wanted}", *METHODS[method], "MaxAuthTries 1")
        assert open_connection(target_of(server, password=lambda: password)).is_open
        assert _seen(server, 2) == ["Partial publickey", f"Accepted {method}"]

    def test_a_password_and_then_a_key(self, start: Start, password: str, open_connection: Connect) -> None:
        server = start("AuthenticationMethods password,publickey", *METHODS["password"])
        assert open_connection(target_of(server, password=lambda: password)).is_open
        assert _seen(server, 2)[-2:] == ["Partial password", "Accepted publickey"]

    def test_two_keys(
        self, start_sshd: Callable[..., Sshd], tmp_path: Path, open_connection: Connect
    ) -> None:
        server = start_sshd("AuthenticationMethods publickey,publickey")
        second = server.make_key("second")
        server.authorize(second)
        config = _config(tmp_path, f"IdentityFile {server.user_key}\nIdentityFile {second}\n")
        target = target_of(server, key=None, default_keys=True, ssh_config=config)
        assert open_connection(target).is_open
        assert _seen(server, 2) == ["Partial publickey", "Accepted publickey"]

    def test_a_missing_second_one_is_told_from_a_refusal(self, start: Start) -> None:
        server = start("AuthenticationMethods publickey,password", *METHODS["password"])
        with pytest.raises(
            AuthenticationFailed, match=r"accepted the key .* asks for more: password"
        ) as caught:
            connect(target_of(server))
        assert "second credential" in caught.value.action
        assert _seen(server, 1) == ["Partial publickey"]

    def test_a_wrong_second_one_is_one_failure(self, start: Start) -> None:
        server = start("AuthenticationMethods publickey,password", *METHODS["password"])
        with pytest.raises(AuthenticationFailed, match="asks for more") as caught:
            connect(target_of(server, password=lambda: secret("wrong password")))
        assert _seen(server, 2) == ["Partial publickey", "Failed password"]
        assert "It refused the password." in caught.value.action


class TestFewAttempts:
    @pytest.mark.parametrize("tries", [1, 2, 3])
    def test_a_host_that_ends_the_login_is_not_called_again_and_what_was_left_is_told(
        self, tries: int, start: Start, password: str, tmp_path: Path
    ) -> None:
        server = start(*METHODS["password"], f"MaxAuthTries {tries}")
        strangers = [server.make_key(f"stranger{number}") for number in range(4)]
        config = _config(tmp_path, "".join(f"IdentityFile {key}\n" for key in strangers))
        target = target_of(server, key=None, default_keys=True, ssh_config=config, password=lambda: password)
        with pytest.raises(AuthenticationFailed, match="Too many authentication failures") as caught:
            connect(target)
        assert _seen(server, tries) == ["Failed publickey"] * tries
        assert f"offered the key {strangers[0]}" in caught.value.message
        assert "Not offered any more: the password and more keys." in caught.value.action
        assert "MaxAuthTries" in caught.value.action
        assert "IdentitiesOnly" in caught.value.action

    def test_with_the_usual_six_the_password_is_the_last(
        self, start: Start, password: str, tmp_path: Path, open_connection: Connect
    ) -> None:
        server = start(*METHODS["password"])
        strangers = [server.make_key(f"stranger{number}") for number in range(9)]
        config = _config(tmp_path, "".join(f"IdentityFile {key}\n" for key in strangers))
        target = target_of(server, key=None, default_keys=True, ssh_config=config, password=lambda: password)
        assert open_connection(target).is_open
        assert _seen(server, 6) == [*["Failed publickey"] * 5, "Accepted password"]

    def test_more_keys_than_are_offered_are_told(self, sshd: Sshd, tmp_path: Path) -> None:
        strangers = [sshd.make_key(f"surplus{number}") for number in range(6)]
        config = _config(tmp_path, "".join(f"IdentityFile {key}\n" for key in strangers))
        with pytest.raises(AuthenticationFailed) as caught:
            connect(target_of(sshd, key=None, default_keys=True, ssh_config=config))
        assert "No more than 5 keys are offered" in caught.value.action
        assert str(strangers[5]) not in caught.value.message

    def test_options_that_are_not_honoured_are_told_where_the_login_failed(
        self, sshd: Sshd, tmp_path: Path
    ) -> None:
        config = _config(tmp_path, "PreferredAuthentications password\n")
        with pytest.raises(AuthenticationFailed) as caught:
            connect(target_of(sshd, key=str(sshd.make_key("unwanted")), ssh_config=config))
        assert "preferredauthentications, which is not honoured" in caught.value.action


def test_a_second_question_is_not_answered_with_the_password_again(start: Start, password: str) -> None:
    server = start(
        "AuthenticationMethods keyboard-interactive,keyboard-interactive",
        *METHODS["keyboard-interactive/pam"],
    )
    with pytest.raises(AuthenticationFailed, match="asks for more: keyboard-interactive"):
        connect(target_of(server, key=None, password=lambda: password))
    assert _seen(server, 1) == ["Partial keyboard-interactive/pam"]
