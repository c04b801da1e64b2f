"""The server itself fails, restarts, or allows next to nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlpx_remote.transports.base import (
    CommandTimeout,
    ConnectFailed,
    ConnectionRefused,
    Deadlines,
    HandshakeFailed,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.ssh import SshConnection, TraceEvent, connect
from tests.hosts.faults.conftest import Reach, ServerFactory
from tests.hosts.faults.leftovers import session_processes, wait_until_empty
from tests.hosts.sshd import Sshd

DEADLINE = 30.0


def _wait_for(file: Path, text: str) -> None:
    until = time.monotonic() + DEADLINE
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < until, f"{file.name} never said {text!r}"
        time.sleep(0.02)


def _children(process: int) -> list[int]:
    done = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def _kill_sessions(server: Sshd) -> None:
    sessions = _children(server.pid)
    for session in sessions:
        for process in [*_children(session), session]:
            if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"sshd:"):
                os.kill(process, signal.SIGKILL)
    assert sessions


class _Background:
    """A command that runs while the test does something to the server."""

    def __init__(self, connection: SshConnection, script: str) -> None:
        self.error: TransportError | None = None
        self.stdout: bytes | None = None
        self._connection = connection
        self._thread = threading.Thread(target=self._run, args=[script])
        self._thread.start()

    def _run(self, script: str) -> None:
        try:
            self.stdout = self._connection.run(script, timeout=DEADLINE).stdout
        except TransportError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(2 * DEADLINE)
        assert not self._thread.is_alive()


def test_what_became_of_a_command_whose_session_is_killed_is_asked_for_on_another(
    server_with: ServerFactory, reach: Reach, tmp_path: Path
) -> None:
    server = server_with()
    witness = tmp_path / "witness"
    with connect(reach(server)) as connection:
        command = _Background(connection, f"echo begin >>{witness}; sleep 2; echo end >>{witness}")
        _wait_for(witness, "begin")
        _kill_sessions(server)
        command.join()
        assert isinstance(command.error, OutputLost)
        assert command.error.exit_code == 0
        with pytest.raises(NotSent):
            connection.run("true")
    with connect(reach(server)) as connection:
        assert connection.run(f"cat {witness}").stdout == b"begin\nend\n"


def test_a_session_that_is_killed_under_a_transfer_leaves_the_old_file_and_nothing_beside_it(
    server_with: ServerFactory, reach: Reach, tmp_path: Path
) -> None:
    server = server_with()
    place = tmp_path / "place"
    place.mkdir()
    (place / "there").write_bytes(b"old")
    (tmp_path / "source").write_bytes(bytes(1 << 26))
    with connect(reach(server)) as connection, ThreadPoolExecutor(1) as pool:
        copying = pool.submit(connection.put, tmp_path / "source", str(place / "there"))
        until = time.monotonic() + DEADLINE
        while len(list(place.iterdir())) == 1:
            assert time.monotonic() < until
        _kill_sessions(server)
        with pytest.raises(TransferFailed, match="the connection was lost"):
            copying.result(DEADLINE)
    wait_until_empty(lambda: session_processes(server))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"there": b"old"}


def test_a_listener_that_is_killed_ends_no_command_and_refuses_the_next_connection(
    server_with: ServerFactory, reach: Reach, tmp_path: Path
) -> None:
    server = server_with()
    witness = tmp_path / "witness"
    release = tmp_path / "release"
    with connect(reach(server)) as connection:
        command = _Background(
            connection, f"echo begin >>{witness}; until [ -e {release} ]; do sleep 0.1; done; echo end"
        )
        _wait_for(witness, "begin")
        _end_listener(server)
        with pytest.raises(ConnectionRefused, match="Check the port, and that the SSH server runs"):
            connect(reach(server))
        server.start()
        with connect(reach(server)) as another:
            another.run(f"touch {release}")
        command.join()
        assert command.stdout == b"end\n"
        assert connection.run("echo still there").stdout == b"still there\n"


def _end_listener(server: Sshd) -> None:
    assert server._process is not None
    server._process.kill()
    server._process.wait()


def test_a_server_that_restarts_is_reached_again(server_with: ServerFactory, reach: Reach) -> None:
    server = server_with()
    with connect(reach(server)) as connection:
        assert connection.run("echo before").stdout == b"before\n"
        server.stop()
        with pytest.raises((NotSent, OutcomeUnknown)):
            connection.run("echo meanwhile")
        server.start()
        with connect(reach(server)) as another:
            assert another.run("echo after").stdout == b"after\n"


class TestOneSession:
    """``MaxSessions 1``."""

    def test_many_commands_at_once_all_succeed(self, server_with: ServerFactory, reach: Reach) -> None:
        server = server_with("MaxSessions 1")
        with connect(reach(server)) as connection, ThreadPoolExecutor(8) as pool:
            results = pool.map(lambda number: connection.run(f"sleep 0.05; echo {number}").stdout, range(24))
            assert list(results) == [b"%d\n" % number for number in range(24)]

    def test_files_are_copied_between_commands(
        self, server_with: ServerFactory, reach: Reach, tmp_path: Path
    ) -> None:
        server = server_with("MaxSessions 1")
        (tmp_path / "source").write_bytes(b"content")
        with connect(reach(server)) as connection:
            assert connection.run("echo before").stdout == b"before\n"
            connection.put(tmp_path / "source", str(tmp_path / "there"))
            assert connection.run(f"cat {tmp_path / 'there'}").stdout == b"content"
            connection.get(str(tmp_path / "there"), tmp_path / "here")
            assert connection.run("echo after").stdout == b"after\n"
        assert (tmp_path / "here").read_bytes() == b"content"

    def test_a_command_without_end_is_ended(self, server_with: ServerFactory, reach: Reach) -> None:
        server = server_with("MaxSessions 1")
        with connect(reach(server)) as connection:
            with pytest.raises(CommandTimeout) as caught:
                connection.run("echo begin; sleep 1000", timeout=2)
            assert caught.value.killed
            assert caught.value.stdout == b"begin\n"
            assert connection.run("echo next").stdout == b"next\n"


def test_where_one_login_at_once_is_allowed_many_connect_or_are_told_why(
    server_with: ServerFactory, reach: Reach
) -> None:
    server = server_with("MaxStartups 1")
    said: list[str] = []

    def try_it(_: int) -> None:
        try:
            with connect(reach(server), deadlines=Deadlines(connect=DEADLINE)) as connection:
                said.append(connection.run("echo in").stdout_text)
        except ConnectFailed as error:
            said.append(str(error))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(try_it, range(32)))
    assert "in\n" in said
    assert all(text == "in\n" or "MaxStartups" in text for text in said)
    with connect(reach(server)) as connection:
        assert connection.run("echo later").stdout == b"later\n"


def _the_only_place(server: Sshd) -> socket.socket:
    """A connection that the server let in and that never logs in."""
    while True:
        place = socket.create_connection((server.address, server.port))
        if place.recv(4) == b"SSH-":
            return place
        place.close()  # the server still counts the connection before
        time.sleep(0.05)


def test_a_busy_server_is_tried_again_until_it_has_room(server_with: ServerFactory, reach: Reach) -> None:
    server = server_with("MaxStartups 1")
    events: list[TraceEvent] = []
    with _the_only_place(server) as first:

        def make_room(event: TraceEvent) -> None:
            events.append(event)
            if sum(event.state == "failed" for event in events) == 3:
                first.close()

        with connect(reach(server), deadlines=Deadlines(connect=DEADLINE), trace=make_room) as connection:
            assert connection.run("echo in").stdout == b"in\n"
    assert {event.stage for event in events if event.state == "failed"} == {"handshake"}


def test_a_server_that_stays_busy_is_given_up_at_the_connect_deadline(
    server_with: ServerFactory, reach: Reach
) -> None:
    server = server_with("MaxStartups 1")
    with _the_only_place(server), pytest.raises(HandshakeFailed) as caught:
        connect(reach(server), deadlines=Deadlines(connect=2))
    assert "MaxStartups" in str(caught.value)


def test_a_server_that_accepts_no_login_is_given_up_at_the_connect_deadline(
    server_with: ServerFactory, reach: Reach
) -> None:
    server = server_with()
    os.kill(server.pid, signal.SIGSTOP)  # the kernel goes on to accept connections
    try:
        with pytest.raises(ConnectFailed, match="within 2 s"):
            connect(reach(server), deadlines=Deadlines(connect=2))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    with connect(reach(server)) as connection:
        assert connection.run("echo later").stdout == b"later\n"
