"""Every kind of account: what runs there, and what ``env test`` says of it."""

from __future__ import annotations

import pytest

from dlpx_remote.engine import Engine, TestStep
from dlpx_remote.transports.base import HomeDirectoryMissing, ShellUnavailable
from tests.hosts.ssh_host import SshHost
from tests.secret_scan import secret

USABLE = ("engine", "plain", "password", "csh", "fish", "noisy", "sleepy")
SCRIPT = r"""
printf '%s\n' "$0" "$PWD" "$VALUE"
echo "to stderr" >&2
exit 3
"""


@pytest.mark.parametrize("user", USABLE)
def test_a_script_sees_the_same_whatever_the_login_shell(
    engine: Engine, ssh_host: SshHost, user: str
) -> None:
    engine.add_environment(ssh_host.spec("db", user))
    value = secret("value of a variable") + "\n'two' $lines"
    result = engine.run("db", SCRIPT, variables={"VALUE": value})
    assert result.exit_code == 3
    assert result.stdout_text.splitlines()[1:] == [f"/home/{user}", *value.splitlines()]
    assert result.stderr_text == "to stderr\n"


def test_a_running_command_shows_no_variable_to_other_users(engine: Engine, ssh_host: SshHost) -> None:
    engine.add_environment(ssh_host.spec("db"))
    value = secret("variable of a command that takes a while")
    result = engine.run("db", 'sleep 1; ps -eo args; echo "${#VALUE}"', variables={"VALUE": value})
    assert "sleep" in result.stdout_text or "ps -eo args" in result.stdout_text
    assert value not in result.stdout_text
    assert result.stdout_text.splitlines()[-1] == str(len(value))


def test_a_home_that_does_not_exist_is_said_and_the_script_is_not_run(
    engine: Engine, ssh_host: SshHost
) -> None:
    engine.add_environment(ssh_host.spec("db", "homeless"))
    with pytest.raises(HomeDirectoryMissing, match="/home/homeless") as caught:
        engine.run("db", "touch /tmp/it-ran")
    assert caught.value.action


def test_an_account_without_a_shell_is_said(engine: Engine, ssh_host: SshHost) -> None:
    engine.add_environment(ssh_host.spec("db", "nologin"))
    with pytest.raises(ShellUnavailable) as caught:
        engine.run("db", "true")
    assert "nologin" in str(caught.value)
    assert caught.value.action


class TestEnvTest:
    def test_what_sudoers_lack_is_said_for_the_user_with_some(
        self, engine: Engine, ssh_host: SshHost
    ) -> None:
        steps = _test(engine, ssh_host, "engine")
        assert [name for name, step in steps.items() if step.outcome != "ok"] == ["privileges", "NFS client"]
        assert "nfs-common" in steps["NFS client"].action
        assert steps["privileges"].detail == (
            "engine may not run mkdir, rmdir as root by sudo without a password; allowed: mount, umount"
        )
        assert "engine ALL=(root) NOPASSWD: /usr/bin/mkdir, /usr/bin/rmdir" in steps["privileges"].action

    @pytest.mark.parametrize("user", ["plain", "csh", "fish", "noisy", "sleepy"])
    def test_only_sudo_is_missing_for_the_others(self, engine: Engine, ssh_host: SshHost, user: str) -> None:
        steps = _test(engine, ssh_host, user)
        assert [name for name, step in steps.items() if step.outcome != "ok"] == [
            "privileges",
            "NFS client",
        ]
        assert "sudoers" in steps["privileges"].action

    def test_a_missing_home_stops_at_that_step(self, engine: Engine, ssh_host: SshHost) -> None:
        steps = _test(engine, ssh_host, "homeless")
        assert steps["shell"].outcome == "ok"
        assert steps["home"].outcome == "failed"
        assert "/home/homeless" in steps["home"].detail
        assert steps["scratch directory"].outcome == "skipped"

    def test_an_account_without_a_shell_stops_at_that_step(self, engine: Engine, ssh_host: SshHost) -> None:
        steps = _test(engine, ssh_host, "nologin")
        assert steps["login"].outcome == "ok"
        assert steps["shell"].outcome == "failed"
        assert steps["home"].outcome == "skipped"

    def test_a_refused_port_stops_at_that_step(self, engine: Engine, ssh_host: SshHost) -> None:
        engine.add_environment(ssh_host.spec("db", port=1))
        steps = {step.name: step for step in engine.test_environment("db")}
        assert steps["port answers"].outcome == "failed"
        assert steps["login"].outcome == "skipped"


def _test(engine: Engine, host: SshHost, user: str) -> dict[str, TestStep]:
    engine.add_environment(host.spec("db", user))
    seen: list[TestStep] = []
    steps = engine.test_environment("db", on_step=seen.append)
    assert seen == steps
    return {step.name: step for step in steps}
