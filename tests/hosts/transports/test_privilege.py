"""Commands as other accounts: through the sudo of a real host, and what is said where it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.privilege import Privilege, Privileged, PrivilegeRefused
from dlpx_remote.transports.ssh import SshConnection, connect
from tests.hosts.ssh_host import SshHost
from tests.hosts.transports.test_files import target_of_host


@pytest.fixture
def engine_user(ssh_host: SshHost, tmp_path: Path) -> Iterator[SshConnection]:
    with connect(target_of_host(ssh_host, tmp_path)) as connection:
        yield connection


@pytest.fixture
def plain_user(own_ssh_host: SshHost, tmp_path: Path) -> Iterator[SshConnection]:
    with connect(target_of_host(own_ssh_host, tmp_path, "plain")) as connection:
        yield connection


def test_what_sudoers_allow_runs_with_every_argument_as_it_is(engine_user: SshConnection) -> None:
    result = Privileged(engine_user).run(["mount", "--version"])
    assert (result.exit_code, result.stdout_text[:5]) == (0, "mount")
    odd = ["mount", "-o", "ro", "no such; $(source) 'x'", "/no such/path"]
    result = Privileged(engine_user).run(odd)
    assert result.exit_code != 0
    assert "/no such/path" in result.stderr_text


def test_what_sudoers_do_not_allow_is_told_with_the_line_that_would(engine_user: SshConnection) -> None:
    with pytest.raises(PrivilegeRefused, match="may not run mkdir as root by sudo") as caught:
        Privileged(engine_user).run(["mkdir", "/mnt/x"])
    assert caught.value.reason == "password needed"
    assert "engine ALL=(root) NOPASSWD: /usr/bin/mkdir" in caught.value.action


def test_the_own_account_needs_nothing(engine_user: SshConnection) -> None:
    assert Privileged(engine_user, Privilege("none")).run(["id", "-un"], user="engine").stdout == b"engine\n"


def test_no_way_to_become_root_is_told(engine_user: SshConnection) -> None:
    with pytest.raises(PrivilegeRefused, match="no way to become so is configured"):
        Privileged(engine_user, Privilege("none")).run(["id"])
    with pytest.raises(PrivilegeRefused, match="doas is not installed") as caught:
        Privileged(engine_user, Privilege("doas")).run(["id"])
    assert caught.value.reason == "missing"


def test_a_wrapper_of_the_site_is_used(engine_user: SshConnection) -> None:
    wrapper = Privilege.parse("command:env 'AS={user} too'")
    assert b"AS=anna too\n" in Privileged(engine_user, wrapper).run(["env"], user="anna").stdout


def test_how_far_mount_is_allowed_is_said(
    engine_user: SshConnection, plain_user: SshConnection, own_ssh_host: SshHost
) -> None:
    assert Privileged(engine_user).allowed("mount") == "allowed"
    with pytest.raises(PrivilegeRefused):
        Privileged(plain_user).allowed("mount")
    _sudoers(own_ssh_host, "plain ALL=(root) NOPASSWD: /usr/bin/mount -t nfs *")
    assert Privileged(plain_user).allowed("mount") == "allowed with certain arguments"


def test_another_user_than_root(plain_user: SshConnection, own_ssh_host: SshHost) -> None:
    _sudoers(own_ssh_host, "plain ALL=(engine) NOPASSWD: /usr/bin/id")
    assert Privileged(plain_user).run(["id", "-un"], user="engine").stdout == b"engine\n"
    with pytest.raises(PrivilegeRefused, match="There is no user nobodyknows") as caught:
        Privileged(plain_user).run(["id"], user="nobodyknows")
    assert caught.value.reason == "no such user"


def test_a_host_that_wants_a_terminal(plain_user: SshConnection, own_ssh_host: SshHost) -> None:
    _sudoers(own_ssh_host, "Defaults requiretty\nplain ALL=(root) NOPASSWD: ALL")
    with pytest.raises(PrivilegeRefused, match="requiretty") as caught:
        Privileged(plain_user).run(["id"])
    assert "Defaults:plain !requiretty" in caught.value.action


class TestPasswords:
    @pytest.fixture(autouse=True)
    def with_password(self, own_ssh_host: SshHost) -> None:
        _sudoers(own_ssh_host, "plain ALL=(root) ALL")

    def test_without_one_it_says_that_one_is_needed(self, plain_user: SshConnection) -> None:
        with pytest.raises(PrivilegeRefused, match="without a password") as caught:
            Privileged(plain_user).run(["id"])
        assert caught.value.reason == "password needed"

    def test_the_right_one_is_taken_and_seen_nowhere(
        self, plain_user: SshConnection, own_ssh_host: SshHost
    ) -> None:
        password = own_ssh_host.passwords["plain"]
        privileged = Privileged(plain_user, Privilege(password=lambda: password))
        script = "id -un; cat; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
        for _ in range(2):
            result = privileged.run(["bash", "-c", script])
            assert result.stdout.startswith(b"root\n")
            assert password.encode() not in result.stdout + result.stderr
            assert b"[" not in result.stderr, "the prompt is no output of the command"

    def test_a_command_that_needs_none_does_not_get_it(
        self, plain_user: SshConnection, own_ssh_host: SshHost
    ) -> None:
        _sudoers(own_ssh_host, "plain ALL=(root) NOPASSWD: ALL")

        def password() -> str:
            raise AssertionError("not to be asked for")

        assert Privileged(plain_user, Privilege(password=password)).run(["cat"]).stdout == b""

    def test_a_wrong_one_is_offered_once_only(self, plain_user: SshConnection, own_ssh_host: SshHost) -> None:
        wrong = os.urandom(12).hex()
        asked = []

        def password() -> str:
            asked.append(1)
            return wrong

        privileged = Privileged(plain_user, replace(Privilege(), password=password))
        for _ in range(3):
            with pytest.raises(PrivilegeRefused, match="refused the password") as caught:
                privileged.run(["id"])
            assert caught.value.reason == "password refused"
            assert wrong not in str(caught.value) + caught.value.output
        assert len(asked) == 1


@pytest.mark.parametrize("text", ["", "su", "command:", "command:'"])
def test_what_is_no_privilege_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no way to other privileges"):
        Privilege.parse(text)


@pytest.mark.parametrize("text", ["sudo", "doas", "none", "command:pbrun -u '{user}'"])
def test_a_privilege_is_written_as_it_is_read(text: str) -> None:
    assert str(Privilege.parse(text)) == text


def _sudoers(host: SshHost, text: str) -> None:
    host.root(f"umask 337; cat >/etc/sudoers.d/test <<'END'\n{text}\nEND")
