"""One long-lived shell for many commands: nothing of one is seen in the next. Hosts that cannot have it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.transports.ssh import SshConnection
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of

_WATCHER = "echo $PPID"


def _wrapper(directory: Path, first: str) -> Path:
    """A program that every login runs: it does ``first``, and then what was asked for."""
    wrapper = directory / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{first}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    wrapper.chmod(0o755)
    return wrapper


class TestOneRunner:
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
        result = connection.run("exec > >(sleep 0.02; cat); echo through another process")
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

    def test_a_start_up_file_of_every_bash_is_no_output(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        noisy = tmp_path / "noisy"
        noisy.write_text("echo noise; echo noise >&2\n")
        wrapper = _wrapper(tmp_path, f"export BASH_ENV={noisy}")
        connection = open_connection(target_of(start_sshd(f"ForceCommand {wrapper}")))
        for _ in range(3):
            result = connection.run("echo $BASH_ENV")
            assert (result.stdout_text, result.stderr) == (f"{noisy}\n", b"")
        assert connection.run("bash -c 'echo its own'").stdout == b"noise\nits own\n"

    def test_the_account_s_own_locale_is_what_a_login_shell_starts_with(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        server = start_sshd(f"ForceCommand {_wrapper(tmp_path, 'export LC_ALL=POSIX')}")
        (server.home / ".bash_profile").write_text("export SEEN=${LC_ALL-none}\n")
        connection = open_connection(target_of(server))
        assert connection.run("echo $SEEN $LC_ALL", login_shell=True).stdout == b"POSIX C.UTF-8\n"


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

    def test_without_setsid_each_command_has_a_channel_and_the_facts_say_why(
        self, with_tools: Callable[[str], SshConnection]
    ) -> None:
        connection = with_tools("bash cat uname id")
        assert connection.run("echo one; exit 3").exit_code == 3
        assert connection.facts().no_runner == "the program setsid is missing"
        assert connection.run("echo $VALUE", variables={"VALUE": "é"}).stdout_text == "é\n"
