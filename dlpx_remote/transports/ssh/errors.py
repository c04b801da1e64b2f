"""The one place where foreign exceptions become ours, with host, user and what to do."""

from __future__ import annotations

import errno
import socket

import paramiko

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    HandshakeFailed,
    LoginLost,
    NameNotResolved,
    TransportError,
)
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh.session import LoginEnded, SessionLost
from dlpx_remote.transports.ssh.target import Hop
from dlpx_remote.transports.ssh.trace import Stage

_NO_ANSWER: dict[Stage, str] = {
    "resolve": "The name server did not answer.",
    "connect": "The host did not answer.",
    "handshake": "Something accepted the connection, but did not complete the SSH handshake.",
    "host key": "The host key was not judged in time.",
    "auth": "The host did not answer the login in time.",
}


def connect_error(error: BaseException, hop: Hop, stage: Stage, seconds: float) -> TransportError:
    """What stopped a connection, in our words.

    Args:
        error: what was raised.
        hop: the host it concerns.
        stage: what was being done.
        seconds: the whole connection's deadline, for messages.
    """
    if isinstance(error, TransportError):
        return error
    where = {"host": hop.host, "user": hop.user}
    named = hop.name if hop.name == hop.host else f"{hop.name} ({hop.host})"
    if isinstance(error, (TimeUp, TimeoutError)):
        return ConnectTimeout(
            f"No connection to {named} port {hop.port} within {seconds:g} s: {_NO_ANSWER[stage]}",
            "Check address, port and firewalls, and whether the host is overloaded; or raise the connect "
            "time-out.",
            **where,
        )
    if isinstance(error, socket.gaierror):
        return NameNotResolved(
            f"The host name {hop.host} does not resolve: {error.strerror}.",
            "Check the spelling, the name server, or use an address.",
            **where,
        )
    if isinstance(error, paramiko.ChannelException):
        return _forwarding_refused(error, hop, named)
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return HandshakeFailed(
            f"{named} port {hop.port} and this side have no algorithm in common: {error}.",
            "Update the host's SSH server, or allow newer algorithms in its sshd_config.",
            **where,
        )
    if stage == "auth":
        return _login_broke_off(error, hop, named)
    if stage == "handshake":
        return _handshake(error, hop, named)
    if isinstance(error, OSError):
        return _unreachable(error, hop, named)
    return ConnectFailed(f"No connection to {named} port {hop.port}{_reason(error)}.", **where)


def _reason(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f": {text}" if text else ""


def _login_broke_off(error: BaseException, hop: Hop, named: str) -> ConnectFailed:
    """A host that refuses says so; a connection that is merely lost during the login may be tried again."""
    if isinstance(error, (paramiko.AuthenticationException, LoginEnded)):
        return AuthenticationFailed(
            f"{named} closed the connection during the login of {hop.user}{_reason(error)}.",
            "Look into the host's log; offer fewer keys if it says that there were too many failures.",
            host=hop.host,
            user=hop.user,
        )
    return LoginLost(
        f"The connection to {named} port {hop.port} was lost during the login of {hop.user}{_reason(error)}.",
        "Try again; look into the host's log if it happens again.",
        host=hop.host,
        user=hop.user,
    )


def _unreachable(error: OSError, hop: Hop, named: str) -> ConnectFailed:
    if error.errno == errno.ECONNREFUSED:
        message = f"{named} refuses connections to port {hop.port}."
        action = "Check the port, and that the SSH server runs."
    else:
        message = f"No way to {named} port {hop.port}: {error.strerror or error}."
        action = "Check the address, the network and firewalls."
    return ConnectionRefused(message, action, host=hop.host, user=hop.user)


def _handshake(error: BaseException, hop: Hop, named: str) -> HandshakeFailed:
    where = {"host": hop.host, "user": hop.user}
    text = str(error)
    if "banner" in text.lower() or "protocol version" in text.lower():
        closed = "banner" in text.lower()
        return HandshakeFailed(
            f"{named} port {hop.port} "
            + (
                "closed the connection before it said that it is an SSH server."
                if closed
                else f"is no SSH server: it said {text.partition(' version ')[2][:80]}."
            ),
            "Check the port. A busy SSH server (MaxStartups) also closes connections: then try again later."
            if closed
            else "Check the port.",
            **where,
        )
    closed = isinstance(error, (EOFError, SessionLost, ConnectionError))
    why = "closed the connection" if closed else "broke off"
    return HandshakeFailed(
        f"{named} port {hop.port} {why} during the SSH handshake{_reason(error)}.",
        "Look into the host's log; a busy SSH server (MaxStartups) closes connections: then try again later.",
        **where,
    )


def _forwarding_refused(error: paramiko.ChannelException, hop: Hop, named: str) -> ConnectionRefused:
    if error.code == 1:  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254 section 5.1
        message = f"The jump host does not allow connections to {named} port {hop.port}."
        action = "Allow it on the jump host (AllowTcpForwarding, PermitOpen in sshd_config)."
    else:
        message = f"The jump host cannot reach {named} port {hop.port}: {error.text}."
        action = "Check address and port as seen from the jump host."
    return ConnectionRefused(message, action, host=hop.host, user=hop.user)
