"""A command or copy is ended from another thread: what ran on the host is gone, and the error says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import CommandAborted, NotSent, SyncFailed
from dlpx_remote.transports.ssh import SshConnection
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of
from tests.hosts.transports.test_ending import _gone


@contextmanager
def asked_when(abort: Abort, ready: Callable[[], bool]) -> Iterator[None]:
    """Ask for the end as soon as something is so, from another thread."""

    def ask() -> None:
        while not ready():
            time.sleep(0.02)
        abort.ask()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield
    thread.join(30)


def test_a_command_ends_with_all_that_it_started(connection: SshConnection, tmp_path: Path) -> None:
    up, abort = tmp_path / "up", Abort()
    with asked_when(abort, up.exists), pytest.raises(CommandAborted) as caught:
        connection.run(f"sleep 300 & echo $!; echo $$; touch {up}; wait", abort=abort)
    error = caught.value
    assert error.killed
    assert "was cancelled; it was ended there" in error.message
    processes = [int(line) for line in error.stdout.split()]
    assert len(processes) == 2
    assert all(_gone(process) for process in processes)
    assert connection.run("echo ok").stdout == b"ok\n"


def test_what_is_aborted_before_it_begins_does_not_run(connection: SshConnection, tmp_path: Path) -> None:
    mark, abort = tmp_path / "mark", Abort()
    abort.ask()
    with pytest.raises((CommandAborted, NotSent)):
        connection.run(f"sleep 1; touch {mark}", abort=abort)
    time.sleep(1.5)
    assert not mark.exists()


def test_one_that_waits_for_a_session_is_not_sent(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    connection = open_connection(target_of(start_sshd("MaxSessions 1")))
    up, end = tmp_path / "up", Abort()

    def hold() -> None:
        with pytest.raises(CommandAborted):
            connection.run(f"touch {up}; sleep 300", abort=end)

    holder = threading.Thread(target=hold)
    holder.start()
    while not up.exists():
        time.sleep(0.02)
    abort = Abort()
    threading.Timer(0.5, abort.ask).start()
    with pytest.raises(NotSent):
        connection.run("echo never", abort=abort)
    end.ask()
    holder.join(30)
    assert not holder.is_alive()


def test_a_copy_ends_and_says_so(connection: SshConnection, tmp_path: Path) -> None:
    source, copy, abort = tmp_path / "source", tmp_path / "copy", Abort()
    source.mkdir()
    copy.mkdir()
    with (source / "large").open("wb") as file:
        file.truncate(1 << 40)  # for rsync it is a terabyte of zeros
    began = asked_when(abort, lambda: any(copy.iterdir()))
    with began, pytest.raises(SyncFailed, match="it was cancelled"):
        connection.sync(str(source), copy, abort=abort)
    assert connection.run(f"pgrep -f '[r]sync.*{source}' || true").stdout == b""
    assert [path.name for path in copy.iterdir() if not path.name.startswith(".")] == []
