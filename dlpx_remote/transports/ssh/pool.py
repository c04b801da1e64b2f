"""Open connections, shared by all who want the same account on the same host by the same way.

The pool decides who gets which connection, when one is opened and when one is closed; how is the network's
business (:class:`Network`), so that all of it can be tried without one. It knows targets, not environments.
Modelled on httpcore's pool: what changes, changes in :class:`Book` under one lock; whatever may take time is
done outside it; and the pool's ``repr`` tells its state.

A caller gets a :class:`PooledConnection`, which borrows the connection for the time of each call. So a
connection is in use exactly while a command runs or a file is copied, and one that was lost, or closed for
lack of use, is replaced at the next call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.network import Network, SshNetwork
from dlpx_remote.transports.ssh.pool_book import (
    Attempt,
    Begin,
    Book,
    ConnectionsClosed,
    Lease,
    Place,
    Use,
    Wait,
)
from dlpx_remote.transports.ssh.pooled import PooledConnection
from dlpx_remote.transports.ssh.target import SshTarget, hops

HANDSHAKES = 4
"""At once to one server: OpenSSH drops new ones at random from ten unauthenticated ones on (MaxStartups)."""

IDLE = 600.0
"""Seconds without use after which a connection is closed, unless the caller says otherwise."""

_CLOSERS = 16

__all__ = ["HANDSHAKES", "IDLE", "ConnectionsClosed", "Pool", "PooledConnection"]


@dataclass
class _Time:
    """What is left of the connect deadline: waiting for one's turn is not counted."""

    left: float


class Pool:
    """Opens connections when they are first needed. Safe for use from several threads.

    Two that ask for the same at once get the same, and a host that is slow to answer holds up nobody else.
    Sessions to jump hosts are shared by all that go through them, and end with the last. A refused login is
    not tried again.

    Args:
        network: how to open; None takes the real one with ``deadlines``.
        deadlines: of each connection.
        idle: seconds without use after which a connection is closed; None keeps it open.
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  # a frozen value
        idle: float | None = IDLE,
    ) -> None:
        self._network = network or SshNetwork(deadlines)
        self._deadlines = deadlines
        self._idle = idle
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._book = Book()
        self._gates: dict[tuple[tuple[str, int], ...], threading.Semaphore] = {}
        self._watcher: threading.Thread | None = None

    def __repr__(self) -> str:
        with self._lock:
            state = "closed" if self._book.closed else str(self._book) or "nothing open"
        return f"<Pool: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connection(self, target: SshTarget) -> PooledConnection:
        """A way into ``target``, the same for all who ask for the same; nothing is opened yet.

        Raises:
            InvalidRequest: target or ``ssh_config`` cannot be used.
        """
        chain = hops(target)
        with self._lock:
            place = self._book.place(target, chain)
            if place.handle is None:
                place.handle = PooledConnection(self, place)
            return place.handle

    def take(self, place: Place) -> tuple[Lease, bool]:
        """The open connection of ``place``, in use until :meth:`give_back`; and whether it is a new one.

        Raises:
            ConnectionsClosed: the pool was closed.
            ConnectFailed: with the subclass that says where it stopped; all who wait for one attempt get the
                same.
        """
        return self._take(place, _Time(self._deadlines.connect))

    def give_back(self, lease: Lease) -> None:
        """The caller does not use it any more."""
        with self._lock:
            ending = self._book.give_back(lease, time.monotonic())
        if ending:
            self._end(ending)

    def discard(self, connections: Iterable[PooledConnection]) -> None:
        """Close them, with whatever runs on them, and forget refusals; the next use connects anew."""
        with self._lock:
            ending = [lease for each in connections for lease in self._book.discard(each.place)]
        self._end(ending)

    def close(self) -> None:
        """Close every connection, with whatever runs on them. Idempotent; raises nothing."""
        with self._lock:
            ending = self._book.close()
            watcher, self._watcher = self._watcher, None
            self._news.notify_all()
        self._end(ending)
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()

    # opening

    def _take(self, place: Place, left: _Time) -> tuple[Lease, bool]:
        while True:
            with self._lock:
                step, ending = self._book.take(place, time.monotonic())
            self._end(ending)
            match step:
                case Use(lease):
                    return lease, False
                case Begin(attempt):
                    return self._open(place, attempt, left), True
                case Wait(attempt):
                    attempt.done.wait()
                    if attempt.error is not None:
                        raise attempt.error  # the next attempt would take as long

    def _open(self, place: Place, attempt: Attempt, left: _Time) -> Lease:
        try:
            lease = self._establish(place, left)
        except BaseException as error:
            with self._lock:
                self._book.failed(place, error)
            attempt.error = error if isinstance(error, Exception) else None
            attempt.done.set()
            raise
        with self._lock:
            kept = self._book.opened(lease, time.monotonic())
            if kept and lease.connection is not None:
                self._watch()
        attempt.done.set()
        if not kept:
            self._end([lease])
            raise ConnectionsClosed("All connections were closed while this one was being opened.")
        return lease

    def _establish(self, place: Place, left: _Time) -> Lease:
        """Open the session, through that of the jump host where there is one."""
        through = None if place.before is None else self._take(place.before, left)[0]
        try:
            with self._gate(place):
                deadline = Deadline(left.left)
                link = self._network.open(
                    place.hop, place.target, None if through is None else through.link, deadline
                )
                left.left = deadline.remaining() or 0.0
            connection = self._network.connection(place.target, place.hop, link) if place.hop.last else None
            return Lease(place, link, connection, through)
        except BaseException:
            if through is not None:
                self.give_back(through)
            raise

    def _gate(self, place: Place) -> threading.Semaphore:
        """Lets few handshakes at once through to one server."""
        way = tuple((hop.host, hop.port) for hop in place.route)
        with self._lock:
            return self._gates.setdefault(way, threading.Semaphore(HANDSHAKES))

    # ending

    def _end(self, leases: list[Lease]) -> None:
        """End them, and then the jump hosts that nobody goes through any more. Raises nothing."""
        while leases:
            if len(leases) == 1:
                _end_one(leases[0])
            else:  # one that is lost takes its time
                with ThreadPoolExecutor(min(_CLOSERS, len(leases)), thread_name_prefix="closing") as closers:
                    list(closers.map(_end_one, leases))
            now = time.monotonic()
            with self._lock:
                leases = [
                    further
                    for lease in leases
                    if lease.through is not None
                    for further in self._book.give_back(lease.through, now)
                ]

    def _watch(self) -> None:
        """Have someone look for connections that nobody uses; under the lock."""
        if self._idle is None or self._watcher is not None:
            return
        self._watcher = threading.Thread(
            target=self._close_idle, args=(self._idle,), name="idle connections", daemon=True
        )
        self._watcher.start()

    def _close_idle(self, idle: float) -> None:
        """Runs for as long as anything is open; wakes up only when something may be due."""
        while True:
            with self._lock:
                now = time.monotonic()
                ending, due = self._book.expire(idle, now)
                if not ending:
                    if due is None or self._book.closed:
                        if self._watcher is threading.current_thread():
                            self._watcher = None
                        return
                    self._news.wait(due - now)
                    continue
            self._end(ending)


def _end_one(lease: Lease) -> None:
    if lease.connection is not None:
        lease.connection.close()
    lease.link.end()
