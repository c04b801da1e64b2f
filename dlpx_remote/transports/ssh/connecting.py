"""Getting a session: resolve, connect, shake hands, judge the host key, log in; hop by hop, one deadline."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import time
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.transports import sockets
from dlpx_remote.transports.base import Deadlines, HandshakeFailed
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh import hostkeys
from dlpx_remote.transports.ssh.authentication import authenticate
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.errors import connect_error
from dlpx_remote.transports.ssh.proxy_command import ProxyCommand
from dlpx_remote.transports.ssh.session import Session
from dlpx_remote.transports.ssh.target import Hop, SshTarget, hops
from dlpx_remote.transports.ssh.trace import Stage, StageDetail, Trace, Tracer

MOST_DOUBTFUL_TRIES = 4
"""Where a server only closes the connection, which a busy one does, but a broken one too."""

LONGEST_PAUSE = 1.0
"""Seconds, give or take half of them by chance, so that many of us do not come back at once."""


class Opened:
    """An open chain of sessions.

    Attributes:
        sessions: jump hosts first, the target's last.
        hop: the target itself.
    """

    def __init__(self, sessions: list[Session], hop: Hop) -> None:
        self.sessions = sessions
        self.hop = hop

    def end(self) -> None:
        """End all sessions, the target's first. Idempotent; raises nothing."""
        for session in reversed(self.sessions):
            session.end()


def open_sessions(target: SshTarget, deadlines: Deadlines, trace: Trace | None) -> Opened:
    """Open the chain to ``target``.

    Raises:
        ConnectFailed: with the subclass that says where it stopped.
        InvalidRequest: the configuration cannot be used.
    """
    deadline = Deadline(deadlines.connect)
    chain = hops(target)
    sessions: list[Session] = []
    try:
        for hop in chain:
            before = sessions[-1] if sessions else None
            sessions.append(open_session(hop, target, before, deadline, deadlines=deadlines, trace=trace))
    except BaseException:
        Opened(sessions, chain[-1]).end()
        raise
    return Opened(sessions, chain[-1])


def open_session(
    hop: Hop,
    target: SshTarget,
    before: Session | None,
    deadline: Deadline,
    *,
    deadlines: Deadlines,
    trace: Trace | None,
) -> Session:
    """Open one session of a chain; see :meth:`dlpx_remote.transports.ssh.network.Network.open`."""
    return _Steps(hop, target, deadline, deadlines, Tracer(trace)).open(before)


class _Steps:
    """Opens one hop."""

    def __init__(
        self, hop: Hop, target: SshTarget, deadline: Deadline, deadlines: Deadlines, tracer: Tracer
    ) -> None:
        self._hop = hop
        self._target = target
        self._deadline = deadline
        self._deadlines = deadlines
        self._tracer = tracer
        self._turned_away = "no"

    @contextlib.contextmanager
    def _stage(self, stage: Stage) -> Any:
        with self._tracer.stage(stage, self._hop.address) as detail:
            try:
                yield detail
            except (RemoteError, KeyboardInterrupt):  # ours, or a secret that could not be had
                raise
            except Exception as error:
                raise connect_error(error, self._hop, stage, self._deadlines.connect) from error

    def open(self, before: Session | None) -> Session:
        """Open it; a server that turns us away because it is busy is tried again within the deadline."""
        for attempt in itertools.count():
            self._turned_away = "no"
            try:
                return self._attempt(before)
            except HandshakeFailed:
                tries = {"no": 1, "perhaps": MOST_DOUBTFUL_TRIES}.get(self._turned_away)
                pause = min(LONGEST_PAUSE, 0.05 * 2**attempt) * random.uniform(0.5, 1.5)  # noqa: S311
                left = self._deadline.remaining()
                if (tries is not None and attempt + 1 >= tries) or (left is not None and left <= pause):
                    raise
            time.sleep(pause)
        raise AssertionError

    def _attempt(self, before: Session | None) -> Session:
        connection = self._reach(before)
        try:
            session = Session(connection, self._deadlines.alive)
        except BaseException:
            connection.close()
            raise
        try:
            with self._stage("handshake") as detail:
                try:
                    self._handshake(session, detail)
                except BaseException as error:
                    self._turned_away = session.turned_away
                    if isinstance(connection, ProxyCommand) and not isinstance(error, TimeUp):
                        self._turned_away = "no"
                        raise self._proxy_failed(connection) from error
                    raise
            with self._stage("host key") as detail:
                key = session.get_remote_server_key()
                detail.text = hostkeys.judge(
                    self._hop,
                    key.get_name(),
                    key.asbytes(),
                    self._target.host_key_policy,
                    self._target.fingerprint if self._hop.last else None,
                    certificate=key.public_blob.key_blob if key.public_blob else None,
                )
            with self._stage("auth") as detail:
                detail.text = authenticate(session, self._hop, self._target, self._deadline)
            session.watch()
        except BaseException:
            session.end()
            raise
        return session

    def _handshake(self, session: Session, detail: StageDetail) -> None:
        known = hostkeys.known_of(self._hop)
        session.certificates_first = hostkeys.has_authority(known)
        options = session.get_security_options()
        options.key_types = hostkeys.preferred_algorithms(options.key_types, known)
        session.shake_hands(self._deadline)
        detail.text = session.remote_version

    def _reach(self, before: Session | None) -> Any:
        """A way for bytes to the host, whatever it is made of."""
        if before is not None:
            return self._through(before)
        if self._hop.proxy_command is None:
            return self._directly()
        with self._stage("connect") as detail:
            detail.text = f"through {self._hop.proxy_command}"
            return ProxyCommand.started(self._hop.proxy_command)

    def _proxy_failed(self, connection: ProxyCommand) -> HandshakeFailed:
        return HandshakeFailed(
            f"No SSH server answered through the ProxyCommand for {self._hop.name} "
            f"({self._hop.proxy_command}): it {connection.last_words()}.",
            "Try the command by hand, and correct it in your ssh configuration.",
            host=self._hop.host,
            user=self._hop.user,
        )

    def _through(self, before: Session) -> Any:
        with self._stage("connect") as detail:
            detail.text = "through the jump host"
            return before.open_channel(
                "direct-tcpip",
                (self._hop.host, self._hop.port),
                ("127.0.0.1", 0),
                timeout=self._deadline.remaining(),
            )

    def _directly(self) -> socket.socket:
        with self._stage("resolve") as detail:
            addresses = sockets.resolve(self._hop.host, self._hop.port, self._deadline)
            detail.text = ", ".join(str(address[4][0]) for address in addresses)
        with self._stage("connect") as detail:
            connection = sockets.connect(addresses, self._deadline)
            detail.text = str(connection.getpeername()[0])
            return connection
