"""Many commands at once, and hosts that allow few."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dlpx_remote.transports.base import NotSent, SessionRefused, ShellUnavailable
from dlpx_remote.transports.ssh import SshConnection
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of


def _run_many(connection: SshConnection, count: int, threads: int) -> list[str]:
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(connection.run, "echo $N; echo $N >&2; exit $((N % 7))", variables={"N": str(number)})
            for number in range(count)
        ]
        wrong = []
        for number, job in enumerate(jobs):
            result = job.result()
            expected = f"{number}\n".encode()
            if (result.exit_code, result.stdout, result.stderr) != (number % 7, expected, expected):
                wrong.append(f"{number}: {result}")
        return wrong


def test_many_threads_on_one_connection_each_get_their_own_result(connection: SshConnection) -> None:
    assert _run_many(connection, 60, 16) == []


@pytest.mark.parametrize("sessions", [1, 2, 5])
def test_a_host_that_allows_few_sessions_makes_commands_wait_not_fail(
    sessions: int, start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd(f"MaxSessions {sessions}")))
    assert _run_many(connection, 16, 8) == []


def test_a_host_that_allows_no_session_says_what_to_change(
    start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd("MaxSessions 0")))
    with pytest.raises(SessionRefused, match="refuses every session") as caught:
        connection.run("true")
    assert "MaxSessions" in caught.value.action


def test_waiting_for_a_session_ends_with_the_command_s_deadline(
    start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd("MaxSessions 1")))
    connection.facts()
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(connection.run, "sleep 3")
        while not connection._execution.running:
            time.sleep(0.05)
        with pytest.raises(NotSent, match="No free session"):
            connection.run("true", timeout=1)
        assert long.result().exit_code == 0


@pytest.mark.parametrize(
    ("forced", "said"),
    [
        ("/bin/false", ""),
        ("/bin/echo This account is currently not available.", "This account is currently not available"),
        ("/usr/bin/env -i /bin/sh -c 'exec no-such-shell'", "no-such-shell"),
    ],
)
def test_an_account_that_gives_no_shell_is_explained_with_what_the_host_said(
    forced: str, said: str, start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd(f"ForceCommand {forced}")))
    with pytest.raises(ShellUnavailable, match="gives no bash") as caught:
        connection.run("echo never")
    assert said in caught.value.message
    assert "login shell" in caught.value.action


def test_a_forced_command_that_reads_its_input_does_not_hang(
    start_sshd: Callable[..., Sshd], open_connection: Connect
) -> None:
    connection = open_connection(target_of(start_sshd("ForceCommand cat")))
    with pytest.raises(ShellUnavailable):
        connection.run("echo never")


def test_noise_of_start_up_files_is_no_output(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path_factory: pytest.TempPathFactory
) -> None:
    noisy = tmp_path_factory.mktemp("noise") / "noisy"
    noisy.write_text(
        "#!/bin/sh\nhead -c 300000 /dev/zero\nprintf 'no end of line'\nhead -c 300000 /dev/zero >&2\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    connection = open_connection(target_of(start_sshd(f"ForceCommand {noisy}")))
    result = connection.run("printf out; printf err >&2")
    assert (result.stdout, result.stderr) == (b"out", b"err")
