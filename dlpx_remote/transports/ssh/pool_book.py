"""What the pool knows, and the only functions that change it: who has what, and what is to be ended.

Nothing here waits or touches the network, and nothing here locks: the pool calls every function under its one
lock, and does what is returned outside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlpx_remote.transports.base import AuthenticationFailed, Connection, NotSent
from dlpx_remote.transports.ssh.network import Link
from dlpx_remote.transports.ssh.target import Hop, SshTarget

if TYPE_CHECKING:
    from dlpx_remote.transports.ssh.pooled import PooledConnection


class ConnectionsClosed(NotSent):
    """A connection was asked for after all of them had been closed."""


@dataclass(frozen=True)
class Key:
    """What decides that two may share: the way, and all that decides whether they may go it.

    The credentials are compared by where they come from; what gives a password or a passphrase is equal to
    another only if it says so itself.
    """

    route: tuple[Hop, ...]
    credentials: tuple[object, ...]

    @classmethod
    def of(cls, target: SshTarget, route: tuple[Hop, ...]) -> Key:
        """For the last hop of ``route``, which is ``target`` itself or one of its jump hosts."""
        credentials: tuple[object, ...] = (
            target.key,
            target.agent,
            target.default_keys,
            target.passphrase,
            target.host_key_policy,
        )
        if route[-1].last:  # jump hosts are given neither
            credentials += (target.password, target.fingerprint)
        # The name is what somebody calls the host; everything that follows from it is in the other fields.
        return cls(tuple(Hop(**{**vars(hop), "name": ""}) for hop in route), credentials)


class Attempt:
    """An opening that is under way; others wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None


@dataclass(eq=False)
class Lease:
    """One open session or connection, and how many use it.

    Attributes:
        connection: on top of the session; None for a jump host.
        through: the jump host's, which is in use for as long as this one is open.
        users: calls that run, or sessions that go through it.
        since: when ``users`` changed last, on the monotonic clock.
        retired: nobody gets it any more.
        ended: somebody has been told to end it.
    """

    place: Place
    link: Link
    connection: Connection | None
    through: Lease | None
    users: int = 0
    since: float = 0.0
    retired: bool = False
    ended: bool = False

    @property
    def is_open(self) -> bool:
        """False once it is ended or known to be lost."""
        return self.link.is_active() if self.connection is None else self.connection.is_open

    @property
    def for_calls(self) -> Connection:
        """The connection; a jump host has none."""
        if self.connection is None:
            raise TypeError(f"{self.place} is there to go through only")
        return self.connection


@dataclass(eq=False)
class Place:
    """Where the connection for one key is, was, or will be.

    Attributes:
        target: how to get in.
        route: the hops to it, itself last.
        before: the place of the jump host, where there is one.
        refused: what the host answered when it refused the login; it is not asked again.
        handle: the connection as callers have it.
    """

    target: SshTarget
    route: tuple[Hop, ...]
    before: Place | None
    lease: Lease | None = None
    attempt: Attempt | None = None
    refused: AuthenticationFailed | None = None
    handle: PooledConnection | None = None

    @property
    def hop(self) -> Hop:
        """Where it leads to."""
        return self.route[-1]

    def __str__(self) -> str:
        name = self.hop.address
        if self.attempt is not None:
            return f"{name} opening"
        if self.lease is None:
            return f"{name} refused" if self.refused is not None else f"{name} closed"
        if not self.lease.is_open:
            return f"{name} lost"
        if not self.hop.last:
            return f"{name} jump host of {self.lease.users}"
        return f"{name} in use by {self.lease.users}" if self.lease.users else f"{name} idle"


@dataclass(frozen=True)
class Use:
    """It is there, and counted as in use."""

    lease: Lease


@dataclass(frozen=True)
class Wait:
    """Somebody is opening it."""

    attempt: Attempt


@dataclass(frozen=True)
class Begin:
    """Open it, and tell :meth:`Book.opened` or :meth:`Book.failed`; others wait for it."""

    attempt: Attempt


class Book:
    """The state of a pool. Not safe for threads by itself."""

    def __init__(self) -> None:
        self._places: dict[Key, Place] = {}
        self.closed = False

    def place(self, target: SshTarget, chain: Iterable[Hop]) -> Place:
        """The place of ``target``, with those of its jump hosts."""
        *_, last = self._places_to(target, tuple(chain))
        return last

    def take(self, place: Place, now: float) -> tuple[Use | Wait | Begin, list[Lease]]:
        """What the caller is to do to get it, and what is to be ended before.

        Raises:
            ConnectionsClosed, or what the host answered when it refused these credentials.
        """
        if self.closed:
            raise ConnectionsClosed("All connections have been closed; no host can be reached any more.")
        ending: list[Lease] = []
        if place.lease is not None and not place.lease.is_open:
            ending = self._retire(place.lease)
        if place.lease is not None:
            place.lease.users += 1
            place.lease.since = now
            return Use(place.lease), ending
        if place.refused is not None:
            raise place.refused  # another try with the same credentials could lock the account
        if place.attempt is not None:
            return Wait(place.attempt), ending
        place.attempt = Attempt()
        return Begin(place.attempt), ending

    def opened(self, lease: Lease, now: float) -> bool:
        """What was attempted is there, and in use by whoever opened it; False when it comes too late."""
        lease.place.attempt = None
        if self.closed:
            return False
        lease.users, lease.since = 1, now
        lease.place.lease = lease
        return True

    def failed(self, place: Place, error: BaseException) -> None:
        """What was attempted failed; a refusal is remembered."""
        place.attempt = None
        if isinstance(error, AuthenticationFailed):
            place.refused = error

    def give_back(self, lease: Lease, now: float) -> list[Lease]:
        """Not used by this caller any more; what is to be ended now."""
        lease.users -= 1
        lease.since = now
        if lease.users > 0:
            return []
        if lease.retired:
            return _told(lease)
        return [] if lease.place.hop.last else self._retire(lease)  # a jump host that nobody goes through

    def expire(self, idle: float, now: float) -> tuple[list[Lease], float | None]:
        """What has not been used for ``idle`` seconds, and when to ask again; None when nothing is open."""
        ending: list[Lease] = []
        soonest: float | None = None
        for place in self._places.values():
            lease = place.lease
            if lease is None or not place.hop.last:
                continue
            end = (now if lease.users else lease.since) + idle
            if end <= now:
                ending += self._retire(lease)
            elif soonest is None or end < soonest:
                soonest = end
        return ending, soonest

    def discard(self, place: Place) -> list[Lease]:
        """End it even when it is in use, and forget that it was refused."""
        lease = place.lease
        step: Place | None = place
        while step is not None:
            step.refused = None
            step = step.before
        return [] if lease is None else self._retire(lease, now=True)

    def close(self) -> list[Lease]:
        """End everything, for good: the connections; jump hosts follow when those are given back."""
        self.closed = True
        leases = [place.lease for place in self._places.values() if place.hop.last]
        return [told for lease in leases if lease is not None for told in self._retire(lease, now=True)]

    def __str__(self) -> str:
        return ", ".join(
            text for place in self._places.values() if not (text := str(place)).endswith(" closed")
        )

    def _places_to(self, target: SshTarget, chain: tuple[Hop, ...]) -> list[Place]:
        found: list[Place] = []
        for number in range(1, len(chain) + 1):
            route = chain[:number]
            new = Place(target, route, found[-1] if found else None)
            found.append(self._places.setdefault(Key.of(target, route), new))
        return found

    def _retire(self, lease: Lease, *, now: bool = False) -> list[Lease]:
        """Give it to nobody any more; it is ended when the last one who uses it gives it back, or now."""
        if lease.place.lease is lease:
            lease.place.lease = None
        lease.retired = True
        return _told(lease) if now or not lease.users else []


def _told(lease: Lease) -> list[Lease]:
    """What the caller has to end, once."""
    if lease.ended:
        return []
    lease.ended = True
    return [lease]
