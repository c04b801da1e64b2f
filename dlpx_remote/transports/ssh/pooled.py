"""A connection of the pool as its callers have it: the transport's contract, whatever connection there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    CommandResult,
    Connection,
    FileCopied,
    NotSent,
    OutputCallback,
    ShellFacts,
    SyncProgress,
    SyncResult,
)
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.transports.ssh.pool_book import Lease, Place

Result = TypeVar("Result")


class Lender(Protocol):
    """Whoever has the connections."""

    def take(self, place: Place) -> tuple[Lease, bool]:
        """One to use, and whether it is new."""
        ...

    def give_back(self, lease: Lease) -> None:
        """It is not used any more."""
        ...

    def discard(self, connections: Sequence[PooledConnection]) -> None:
        """Close them."""
        ...


class PooledConnection:
    """Implements :class:`dlpx_remote.transports.base.Connection`; stays the pool's property."""

    def __init__(self, pool: Lender, place: Place) -> None:
        self._pool = pool
        self.place = place

    def __repr__(self) -> str:
        return f"<PooledConnection {self.place}>"

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        return self.place.hop.address

    @property
    def is_open(self) -> bool:
        """Whether a connection is open now; the next call opens one where there is none."""
        lease = self.place.lease
        return lease is not None and lease.is_open

    def open(self) -> bool:
        """Connect, unless there is a connection already; True when this call connected.

        Raises:
            ConnectFailed: with the subclass that says where it stopped.
        """
        if self.is_open:
            return False
        lease, new = self._pool.take(self.place)
        self._pool.give_back(lease)
        return new

    def facts(self) -> ShellFacts:
        """See :meth:`dlpx_remote.transports.base.Connection.facts`."""
        return self._use(lambda connection: connection.facts())

    def run(
        self,
        script: str | bytes,
        *,
        variables: Mapping[str, str | bytes] | None = None,
        login_shell: bool = False,
        interpreter: Literal["bash", "expect", "powershell"] = "bash",
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OutputCallback | None = None,
        abort: Abort | None = None,
    ) -> CommandResult:
        """See :meth:`dlpx_remote.transports.base.Connection.run`."""
        began: float | None = None

        def run(connection: Connection) -> CommandResult:
            nonlocal began
            now = time.monotonic()
            began = now if began is None else began
            return connection.run(
                script,
                variables=variables,
                login_shell=login_shell,
                interpreter=interpreter,
                timeout=None if timeout is None else max(0.0, timeout - (now - began)),
                max_output=max_output,
                on_output=on_output,
                abort=abort,
            )

        return self._use(run)

    def put(
        self,
        source: Path,
        destination: str,
        *,
        mode: int = 0o600,
        owner: str = "",
        timeout: float | None = None,
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.put`."""
        return self._use(lambda one: one.put(source, destination, mode=mode, owner=owner, timeout=timeout))

    def get(
        self, source: str, destination: Path, *, mode: int = 0o600, timeout: float | None = None
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.get`."""
        return self._use(lambda connection: connection.get(source, destination, mode=mode, timeout=timeout))

    def sync(
        self,
        source_directory: str,
        destination: Path,
        *,
        rsync_user: str | None = None,
        exclude_paths: Sequence[str] = (),
        sym_links_to_follow: Sequence[str] = (),
        delete: bool = True,
        privilege: Privilege | None = None,
        timeout: float | None = None,
        on_progress: Callable[[SyncProgress], None] | None = None,
        abort: Abort | None = None,
    ) -> SyncResult:
        """See :meth:`dlpx_remote.transports.base.Connection.sync`."""
        return self._use(
            lambda connection: connection.sync(
                source_directory,
                destination,
                rsync_user=rsync_user,
                exclude_paths=exclude_paths,
                sym_links_to_follow=sym_links_to_follow,
                delete=delete,
                privilege=privilege,
                timeout=timeout,
                on_progress=on_progress,
                abort=abort,
            )
        )

    def close(self) -> None:
        """Close the connection for everybody; the next call connects anew."""
        self._pool.discard([self])

    def _use(self, call: Callable[[Connection], Result]) -> Result:
        """Borrow the connection for ``call``.

        One that turns out to be lost is replaced, once: the host has seen nothing (NotSent).
        """
        again = True
        while True:
            lease, new = self._pool.take(self.place)
            try:
                return call(lease.for_calls)
            except NotSent:
                if new or not again or lease.is_open:
                    raise
            finally:
                self._pool.give_back(lease)
            again = False
