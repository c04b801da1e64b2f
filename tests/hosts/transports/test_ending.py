"""Time-outs, too much output, closing: what ran on the host is gone, and the error says what is known."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.transports.base import (
    CommandEnded,
    CommandTimeout,
    Deadlines,
    HostKeyUnknown,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    OutputTooLarge,
    StreamName,
)
from dlpx_remote.transports.ssh import SshConnection, connect, execution
from tests.hosts.faults.proxy import Proxy
from tests.hosts.sshd import Sshd
from tests.hosts.transports import network
from tests.hosts.transports.conftest import Connect, target_of


def _gone(process: int, seconds: float = 20) -> bool:
    """Whether the process ends (or is a zombie) in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


class TestTimeOuts:
    def test_the_whole_process_group_ends_and_partial_output_is_kept(self, connection: SshConnection) -> None:
        with pytest.raises(CommandTimeout) as caught:
            connection.run(
                "sleep 300 & echo $!; echo err >&2; sleep 300 & echo $!; echo $$; wait", timeout=1.5
            )
        error = caught.value
        assert error.killed
        assert error.stderr == b"err\n"
        processes = [int(line) for line in error.stdout.split()]
        assert len(processes) == 3
        assert all(_gone(process) for process in processes)
        assert "within 1.5 s" in error.message
        assert "it was ended there" in error.message
        assert not isinstance(error, OutputTooLarge)

    def test_a_script_may_tidy_up_before_it_ends(self, connection: SshConnection, tmp_path: Path) -> None:
        mark = tmp_path / "tidied"
        with pytest.raises(CommandTimeout) as caught:
            connection.run(f"trap 'echo x > {mark}; exit' TERM; echo up; sleep 300 & wait", timeout=1.5)
        assert caught.value.killed
        assert mark.exists()

    def test_a_script_that_ignores_the_request_ends_nevertheless(self, connection: SshConnection) -> None:
        with pytest.raises(CommandTimeout) as caught:
            connection.run("trap '' TERM HUP INT; echo $$; while :; do sleep 1; done", timeout=1.5)
        assert caught.value.killed
        assert _gone(int(caught.value.stdout))

    def test_a_stopped_script_ends_too(self, connection: SshConnection) -> None:
        with pytest.raises(CommandTimeout) as caught:
            connection.run("echo $$; kill -STOP $$", timeout=1.5)
        assert caught.value.killed
        assert _gone(int(caught.value.stdout))

    def test_a_child_that_left_the_process_group_but_not_the_session_ends_too(
        self, connection: SshConnection
    ) -> None:
        with pytest.raises(CommandTimeout) as caught:
            connection.run("set -m; sleep 300 & echo $!; wait", timeout=1.5)
        assert caught.value.killed
        assert _gone(int(caught.value.stdout))

    def test_silence_beyond_the_idle_time_out_ends_it(self, sshd: Sshd, open_connection: Connect) -> None:
        connection = open_connection(target_of(sshd), deadlines=Deadlines(idle=1.5))
        assert connection.run("for i in 1 2 3 4; do echo $i; sleep 0.5; done").exit_code == 0
        with pytest.raises(CommandTimeout, match=r"wrote nothing for 1\.5 s") as caught:
            connection.run("echo $$; sleep 300")
        assert caught.value.killed

    def test_the_connection_s_total_time_out_holds_where_the_caller_names_none(
        self, sshd: Sshd, open_connection: Connect
    ) -> None:
        connection = open_connection(target_of(sshd), deadlines=Deadlines(total=1.5))
        with pytest.raises(CommandTimeout):
            connection.run("sleep 300")
        assert connection.run("sleep 2; echo ok", timeout=30).stdout == b"ok\n"

    def test_the_next_command_works(self, connection: SshConnection) -> None:
        with pytest.raises(CommandTimeout):
            connection.run("sleep 300", timeout=1)
        assert connection.run("echo ok").stdout == b"ok\n"

    def test_a_command_ends_even_when_the_host_allows_no_second_session(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect
    ) -> None:
        connection = open_connection(target_of(start_sshd("MaxSessions 1")))
        with pytest.raises(CommandTimeout) as caught:
            connection.run("echo $$; sleep 300", timeout=1.5)
        assert caught.value.killed
        assert _gone(int(caught.value.stdout))

    def test_a_start_up_that_takes_longer_runs_nothing_afterwards(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
    ) -> None:
        slow = tmp_path / "slow"
        gate = tmp_path / "gate"
        slow.write_text(f'#!/bin/sh\n[ -e {gate} ] && sleep 2\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
        slow.chmod(0o755)
        connection = open_connection(target_of(start_sshd(f"ForceCommand {slow}")))
        connection.facts()
        ran = tmp_path / "ran"
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(connection.run, "sleep 2")  # on the channel that has started up
            while not connection._execution.running:
                time.sleep(0.01)
            gate.touch()
            with pytest.raises(CommandTimeout) as caught:
                connection.run(f"echo x > {ran}", timeout=1)
            assert other.result().exit_code == 0
        assert not caught.value.killed
        assert "not confirmed" in caught.value.message
        time.sleep(2)
        assert not ran.exists()

    def test_an_account_that_starts_up_slower_than_a_runner_may_has_a_channel_for_each_command(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(execution, "RUNNER_START", 0.5)
        slow = tmp_path / "slow"
        slow.write_text('#!/bin/sh\nsleep 1.5\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
        slow.chmod(0o755)
        connection = open_connection(target_of(start_sshd(f"ForceCommand {slow}")))
        ran = tmp_path / "ran"
        connection.run(f"echo x >> {ran}")
        connection.run(f"echo x >> {ran}")
        assert connection.facts().no_runner == "the login shell does not start it"
        assert ran.read_text() == "x\nx\n"


class TestTooMuchOutput:
    def test_it_ends_the_command_and_is_no_time_out(self, connection: SshConnection) -> None:
        with pytest.raises(OutputTooLarge) as caught:
            connection.run("echo $$; yes", max_output=1_000_000)
        error = caught.value
        assert isinstance(error, CommandEnded)
        assert not isinstance(error, CommandTimeout)
        assert error.killed
        assert len(error.stdout) >= 1_000_000
        assert _gone(int(error.stdout.split()[0]))
        assert "more than 1000000 bytes" in error.message

    def test_both_streams_count_together(self, connection: SshConnection) -> None:
        with pytest.raises(OutputTooLarge):
            connection.run("head -c 600 /dev/zero; head -c 600 /dev/zero >&2; sleep 300", max_output=1000)
        assert len(connection.run("head -c 1000 /dev/zero", max_output=1000).stdout) == 1000


class TestGivingUp:
    def test_a_callback_that_fails_ends_the_command(self, connection: SshConnection) -> None:
        seen: list[bytes] = []

        def fail(_stream: StreamName, data: bytes) -> None:
            seen.append(data)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            connection.run("echo $$; sleep 300", on_output=fail)
        assert _gone(int(seen[0]))

    def test_closing_ends_what_runs_and_leaves_no_thread(self, sshd: Sshd) -> None:
        before = threading.active_count()
        connection = connect(target_of(sshd))
        started = threading.Event()
        output: list[bytes] = []
        errors: list[Exception] = []

        def take(_stream: StreamName, data: bytes) -> None:
            output.append(data)
            started.set()

        def run() -> None:
            try:
                connection.run("echo $$; sleep 300", on_output=take)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert started.wait(30)
        connection.close()
        thread.join(30)
        assert _gone(int(output[0]))
        assert isinstance(errors[0], CommandEnded | OutcomeUnknown)
        assert threading.active_count() == before
        connection.close()

    def test_closing_ends_what_has_only_just_begun(self, sshd: Sshd, tmp_path: Path) -> None:
        began = tmp_path / "began"
        errors: list[Exception] = []

        def run() -> None:
            try:
                connection.run(f"echo $$ > {began}.new; mv {began}.new {began}; sleep 300")
            except Exception as error:
                errors.append(error)

        with Proxy("127.0.0.1", sshd.port) as way:
            connection = connect(target_of(sshd, port=way.port, fingerprint=_any_key(sshd, way.port)))
            connection.run("sleep 1 &")  # it holds the output, so that the next command gets a new runner
            way.delay = 0.4  # for the first word of which the command does not wait
            thread = threading.Thread(target=run)
            thread.start()
            while not began.exists():
                time.sleep(0.005)
            connection.close()
            thread.join(30)
        assert _gone(int(began.read_text()))
        assert isinstance(errors[0], CommandEnded | OutcomeUnknown)

    def test_after_closing_nothing_is_sent_any_more(self, sshd: Sshd) -> None:
        connection = connect(target_of(sshd))
        connection.facts()
        connection.close()
        assert not connection.is_open
        with pytest.raises(NotSent, match="closed or was lost") as caught:
            connection.run("true")
        assert "Connect again" in caught.value.action


@pytest.mark.usefixtures("nothing_is_left_of_runners")
class TestLostConnections:
    @pytest.mark.usefixtures("kind")
    def test_a_command_that_went_on_is_waited_for_and_its_exit_code_told(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        runs = tmp_path / "runs"
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))
            with pytest.raises(OutputLost, match="ended with exit code 7") as caught:
                connection.run(
                    f"echo x >> {runs}; echo started; sleep 0.5; exit 7", on_output=lambda *_: path.cut()
                )
            assert (caught.value.exit_code, caught.value.stdout) == (7, b"started\n")
            assert caught.value.action
            assert runs.read_text() == "x\n"
            with pytest.raises(NotSent):
                connection.run("true")

    def test_a_command_that_finished_unheard_is_told_as_such(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        done = tmp_path / "done"
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))

            def stall(_stream: StreamName, _data: bytes) -> None:
                path.stall()
                _wait_for(done)
                path.cut()

            with pytest.raises(OutputLost) as caught:
                connection.run(f"echo started; sleep 0.5; echo x > {done}", on_output=stall)
            assert caught.value.exit_code == 0

    @pytest.mark.usefixtures("kind")
    def test_a_script_that_did_not_arrive_whole_is_told_not_to_have_run(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))
            connection.facts()
            path.stall()
            threading.Timer(0.3, path.cut).start()
            with pytest.raises(NotSent):
                connection.run(f"echo x > {ran}\n")
        assert not ran.exists()

    def test_a_command_that_goes_on_beyond_its_time_is_ended_on_a_new_connection(
        self, sshd: Sshd, open_connection: Connect
    ) -> None:
        process: list[int] = []
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))

            def cut(_stream: StreamName, data: bytes) -> None:
                process.append(int(data))
                path.cut()

            with pytest.raises(CommandTimeout) as caught:
                connection.run("echo $$; sleep 300", on_output=cut, timeout=2)
            assert caught.value.killed
        assert not Path(f"/proc/{process[0]}").exists()

    def test_while_the_host_is_away_the_outcome_stays_unknown(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect
    ) -> None:
        server = start_sshd()
        connection = open_connection(target_of(server), deadlines=Deadlines(settle=1))
        with pytest.raises(OutcomeUnknown) as caught:
            connection.run("echo up; sleep 1", on_output=lambda _stream, _data: server.stop())
        assert "may have run" in caught.value.message
        assert caught.value.action
        time.sleep(
            2
        )  # until the script has ended, and its runner has left word in a place that is still there

    @pytest.mark.usefixtures("kind")
    def test_the_next_runner_takes_away_what_a_lost_one_left_that_had_nothing_to_tell(
        self, sshd: Sshd, open_connection: Connect
    ) -> None:
        with network.proxy(sshd.port) as (path, port):
            target = target_of(sshd, port=port, fingerprint=_any_key(sshd, port))
            connection = open_connection(target)
            connection.run("true")
            path.cut()
            _until(lambda: _files_of_runners(sshd))
            connection.close()
            with connect(target) as other:
                other.run("true")
                assert not _files_of_runners(sshd)

    def test_a_stalled_connection_ends_with_the_command_s_deadline(
        self, sshd: Sshd, open_connection: Connect
    ) -> None:
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))
            connection.facts()
            process: list[int] = []

            def stall(_stream: StreamName, data: bytes) -> None:
                process.append(int(data))
                path.stall()

            with pytest.raises(CommandTimeout) as caught:
                connection.run("echo $$; sleep 300", on_output=stall, timeout=1)
            assert not caught.value.killed
            assert "not confirmed" in caught.value.message
            path.cut()
        _end(process[0])

    def test_a_large_script_cannot_block_on_a_stalled_connection(
        self, sshd: Sshd, open_connection: Connect
    ) -> None:
        with network.proxy(sshd.port) as (path, port):
            connection = open_connection(target_of(sshd, port=port, fingerprint=_any_key(sshd, port)))
            connection.facts()
            path.stall()
            with pytest.raises((CommandTimeout, NotSent)):
                connection.run("# filler\n" * 1_000_000, timeout=1)
            path.cut()

    def test_a_watcher_that_is_killed_on_the_host_leaves_the_outcome_unknown(
        self, connection: SshConnection
    ) -> None:
        with pytest.raises(OutcomeUnknown, match="was ended there"):
            connection.run("kill -KILL $PPID")
        assert connection.run("echo ok").stdout == b"ok\n"


def _any_key(server: Sshd, port: int) -> str:
    """The fingerprint that a client who knows nothing sees through the proxy."""
    with pytest.raises(HostKeyUnknown) as caught:
        connect(target_of(server, port=port, known_hosts=server.directory / "none"))
    return caught.value.fingerprint


def _files_of_runners(server: Sshd) -> list[Path]:
    return list(server.temporary.glob(".dlpx-remote.*"))


@pytest.fixture
def nothing_is_left_of_runners(sshd: Sshd) -> Iterator[None]:
    yield

    def taken_away() -> bool:
        with connect(target_of(sshd)) as later:  # what nobody asked for goes with the next runner
            later.run("true")
        return not _files_of_runners(sshd)

    _until(taken_away)


def _until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def _wait_for(file: Path) -> None:
    until = time.monotonic() + 20
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)


def _end(process: int) -> None:
    os.killpg(process, 9)
