"""Getting in, and being refused: credentials and host keys on a real host, and what a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec, RemoteError, SecretReference
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectionRefused,
    CredentialUnusable,
    HostKeyChanged,
    HostKeyUnknown,
    NameNotResolved,
)
from tests.hosts.conftest import HostFactory
from tests.hosts.ssh_host import SshHost
from tests.secret_scan import secret


def _run(engine: Engine, spec: EnvironmentSpec) -> str:
    engine.add_environment(spec)
    return engine.run(spec.name, "id -un").stdout_text.strip()


def _refused(engine: Engine, spec: EnvironmentSpec, error: type[RemoteError]) -> RemoteError:
    with pytest.raises(error) as caught:
        _run(engine, spec)
    assert caught.value.action, "nobody is told what to do"
    return caught.value


def test_a_password_from_a_variable_or_a_file(
    engine: Engine, ssh_host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", ssh_host.passwords["plain"])
    by_variable = Authentication(password_from=SecretReference("env", "DB_PASSWORD"))
    assert _run(engine, ssh_host.spec("a", "plain", authentication=by_variable)) == "plain"
    assert _run(engine, ssh_host.spec("b", "password")) == "password"


def test_a_key_under_a_passphrase(engine: Engine, ssh_host: SshHost) -> None:
    login = Authentication(
        key=str(ssh_host.encrypted_key),
        passphrase_from=SecretReference("file", str(ssh_host.passphrase_file)),
    )
    assert _run(engine, ssh_host.spec("db", authentication=login)) == "engine"


def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(
    engine: Engine, ssh_host: SshHost, tmp_path: Path
) -> None:
    wrong = secret("a wrong password")
    file = tmp_path / "wrong"
    file.touch(0o600)
    file.write_text(wrong)
    login = Authentication(password_from=SecretReference("file", str(file)))
    error = _refused(engine, ssh_host.spec("db", "plain", authentication=login), AuthenticationFailed)
    assert "plain" in str(error)
    assert wrong not in str(error)


def test_a_missing_passphrase_is_said(engine: Engine, ssh_host: SshHost) -> None:
    login = Authentication(key=str(ssh_host.encrypted_key))
    error = _refused(engine, ssh_host.spec("db", authentication=login), CredentialUnusable)
    assert "passphrase" in str(error)


def test_a_wrong_passphrase_is_said(
    engine: Engine, ssh_host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSPHRASE", secret("a wrong passphrase"))
    login = Authentication(
        key=str(ssh_host.encrypted_key), passphrase_from=SecretReference("env", "PASSPHRASE")
    )
    error = _refused(engine, ssh_host.spec("db", authentication=login), CredentialUnusable)
    assert "passphrase" in str(error)


def test_a_key_file_that_is_missing_is_named(engine: Engine, ssh_host: SshHost) -> None:
    login = Authentication(key="/nonexistent/key")
    error = _refused(engine, ssh_host.spec("db", authentication=login), CredentialUnusable)
    assert "/nonexistent/key" in str(error)


def test_no_way_in_at_all_is_said(engine: Engine, ssh_host: SshHost) -> None:
    error = _refused(engine, ssh_host.spec("db", authentication=Authentication()), AuthenticationFailed)
    assert "engine" in str(error)


def test_an_unknown_host_key_is_refused_and_shown(engine: Engine, ssh_host: SshHost) -> None:
    error = _refused(engine, ssh_host.spec("db", fingerprint=None), HostKeyUnknown)
    assert ssh_host.fingerprint in str(error)


def test_a_known_host_key_is_accepted(engine: Engine, ssh_host: SshHost, clean_home: Path) -> None:
    (clean_home / ".ssh" / "known_hosts").write_text(ssh_host.known_hosts_line)
    assert _run(engine, ssh_host.spec("db", fingerprint=None)) == "engine"


def test_a_new_host_key_is_remembered_and_its_change_refused(engine: Engine, own_ssh_host: SshHost) -> None:
    spec = own_ssh_host.spec("db", fingerprint=None, host_key="accept-new")
    assert _run(engine, spec) == "engine"
    own_ssh_host.root(
        "cd /etc/ssh; rm ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key\n"
        "pkill -HUP -o -x sshd"
    )
    error = _refused(engine, own_ssh_host.spec("again", fingerprint=None), HostKeyChanged)
    assert own_ssh_host.fingerprint not in str(error) or "known" in str(error)


def test_another_host_key_than_the_pinned_one_is_refused(engine: Engine, ssh_hosts: HostFactory) -> None:
    one, other = ssh_hosts(2)
    error = _refused(engine, one.spec("db", fingerprint=other.fingerprint), HostKeyChanged)
    assert one.fingerprint in str(error)


def test_a_refused_port_is_named(engine: Engine, ssh_host: SshHost) -> None:
    error = _refused(engine, ssh_host.spec("db", port=1), ConnectionRefused)
    assert "port 1" in str(error) or ":1" in str(error)


def test_an_unknown_host_is_named(engine: Engine, ssh_host: SshHost) -> None:
    error = _refused(engine, ssh_host.spec("db", host="nowhere.invalid", port=22), NameNotResolved)
    assert "nowhere.invalid" in str(error)
