"""The pool on real servers: jump hosts shared, idle connections closed, lost ones replaced, nothing left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlpx_remote.transports.base import AuthenticationFailed, CommandEnded
from dlpx_remote.transports.ssh import SshTarget
from dlpx_remote.transports.ssh.pool import Pool
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import target_of
from tests.hosts.transports.password_server import Account, password_server
from tests.secret_scan import secret

Start = Callable[..., Sshd]


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


def _logins(server: Sshd) -> int:
    return server.log.read_text().count("Accepted publickey")


def _sessions(*servers: Sshd) -> list[int]:
    return [process for server in servers for process in server.sessions()]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    _until(lambda: set(threading.enumerate()) <= before)


def _behind(gate: Sshd, server: Sshd, known: Path) -> SshTarget:
    gate.authorize(server.user_key)
    known.write_text(gate.known_hosts.read_text() + server.known_hosts.read_text())
    return target_of(server, jump=(f"{gate.user}@{gate.address}:{gate.port}",), known_hosts=known)


def test_many_hosts_behind_one_jump_host_need_one_login_there(start_sshd: Start, tmp_path: Path) -> None:
    gate, *servers = (start_sshd() for _ in range(4))
    known = tmp_path / "known"
    known.write_text("".join(server.known_hosts.read_text() for server in (gate, *servers)))
    for server in (gate, *servers):
        server.authorize(gate.user_key)
    jump = (f"{gate.user}@{gate.address}:{gate.port}",)
    targets = [target_of(server, jump=jump, known_hosts=known, key=str(gate.user_key)) for server in servers]
    with Pool() as pool, ThreadPoolExecutor(12) as threads:
        jobs = [
            threads.submit(pool.connection(target).run, f"echo {number}; echo $SSH_CONNECTION")
            for number in range(4)
            for target in targets
        ]
        for job in jobs:
            assert job.result().exit_code == 0
        assert [_logins(server) for server in (gate, *servers)] == [1, 1, 1, 1]
        assert f"{gate.user}@{gate.address}:{gate.port} jump host of 3" in repr(pool)
        pool.discard([pool.connection(targets[0])])
        assert "jump host of 2" in repr(pool)
        assert pool.connection(targets[1]).run("true").exit_code == 0
    _until(lambda: not _sessions(gate, *servers))


def test_a_host_behind_a_lost_jump_host_is_reached_again(start_sshd: Start, tmp_path: Path) -> None:
    gate, server = start_sshd(), start_sshd()
    with Pool() as pool:
        connection = pool.connection(_behind(gate, server, tmp_path / "known"))
        assert connection.run("echo one").stdout == b"one\n"
        for process in _sessions(gate):
            os.kill(process, signal.SIGKILL)
        _until(lambda: not connection.is_open)
        assert connection.run("echo two").stdout == b"two\n"
    assert (_logins(gate), _logins(server)) == (2, 2)
    _until(lambda: not _sessions(gate, server))


def test_a_connection_is_replaced_whose_server_was_restarted(start_sshd: Start) -> None:
    server = start_sshd()
    with Pool() as pool:
        connection = pool.connection(target_of(server))
        assert connection.facts().user == server.user
        server.stop()
        server.start()
        # At once, without waiting for the loss to be noticed: what is not sent may be sent again.
        assert connection.run("echo again").stdout == b"again\n"


def test_what_is_not_used_is_closed_on_both_sides_and_opened_again_when_needed(
    start_sshd: Start, tmp_path: Path
) -> None:
    gate, server = start_sshd(), start_sshd()
    with Pool(idle=0.5) as pool:
        connection = pool.connection(_behind(gate, server, tmp_path / "known"))
        assert connection.run("sleep 1; echo done").stdout == b"done\n"  # a command is use
        _until(lambda: repr(pool) == "<Pool: nothing open>")
        _until(lambda: not _sessions(gate, server))
        assert connection.run("echo again").stdout == b"again\n"
    assert (_logins(gate), _logins(server)) == (2, 2)


def test_closing_ends_what_runs_and_leaves_nothing_on_the_host(start_sshd: Start, tmp_path: Path) -> None:
    gate, server = start_sshd(), start_sshd()
    started = tmp_path / "started"
    with Pool() as pool, ThreadPoolExecutor(2) as threads:
        connection = pool.connection(_behind(gate, server, tmp_path / "known"))
        job = threads.submit(connection.run, f"touch {started}; sleep 1000")
        _until(started.exists)
        pool.close()
        with pytest.raises(CommandEnded, match="connection was closed"):
            job.result(10)
    _until(lambda: not _sessions(gate, server))


def test_a_refused_password_is_sent_once_however_many_want_to_log_in(tmp_path: Path) -> None:
    account, wrong = Account(secret("password")), secret("wrong password")
    config = tmp_path / "config"
    config.touch()
    with password_server(account) as port, Pool() as pool, ThreadPoolExecutor(8) as threads:
        target = SshTarget(
            "127.0.0.1",
            "anna",
            port,
            password=lambda: wrong,
            host_key_policy="off",
            ssh_config=config,
            default_keys=False,
        )
        jobs = [threads.submit(pool.connection(target).run, "true") for _ in range(16)]
        for job in jobs:
            with pytest.raises(AuthenticationFailed):
                job.result()
        assert repr(pool) == f"<Pool: anna@127.0.0.1:{port} refused>"
    assert account.attempts == [("password", wrong)]
