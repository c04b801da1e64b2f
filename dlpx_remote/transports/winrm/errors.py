"""The one place where failures on the way into a host become ours, with host, user and what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    CredentialUnusable,
    HandshakeFailed,
    HostKeyError,
    HostKeyUnknown,
    NameNotResolved,
    TransportError,
)
from dlpx_remote.transports.winrm.target import WinrmTarget

Stage = Literal["resolve", "connect", "handshake"]

SKEW = 300.0
"""Seconds by which clocks may differ before Kerberos, and some NTLM policies, refuse a login."""

# OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _NAME_MISMATCH, _ADDRESS_MISMATCH = 9, 10, 62, 64

_NO_ANSWER: dict[Stage, str] = {
    "resolve": "The name server did not answer.",
    "connect": "The host did not answer.",
    "handshake": "Something accepted the connection, but did not complete the TLS handshake.",
}
_SCHEMES = {
    "ntlm": ("Negotiate", "NTLM"),
    "basic": ("Basic",),
    "kerberos": ("Negotiate", "Kerberos"),
    "certificate": (),
}


def connect_error(error: BaseException, target: WinrmTarget, stage: Stage, seconds: float) -> TransportError:
    """What stopped a connection before any message was sent.

    Args:
        error: what was raised.
        target: where to.
        stage: what was being done.
        seconds: the deadline, for messages.
    """
    where = target.where
    named = f"{target.host} port {target.effective_port}"
    if isinstance(error, TransportError):
        return error
    if isinstance(error, TimeoutError):
        return ConnectTimeout(
            f"No connection to {named} within {seconds:g} s: {_NO_ANSWER[stage]}",
            "Check address, port and firewalls, and whether the host is overloaded; or raise the connect "
            "time-out.",
            **where,
        )
    if isinstance(error, socket.gaierror):
        return NameNotResolved(
            f"The host name {target.host} does not resolve: {error.strerror}.",
            "Check the spelling, the name server, or use an address.",
            **where,
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, target)
    if stage == "handshake":
        return _no_tls(error, target)
    if isinstance(error, OSError):
        if error.errno == errno.ECONNREFUSED:
            other = "http (5985)" if target.scheme == "https" else "https (5986)"
            return ConnectionRefused(
                f"{named} refuses connections.",
                "Check the port, that WinRM runs (on the host: winrm quickconfig), and whether it listens "
                f"for {other} instead: winrm enumerate winrm/config/listener.",
                **where,
            )
        return ConnectionRefused(
            f"No way to {named}: {error.strerror or error}.",
            "Check the address, the network and firewalls.",
            **where,
        )
    return ConnectFailed(f"No connection to {named}: {error}.", **where)


def _certificate(error: ssl.SSLCertVerificationError, target: WinrmTarget) -> HostKeyError:
    where = target.where
    message = f"The certificate of {target.host} is not accepted: "
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        what = "it has expired" if error.verify_code == _EXPIRED else "it is not valid yet"
        return HostKeyError(
            f"{message}{what}.", "Renew it on the host; also compare the clocks of both machines.", **where
        )
    if error.verify_code in (_NAME_MISMATCH, _ADDRESS_MISMATCH):
        return HostKeyError(
            f"{message}it is for another name.",
            "Use the name that it was issued for, let it be issued for this one, or pin its thumbprint.",
            **where,
        )
    return HostKeyUnknown(
        f"{message}{(error.verify_message or str(error)).strip().rstrip('.')}.",
        "Give the file with its authority's certificate (--ca-file), or pin its thumbprint (--fingerprint).",
        **where,
    )


def _no_tls(error: BaseException, target: WinrmTarget) -> TransportError:
    named = f"{target.host} port {target.effective_port}"
    where = target.where
    reason = getattr(error, "reason", None) or str(error)
    if target.authentication == "certificate" and "alert" in str(error).lower():
        return certificate_refused(target, reason)
    return HandshakeFailed(
        f"{named} does not complete a TLS handshake: {str(reason).strip().rstrip('.') or 'it closed'}.",
        "Check the port and that WinRM listens for HTTPS there; plain WinRM is at 5985 (--scheme http).",
        **where,
    )


def certificate_refused(target: WinrmTarget, reason: object) -> AuthenticationFailed:
    """The host does not take the client's certificate."""
    return AuthenticationFailed(
        f"{target.host} refused the client's certificate of {target.user}: {str(reason).rstrip('.')}.",
        "Its authority must be trusted on the host, and the certificate mapped to an account "
        "(New-Item WSMan:\\localhost\\ClientCertificate).",
        **target.where,
    )


def login_refused(target: WinrmTarget, challenges: Sequence[str], date: str | None) -> ConnectFailed:
    """The host answered 401.

    Args:
        target: where to.
        challenges: what it said it takes (``WWW-Authenticate``), one scheme each.
        date: its ``Date`` header.
    """
    where = target.where
    offered = [challenge.split()[0] for challenge in challenges if challenge.split()]
    wanted = _SCHEMES[target.authentication]
    known = {name.lower() for names in _SCHEMES.values() for name in names}
    if wanted and not {name.lower() for name in offered} & {name.lower() for name in wanted}:
        kind = "Basic" if target.authentication == "basic" else target.authentication.upper()
        if target.authentication == "kerberos":
            kind = "Kerberos"
        says = f"it offers {', '.join(dict.fromkeys(offered))}" if offered else "it offers nothing"
        strange = bool(offered) and not {name.lower() for name in offered} & known
        return AuthenticationFailed(
            f"{target.host} does not let {target.user} log in by {kind}: {says}.",
            "Check the port: this does not look like WinRM."
            if strange
            else f"Choose another --authentication, or allow it on the host: winrm set "
            f'winrm/config/service/auth @{{{kind if kind == "Basic" else "Negotiate"}="true"}}',
            **where,
        )
    action = "Check user and password; it is not tried again, so that the account is not locked. The account "
    if target.authentication == "kerberos":
        action = (
            f"The host may have another key than the one of HTTP/{target.host} in the realm. The account "
        )
    action += "must be an administrator of the host, or a member of Remote Management Users."
    if (skew := _skew(date)) is not None and abs(skew) > SKEW:
        fast = "ahead of" if skew > 0 else "behind"
        action = (
            f"The host's clock is {abs(skew):.0f} s {fast} this machine's, for which logins are refused too: "
            f"set the clocks. {action}"
        )
    return AuthenticationFailed(f"{target.host} refused the login of {target.user}.", action, **where)


def access_denied(target: WinrmTarget, reason: str) -> AuthenticationFailed:
    """The password was right, but the account may not use WinRM."""
    return AuthenticationFailed(
        f"{target.user} may log in to {target.host}, but not open a shell there: {reason}.",
        "Make the account an administrator of the host, or a member of Remote Management Users; local "
        "accounts that are administrators also need LocalAccountTokenFilterPolicy=1.",
        **target.where,
    )


def no_winrm(target: WinrmTarget, reason: str) -> HandshakeFailed:
    """Something answered, but not as WinRM does."""
    return HandshakeFailed(
        f"{target.host} port {target.effective_port} does not answer as WinRM does: {reason}.",
        "Check the port and --scheme: HTTPS is usually at 5986, HTTP at 5985.",
        **target.where,
    )


def ticket_unusable(target: WinrmTarget, reason: str) -> CredentialUnusable:
    """No ticket for the host could be had; nothing was sent to it."""
    return CredentialUnusable(
        f"{target.user} has no Kerberos ticket for HTTP/{target.host}: {reason.rstrip('.')}.",
        f"Get a ticket (kinit {target.user}) and see what is there (klist). The host must be named as its "
        "realm names it: the ticket is for the service HTTP at exactly this name. Where the realm and its "
        "servers are is said in krb5.conf.",
        **target.where,
    )


def host_unproven(target: WinrmTarget) -> HostKeyError:
    """It took a ticket, but could not show that it is the host to which the ticket was issued."""
    return HostKeyError(
        f"{target.host} did not prove by Kerberos that it is {target.host}.",
        "Somebody may be in between; or something on the way removes WWW-Authenticate from its answers.",
        **target.where,
    )


def kerberos_missing(target: WinrmTarget) -> ConnectFailed:
    """pywinrm has no Kerberos of its own."""
    return ConnectFailed(
        "Kerberos is not available: pywinrm needs the package pykerberos for it.",
        "Install the extra: pip install 'dlpx-remote[kerberos]' (it is built against the system's Kerberos; "
        "on Debian: libkrb5-dev, gcc), or use NTLM.",
        **target.where,
    )


def _skew(date: str | None) -> float | None:
    try:
        told = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return (told - datetime.now(UTC)).total_seconds()
