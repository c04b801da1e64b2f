"""Accounts as they are in the field: other login shells, noisy and slow start-up files, no home, no shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlpx_remote.transports.base import CommandTimeout, HomeDirectoryMissing, ShellUnavailable
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.ssh_host import SshHost

Open = Callable[[str], SshConnection]


@pytest.fixture
def as_user(ssh_host: SshHost, tmp_path: Path) -> Iterator[Open]:
    """Opens a connection to the test host as one of its users."""
    config = tmp_path / "config"
    config.touch()
    with ExitStack() as stack:

        def opening(user: str) -> SshConnection:
            password = ssh_host.passwords.get(user)
            return stack.enter_context(
                connect(
                    SshTarget(
                        ssh_host.address,
                        user,
                        ssh_host.port,
                        key=None if user == "password" else str(ssh_host.key),
                        password=(lambda: password) if user == "password" and password else None,
                        fingerprint=ssh_host.fingerprint,
                        known_hosts=tmp_path / "known",
                        ssh_config=config,
                        default_keys=False,
                    )
                )
            )

        yield opening


class TestAccounts:
    @pytest.mark.parametrize("user", ["engine", "plain", "password", "csh", "fish", "noisy", "sleepy"])
    def test_a_script_runs_the_same_whatever_the_account_is_like(self, user: str, as_user: Open) -> None:
        connection = as_user(user)
        for login_shell in (False, True):
            result = connection.run(
                'echo "$0 $(id -un) $PWD $VALUE"; printf err >&2; exit 3',
                variables={"VALUE": "a 'b' $c\n!d"},
                login_shell=login_shell,
            )
            assert result.stdout_text == f"bash {user} /home/{user} a 'b' $c\n!d\n"
            assert result.stderr == b"err"
            assert result.exit_code == 3

    @pytest.mark.parametrize("user", ["plain", "csh", "fish"])
    def test_an_ordinary_user_s_script_is_ended_on_time_out(self, user: str, as_user: Open) -> None:
        with pytest.raises(CommandTimeout) as caught:
            as_user(user).run("trap '' TERM; sleep 300 & sleep 300", timeout=2)
        assert caught.value.killed

    def test_expect_runs_on_a_real_host(self, as_user: Open) -> None:
        result = as_user("csh").run("puts $env(HOME); exit 2", interpreter="expect")
        assert (result.stdout, result.exit_code) == (b"/home/csh\n", 2)

    def test_facts_name_the_login_shell_and_locale(self, as_user: Open) -> None:
        facts = as_user("fish").facts()
        assert facts.shell.endswith("fish")
        assert facts.locale == "C.UTF-8"
        assert {"bash", "sudo", "rsync", "expect", "jq"} <= set(facts.tools)

    def test_a_home_that_does_not_exist_is_told_and_nothing_runs(self, as_user: Open) -> None:
        connection = as_user("homeless")
        facts = connection.facts()
        assert facts.home
        with pytest.raises(HomeDirectoryMissing, match="does not exist or cannot be entered") as caught:
            connection.run("touch /tmp/never")
        assert facts.home in caught.value.message
        assert caught.value.action

    def test_a_closed_account_is_told_with_what_it_says(self, as_user: Open) -> None:
        with pytest.raises(ShellUnavailable, match="not available") as caught:
            as_user("nologin").run("touch /tmp/never")
        assert "nologin" in caught.value.message + caught.value.action

    def test_missing_expect_is_told(self, own_ssh_host: SshHost, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.touch()
        own_ssh_host.root('rm -f "$(command -v expect)"')
        target = SshTarget(
            own_ssh_host.address,
            "engine",
            own_ssh_host.port,
            key=str(own_ssh_host.key),
            fingerprint=own_ssh_host.fingerprint,
            ssh_config=config,
            default_keys=False,
        )
        with (
            connect(target) as connection,
            pytest.raises(ShellUnavailable, match="expect is not installed") as caught,
        ):
            connection.run("puts x", interpreter="expect")
        assert "Install" in caught.value.action
