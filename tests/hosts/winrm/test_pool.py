"""Connections that are shared, and those that nobody uses any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from containers.winrm.responder import Reply
from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.winrm.pool import WinrmPool
from tests.hosts.winrm.windows import Windows


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def rests(host: Windows) -> bool:
    counts = host.host.counts
    return (counts.shells_open, counts.connections_open) == (0, 0)


def test_nothing_is_kept_on_the_host_of_a_connection_that_nobody_uses(every_windows: Windows) -> None:
    pool = WinrmPool(Deadlines(), idle=0.2)
    connection = pool.connection(every_windows.target)
    for turn in (1, 2):
        assert connection.run("'x'", interpreter="powershell").stdout == b"x\r\n"
        until(lambda: rests(every_windows))
        assert every_windows.host.counts.shells == turn
    pool.close()


def test_what_is_in_use_is_kept(host: Windows) -> None:
    host.script("sleep", Reply(stdout="done", delay=0.8))
    pool = WinrmPool(Deadlines(), idle=0.2)
    connection = pool.connection(host.target)
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: connection.run("sleep", interpreter="powershell"), range(2)))
    assert [result.stdout for result in results] == [b"done"] * 2
    assert host.host.counts.shells == 1
    pool.close()
    until(lambda: rests(host))


def test_without_a_limit_it_is_kept_until_the_pool_is_closed(host: Windows) -> None:
    pool = WinrmPool(Deadlines())
    pool.connection(host.target).open()
    assert pool.connection(host.target) is pool.connection(host.target)
    time.sleep(0.3)
    assert host.host.counts.shells_open == 1
    pool.close()
    until(lambda: rests(host))


def test_a_host_that_is_gone_when_its_time_is_over_gets_its_shell_ended_later(host: Windows) -> None:
    pool = WinrmPool(Deadlines(), idle=0.2)
    connection = pool.connection(host.target)
    connection.open()
    host.host.trouble("cut-before", "Delete", times=1)
    until(lambda: host.host.counts.actions.get("Delete", 0) >= 1 or rests(host))
    assert connection.run("'x'", interpreter="powershell").exit_code == 0
    until(lambda: rests(host))
    pool.close()
