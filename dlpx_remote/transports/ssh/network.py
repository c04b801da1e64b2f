"""What the pool needs of the network: opening one session, and a connection on top of it.

A protocol, so that the pool can be tried without a network, and the real thing behind it, which loads
paramiko only when something is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from dlpx_remote.transports.base import Connection, Deadlines
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.target import Hop, SshTarget

if TYPE_CHECKING:
    from dlpx_remote.transports.ssh.session import Session
    from dlpx_remote.transports.ssh.trace import Trace


class Link(Protocol):
    """An open session to one host."""

    def is_active(self) -> bool:
        """False once it is ended or known to be lost."""
        ...

    def end(self) -> None:
        """End it. Idempotent; raises nothing."""
        ...


class Network(Protocol):
    """How sessions are opened."""

    def open(self, hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        """Open one session and log in.

        Args:
            hop: where to, and as whom.
            target: the credentials.
            before: the session that it goes through; None goes there directly.
            deadline: for all of it.

        Raises:
            ConnectFailed: with the subclass that says where it stopped.
        """
        ...

    def connection(self, target: SshTarget, hop: Hop, link: Link) -> Connection:
        """A connection on an open session, which it ends when it is closed."""
        ...


class SshNetwork:
    """The real network.

    Args:
        deadlines: of every connection.
        trace: told of every stage; see :mod:`dlpx_remote.transports.ssh.trace`.
    """

    def __init__(self, deadlines: Deadlines, trace: Trace | None = None) -> None:
        self._deadlines = deadlines
        self._trace = trace

    def open(self, hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        """See :meth:`Network.open`."""
        from dlpx_remote.transports.ssh.connecting import open_session

        session = cast("Session | None", before)
        return open_session(hop, target, session, deadline, deadlines=self._deadlines, trace=self._trace)

    def connection(self, target: SshTarget, hop: Hop, link: Link) -> Connection:
        """See :meth:`Network.connection`."""
        from dlpx_remote.transports.ssh.connecting import Opened
        from dlpx_remote.transports.ssh.connection import SshConnection

        opened = Opened([cast("Session", link)], hop)
        return SshConnection(target, opened, self._deadlines, self._trace)
