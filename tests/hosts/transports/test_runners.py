"""One long-lived shell for many commands: nothing of one is seen in the next. Hosts that cannot have it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.transports.base import CommandTimeout, ShellUnavailable
from dlpx_remote.transports.ssh import SshConnection, runner_script
from dlpx_remote.transports.ssh.runners import Kind
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of

_WATCHER = "echo $PPID"


def _program(place: Path, text: str) -> None:
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


def _wrapper(directory: Path, first: str) -> Path:
    """A program that every login runs: it does ``first``, and then what was asked for."""
    wrapper = directory / "wrapper"
    _program(wrapper, f'{first}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
    return wrapper


@pytest.mark.usefixtures("kind")
class TestOneRunner:
    @pytest.fixture
    def connection(self, kind: Kind, sshd: Sshd, open_connection: Connect) -> SshConnection:
        connection = open_connection(target_of(sshd))
        assert connection.run("cat /proc/$PPID/comm").stdout_text == f"{kind}\n"
        return connection

    def test_commands_one_after_another_share_the_watcher_and_nothing_else(
        self, connection: SshConnection
    ) -> None:
        results = [connection.run("echo $PPID; echo $$ >&2") for _ in range(30)]
        assert len({result.stdout for result in results}) == 1
        assert len({result.stderr for result in results}) == 30

    def test_what_a_command_leaves_running_cannot_write_into_the_next(
        self, connection: SshConnection
    ) -> None:
        # In a session of its own, and with nothing open but the streams: what a daemon of Python is like.
        leave = (
            "setsid sh -c 'exec 3>&- 4>&- 9>&-; for i in 1 2 3 4 5 6 7 8; do echo LATE; echo LATE >&2; "
            "sleep 0.1; done' </dev/null & exec 2>&1; sleep 0.05; echo $PPID"
        )
        before = connection.run(leave).stdout.split()[-1]
        began = time.monotonic()
        while time.monotonic() < began + 1:
            result = connection.run(_WATCHER)
            assert result.stderr == b""
            assert result.stdout.strip() != before
            assert b"LATE" not in result.stdout

    def test_a_child_that_is_about_to_end_gives_its_output_and_costs_nothing(
        self, connection: SshConnection
    ) -> None:
        before = connection.run(_WATCHER).stdout
        result = connection.run("exec > >(cat); echo through another process")
        assert result.stdout == b"through another process\n"
        assert connection.run(_WATCHER).stdout == before

    def test_a_child_with_streams_of_its_own_does_not_cost_the_runner(
        self, connection: SshConnection
    ) -> None:
        before = connection.run(_WATCHER).stdout
        process = int(connection.run("sleep 30 </dev/null >/dev/null 2>&1 & echo $!").stdout)
        try:
            assert connection.run(_WATCHER).stdout == before
        finally:
            connection.run(f"kill -{signal.SIGKILL} {process}")

    @pytest.mark.parametrize("before", [0, 1, 2])
    def test_what_start_up_files_say_is_no_output_of_a_login_shell(
        self, before: int, start_sshd: Callable[..., Sshd], open_connection: Connect
    ) -> None:
        server = start_sshd()
        (server.home / ".bash_profile").write_text("echo welcome; echo welcome >&2\n")
        connection = open_connection(target_of(server))
        for _ in range(before):
            connection.run("true")
        result = connection.run("echo out; echo err >&2", login_shell=True)
        assert (result.stdout, result.stderr) == (b"out\n", b"err\n")

    def test_the_second_command_s_processes_are_known_and_ended_too(self, connection: SshConnection) -> None:
        with pytest.raises(CommandTimeout) as caught:  # no shell had been started for it beforehand
            connection.run("sleep 300 & echo $$; wait", timeout=0.5)
        assert caught.value.killed
        assert caught.value.stdout.strip().isdigit()

    def test_children_that_go_on_are_not_left_behind_as_zombies(self, connection: SshConnection) -> None:
        child = int(connection.run("sleep 0.2 </dev/null >/dev/null 2>&1 & echo $!").stdout)
        until = time.monotonic() + 20
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < until
            time.sleep(0.02)

    def test_a_start_up_file_of_every_bash_is_no_output(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        noisy = tmp_path / "it's noisy"
        noisy.write_text("echo noise; echo noise >&2\n")
        wrapper = _wrapper(tmp_path, f'export BASH_ENV="{noisy}"')
        connection = open_connection(target_of(start_sshd(f"ForceCommand {wrapper}")))
        for _ in range(3):
            result = connection.run('echo "$BASH_ENV"')
            assert (result.stdout_text, result.stderr) == (f"{noisy}\n", b"")
        assert connection.run("bash -c 'echo its own'").stdout == b"noise\nits own\n"

    def test_the_account_s_own_locale_is_what_a_login_shell_starts_with(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        account = "export LC_ALL=POSIX LC_TIME=C LANG=POSIX"
        server = start_sshd(f"ForceCommand {_wrapper(tmp_path, account)}")
        (server.home / ".bash_profile").write_text("export SEEN=${LC_ALL-none}\n")
        connection = open_connection(target_of(server))
        script = "echo $SEEN; env | grep -E '^(LC_|LANG)'"
        assert connection.run(script, login_shell=True).stdout == b"POSIX\nLC_CTYPE=C.UTF-8\n"
        assert connection.run(script).stdout == b"\nLC_CTYPE=C.UTF-8\n"


class TestPerl:
    def test_a_spare_that_was_killed_is_replaced(self, sshd: Sshd, open_connection: Connect) -> None:
        connection = open_connection(target_of(sshd))
        connection.run(":")
        spare = "for p in $(cat /proc/$PPID/task/$PPID/children); do [ $p = $$ ] || echo $p; done"
        for process in connection.run(spare).stdout.split():
            os.kill(int(process), signal.SIGKILL)
        time.sleep(0.05)
        assert connection.run("echo here").stdout == b"here\n"


class TestHostsWithoutOne:
    @pytest.fixture
    def with_tools(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> Callable[[str], SshConnection]:
        def opening(tools: str) -> SshConnection:
            place = tmp_path / "tools"
            place.mkdir()
            for tool in tools.split():
                (place / tool).symlink_to(shutil.which(tool) or tool)
            wrapper = _wrapper(tmp_path, f"PATH={place}")
            return open_connection(target_of(start_sshd(f"ForceCommand {wrapper}")))

        return opening

    def test_without_perl_a_bash_is_the_runner(self, with_tools: Callable[[str], SshConnection]) -> None:
        connection = with_tools("bash cat setsid")
        assert connection.run("cat /proc/$PPID/comm; exit 3").stdout == b"bash\n"
        assert connection.facts().no_runner is None

    @pytest.mark.parametrize(
        "says", ["syntax error at - line 7, near ...", "perl: warning: ...", "exec: perl: not found"]
    )
    def test_with_a_perl_that_cannot_be_one_a_bash_is_the_runner(
        self, says: str, with_tools: Callable[[str], SshConnection], tmp_path: Path
    ) -> None:
        connection = with_tools("bash cat setsid")
        _program(tmp_path / "tools" / "perl", f"echo '{says}' >&2; exit 9")
        assert connection.run("cat /proc/$PPID/comm").stdout == b"bash\n"

    def test_a_perl_that_finds_no_bash_says_so(self, with_tools: Callable[[str], SshConnection]) -> None:
        connection = with_tools("perl")
        with pytest.raises(ShellUnavailable, match="gives no bash"):
            connection.run("echo never")
        assert connection._execution._no_runner == "bash is missing"

    def test_a_bash_that_says_that_it_is_too_old_is_not_given_the_script(
        self, with_tools: Callable[[str], SshConnection], tmp_path: Path
    ) -> None:
        connection = with_tools("perl cat setsid uname id")
        bash = shutil.which("bash")
        old = f'case $* in *BASH_VERSINFO*) kill -USR1 $PPID;; *) exec {bash} "$@";; esac'
        _program(tmp_path / "tools" / "bash", old)
        assert connection.run("echo one; exit 3").exit_code == 3
        assert connection.facts().no_runner == "bash is older than 4.1"

    def test_without_perl_and_with_an_old_bash_each_command_has_a_channel_and_the_facts_say_why(
        self, with_tools: Callable[[str], SshConnection], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # No bash says that it is another one: the oldest that will do is put up instead.
        newer = runner_script.PROGRAM.replace(b">= 501", b">= 901")
        assert newer != runner_script.PROGRAM
        monkeypatch.setattr(runner_script, "PROGRAM", newer)
        connection = with_tools("bash cat setsid uname id sleep")
        assert connection.run("echo one; exit 3").exit_code == 3
        assert re.fullmatch(r"bash [5-8]\.\S+ is older than 5\.1", connection.facts().no_runner or "")
        assert connection.run("echo $VALUE; echo err >&2", variables={"VALUE": "é"}).stdout_text == "é\n"
        assert connection.run("echo in", login_shell=True).stdout == b"in\n"
        with pytest.raises(CommandTimeout) as caught:
            connection.run("sleep 300 & wait", timeout=1)
        assert caught.value.killed

    def test_without_setsid_each_command_has_a_channel_and_the_facts_say_why(
        self, with_tools: Callable[[str], SshConnection]
    ) -> None:
        connection = with_tools("bash cat uname id")
        assert connection.run("echo one; exit 3").exit_code == 3
        assert connection.facts().no_runner == "the program setsid is missing"
        assert connection.run("echo $VALUE", variables={"VALUE": "é"}).stdout_text == "é\n"
