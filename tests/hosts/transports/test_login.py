"""Ways in, and what a person is told when one does not work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.redaction import redact
from dlpx_remote.transports.base import AuthenticationFailed, ConnectTimeout, CredentialUnusable, Deadlines
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of
from tests.hosts.transports.password_server import Account, password_server
from tests.secret_scan import secret


def _add(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL)


class TestKeys:
    @pytest.mark.parametrize(
        ("kind", "form"),
        [
            ("ed25519", ()),
            ("ecdsa", ()),
            ("rsa", ()),
            ("rsa", ("-m", "PEM")),
            ("ecdsa", ("-m", "PEM")),
        ],
    )
    def test_a_key_of_any_type_and_form_lets_in(
        self, kind: str, form: tuple[str, ...], sshd: Sshd, open_connection: Connect
    ) -> None:
        key = sshd.make_key(f"of_{kind}_{len(form)}", kind, form=form)
        sshd.authorize(key)
        assert open_connection(target_of(sshd, key=str(key))).is_open

    @pytest.mark.parametrize("form", [(), ("-m", "PEM")])
    def test_an_encrypted_key_lets_in_with_its_passphrase(
        self, form: tuple[str, ...], sshd: Sshd, open_connection: Connect
    ) -> None:
        passphrase = secret("passphrase of a key")
        key = _encrypted(sshd, f"encrypted{len(form)}", passphrase, form)
        sshd.authorize(key)
        assert open_connection(target_of(sshd, key=str(key), passphrase=lambda: passphrase)).is_open
        assert passphrase not in redact(f"it is {passphrase}")

    def test_a_missing_passphrase_is_told(self, sshd: Sshd) -> None:
        key = _encrypted(sshd, "encrypted_missing", secret("passphrase of a key"))
        with pytest.raises(CredentialUnusable, match="protected by a passphrase") as caught:
            connect(target_of(sshd, key=str(key)))
        assert str(key) in caught.value.message
        assert "ssh-add" in caught.value.action

    def test_a_wrong_passphrase_is_told_and_not_shown(self, sshd: Sshd) -> None:
        key = _encrypted(sshd, "encrypted_wrong", secret("passphrase of a key"))
        wrong = secret("wrong passphrase")
        with pytest.raises(CredentialUnusable, match=r"passphrase for the key .* is wrong") as caught:
            connect(target_of(sshd, key=str(key), passphrase=lambda: wrong))
        assert wrong not in str(caught.value)

    def test_a_missing_key_file_is_named(self, sshd: Sshd, tmp_path: Path) -> None:
        with pytest.raises(CredentialUnusable, match="no key file") as caught:
            connect(target_of(sshd, key=str(tmp_path / "missing")))
        assert str(tmp_path / "missing") in caught.value.message

    def test_a_key_file_that_cannot_be_read_is_named(self, sshd: Sshd, tmp_path: Path) -> None:
        with pytest.raises(CredentialUnusable, match="cannot be read"):
            connect(target_of(sshd, key=str(tmp_path)))

    def test_a_public_key_given_for_a_private_one_is_noticed(self, sshd: Sshd) -> None:
        with pytest.raises(CredentialUnusable, match="looks like a public key"):
            connect(target_of(sshd, key=f"{sshd.user_key}.pub"))

    def test_a_file_that_is_no_key_is_refused(self, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("not a key")
        with pytest.raises(CredentialUnusable, match="no private key"):
            connect(target_of(sshd, key=str(tmp_path / "key")))

    def test_a_refused_key_is_named_with_what_the_host_accepts(self, sshd: Sshd) -> None:
        key = sshd.make_key("stranger")
        with pytest.raises(AuthenticationFailed, match="refused the login") as caught:
            connect(target_of(sshd, key=str(key)))
        assert str(key) in caught.value.message
        assert "authorized_keys" in caught.value.action
        assert "publickey" in caught.value.action
        assert caught.value.user == sshd.user

    def test_nothing_to_offer_is_told_apart_from_a_refusal(self, sshd: Sshd) -> None:
        with pytest.raises(AuthenticationFailed, match="no credential to offer"):
            connect(target_of(sshd, key=None))

    def test_a_certificate_beside_the_key_lets_in(
        self, start_sshd: Any, open_connection: Connect, tmp_path: Path
    ) -> None:
        authority = tmp_path / "authority"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)], check=True)
        server = start_sshd(f"TrustedUserCAKeys {authority}.pub")
        key = server.make_key("certified")
        with pytest.raises(AuthenticationFailed):
            connect(target_of(server, key=str(key)))
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user, f"{key}.pub"]
        subprocess.run(command, check=True)
        assert open_connection(target_of(server, key=str(key))).is_open

    def test_a_key_file_that_was_replaced_is_read_again(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        key = tmp_path / "key"
        key.write_bytes(sshd.make_key("replaced").read_bytes())
        key.chmod(0o600)
        with pytest.raises(AuthenticationFailed):
            connect(target_of(sshd, key=str(key)))
        key.write_bytes(sshd.user_key.read_bytes())
        assert open_connection(target_of(sshd, key=str(key))).is_open

    def test_a_key_file_that_is_gone_lets_nobody_in_any_more(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        key = tmp_path / "key"
        key.write_bytes(sshd.user_key.read_bytes())
        key.chmod(0o600)
        assert open_connection(target_of(sshd, key=str(key))).is_open
        key.unlink()
        with pytest.raises(CredentialUnusable, match="There is no key file"):
            connect(target_of(sshd, key=str(key)))

    def test_a_passphrase_is_asked_for_every_time(self, sshd: Sshd, open_connection: Connect) -> None:
        passphrase = secret("passphrase of a key")
        key = _encrypted(sshd, "encrypted_asked", passphrase)
        sshd.authorize(key)
        asked: list[bool] = []

        def ask() -> str:
            asked.append(True)
            return passphrase

        for _ in range(2):
            open_connection(target_of(sshd, key=str(key), passphrase=ask))
        assert len(asked) == 2

    def test_default_keys_come_from_the_configuration(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        config = tmp_path / "config"
        config.write_text(f"IdentityFile {tmp_path / 'missing'}\nIdentityFile {sshd.user_key}\n")
        assert open_connection(target_of(sshd, key=None, ssh_config=config, default_keys=True)).is_open

    def test_so_many_default_keys_are_offered_that_the_password_still_gets_its_turn(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        config = tmp_path / "config"
        keys = [sshd.make_key(f"many{number}") for number in range(9)]
        config.write_text("".join(f"IdentityFile {key}\n" for key in keys))
        account = Account(secret("password"), methods="publickey,password")
        password = account.password
        with password_server(account) as port:
            target = target_of(
                sshd,
                port=port,
                key=None,
                ssh_config=config,
                default_keys=True,
                host_key_policy="off",
                password=lambda: password,
            )
            connect(target).close()
        assert [method for method, _ in account.attempts] == ["publickey"] * 5 + ["password"]


def _encrypted(server: Sshd, name: str, passphrase: str, form: tuple[str, ...] = ()) -> Path:
    """An encrypted key, made without the passphrase on a command line."""
    import paramiko
    from cryptography.hazmat.primitives import serialization

    path = server.make_key(name, "ecdsa", form=form)
    key = serialization.load_ssh_private_key(path.read_bytes(), None) if not form else None
    if key is None:
        paramiko.ECDSAKey.from_private_key_file(str(path)).write_private_key_file(
            str(path), password=passphrase
        )
    else:
        assert hasattr(key, "private_bytes")
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.BestAvailableEncryption(passphrase.encode()),
            )
        )
    return path


class TestTheAgent:
    def test_its_keys_let_in(self, agent: Path, sshd: Sshd, open_connection: Connect) -> None:
        _add(sshd.user_key)
        assert open_connection(target_of(sshd, key=None, agent=True)).is_open

    def test_a_missing_agent_is_told(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        with pytest.raises(CredentialUnusable, match="no SSH agent") as caught:
            connect(target_of(sshd, key=None, agent=True))
        assert "ssh-add" in caught.value.action

    def test_an_agent_that_is_gone_is_told(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
        with pytest.raises(CredentialUnusable, match=r"SSH agent at .*gone"):
            connect(target_of(sshd, key=None, agent=True))

    def test_an_empty_agent_is_told(self, agent: Path, sshd: Sshd) -> None:
        with pytest.raises(CredentialUnusable, match="holds no key"):
            connect(target_of(sshd, key=None, agent=True))

    def test_a_missing_agent_does_not_matter_where_only_defaults_are_asked_for(
        self, sshd: Sshd, open_connection: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        assert open_connection(target_of(sshd, agent=True, default_keys=True)).is_open


class TestPasswords:
    def _target(self, port: int, password: str, tmp_path: Path, **changes: Any) -> SshTarget:
        config = tmp_path / "config"
        config.touch()
        return SshTarget(
            **{
                "host": "127.0.0.1",
                "user": "joe",
                "port": port,
                "password": lambda: password,
                "host_key_policy": "off",
                "ssh_config": config,
                "default_keys": False,
                **changes,
            }
        )

    @pytest.mark.parametrize("methods", ["password", "keyboard-interactive", "password,keyboard-interactive"])
    def test_the_right_one_lets_in_and_is_sent_once(self, methods: str, tmp_path: Path) -> None:
        account = Account(secret("password"), methods)
        with password_server(account) as port:
            connect(self._target(port, account.password, tmp_path)).close()
        assert [used for _, used in account.attempts] == [account.password]

    @pytest.mark.parametrize("methods", ["password", "keyboard-interactive", "password,keyboard-interactive"])
    def test_a_wrong_one_is_sent_once_and_never_again(self, methods: str, tmp_path: Path) -> None:
        account = Account(secret("password"), methods)
        wrong = secret("wrong password")
        with (
            password_server(account) as port,
            pytest.raises(AuthenticationFailed, match="refused the login of joe") as caught,
        ):
            connect(self._target(port, wrong, tmp_path))
        assert len(account.attempts) == 1
        assert "password" in caught.value.message
        assert "not tried again" in caught.value.action
        assert wrong not in str(caught.value)

    def test_a_real_server_refuses_a_wrong_one(self, start_sshd: Any) -> None:
        server = start_sshd("PasswordAuthentication yes")
        wrong = secret("wrong password")
        with pytest.raises(AuthenticationFailed, match="with the password") as caught:
            connect(target_of(server, key=None, password=lambda: wrong))
        assert server.log.read_text().count("Failed password") == 1
        assert wrong not in str(caught.value)

    def test_a_host_that_asks_for_more_than_the_password_gets_no_invented_answer(
        self, tmp_path: Path
    ) -> None:
        account = Account(
            secret("password"), "keyboard-interactive", prompts=(("Password: ", False), ("Token: ", True))
        )
        with (
            password_server(account) as port,
            pytest.raises(AuthenticationFailed, match="more than the password"),
        ):
            connect(self._target(port, account.password, tmp_path))
        assert account.attempts == []

    def test_a_key_and_then_a_password_where_the_host_wants_both(self, sshd: Sshd, tmp_path: Path) -> None:
        account = Account(secret("password"), "publickey", second_factor=True)
        with password_server(account) as port:
            connect(self._target(port, account.password, tmp_path, key=str(sshd.user_key))).close()
        assert [method for method, _ in account.attempts] == ["publickey", "password"]

    def test_a_password_and_then_a_key_where_the_host_wants_them_so(self, sshd: Sshd, tmp_path: Path) -> None:
        """The key that was offered before the host said what it wants first keeps its turn."""
        account = Account(secret("password"), key_last=True)
        with password_server(account) as port:
            connect(self._target(port, account.password, tmp_path, key=str(sshd.user_key))).close()
        assert [method for method, _ in account.attempts] == ["publickey", "password", "publickey"]

    def test_it_is_not_asked_for_when_a_key_is_enough(self, sshd: Sshd, open_connection: Connect) -> None:
        def never() -> str:
            raise AssertionError("asked for the password")

        assert open_connection(target_of(sshd, password=never)).is_open

    def test_it_is_not_sent_to_a_jump_host(self, tmp_path: Path) -> None:
        account = Account(secret("password"))
        with password_server(account) as port:
            target = self._target(22, account.password, tmp_path, jump=(f"joe@127.0.0.1:{port}",))
            with pytest.raises(AuthenticationFailed, match="no credential") as caught:
                connect(target)
        assert account.attempts == []
        assert "not sent to jump hosts" in caught.value.action

    def test_a_host_that_does_not_answer_the_login_ends_with_the_deadline(self, tmp_path: Path) -> None:
        account = Account(secret("password"))

        class Slow(str):
            def __eq__(self, other: object) -> bool:
                import time

                time.sleep(3)
                return False

            __hash__ = str.__hash__

        account.password = Slow("x")
        with (
            password_server(account) as port,
            pytest.raises(ConnectTimeout, match="did not answer the login"),
        ):
            connect(self._target(port, "something", tmp_path), deadlines=Deadlines(connect=1.5))


def test_a_connection_is_usable_as_a_context(sshd: Sshd) -> None:
    with connect(target_of(sshd)) as connection:
        assert isinstance(connection, SshConnection)
        assert connection.run("echo $USER").stdout_text.strip() == os.environ.get("USER", sshd.user)
    assert not connection.is_open
