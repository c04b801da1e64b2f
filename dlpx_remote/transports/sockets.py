"""TCP for every transport: names resolved and connections opened by a deadline, and noticed when they die."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

from dlpx_remote.transports.ssh.deadline import Deadline

DEAD_PEER = 30
"""Seconds after which a peer that acknowledges nothing is taken for dead."""

Address = tuple[Any, ...]
"""As ``socket.getaddrinfo`` gives them."""


def resolve(host: str, port: int, deadline: Deadline) -> list[Address]:
    """The addresses of a host.

    Raises:
        OSError: there is none; TimeoutError when the deadline passed.
    """
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except socket.gaierror:
        pass
    answers: queue.SimpleQueue[list[Address] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    # getaddrinfo cannot be interrupted: a thread of its own may outlive the deadline, we do not.
    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.remaining())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "it is no valid name") from answer
    if isinstance(answer, OSError):
        raise answer
    return answer


def connect(addresses: list[Address], deadline: Deadline) -> socket.socket:
    """The first address that answers; a silent one may not use up the time of those after it.

    Raises:
        OSError: none does.
    """
    failure: OSError | None = None
    for place, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline.remaining()
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(None if left is None else max(0.001, left / (len(addresses) - place)))
            connection.connect(address)
            _tune(connection)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure or socket.gaierror(socket.EAI_NONAME, "it has no address")


def _tune(connection: socket.socket) -> None:
    """No Nagle delay; a peer that is gone is noticed within ``DEAD_PEER``, idle or not (tcp(7))."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", DEAD_PEER // 2),
        ("TCP_KEEPINTVL", DEAD_PEER // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_PEER * 1000),
    ):
        if hasattr(socket, option):  # not every system has every one
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
