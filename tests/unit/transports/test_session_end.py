"""Ending a session ends its thread, whatever other threads do with sockets meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dlpx_remote.transports.ssh.session import Session

SESSIONS = 400


@pytest.fixture
def busy_with_sockets() -> Iterator[None]:
    """Threads that open sockets all the time, and so get every number that a closed one had."""
    stop = threading.Event()

    def open_and_close() -> None:
        while not stop.is_set():
            for end in socket.socketpair():
                end.close()

    threads = [threading.Thread(target=open_and_close) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("busy_with_sockets")
def test_no_thread_waits_on_for_a_socket_that_got_the_number_of_its_own() -> None:
    for _ in range(SESSIONS):
        ours, theirs = socket.socketpair()
        with theirs:
            session = Session(ours)
            session.start_client(event=threading.Event())
            theirs.recv(100)  # it has begun, and waits for the other side's version
            session.end()
            assert not session.is_alive()
