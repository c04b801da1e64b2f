"""Kerberos tickets: the acceptor's side, which is the system's GSSAPI by way of ``pykerberos``.

Nothing of Kerberos is written here. The host's key is in a keytab; realm and times are those that the
process's ``KRB5_CONFIG`` says. Without ``pykerberos`` there are no tickets to be taken.
"""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import Any

# The mechanism's object identifier (RFC 4121), and the one under which Windows offers it too, in DER.
_MECHANISMS = (
    bytes.fromhex("06092a864886f712010202"),
    bytes.fromhex("06092a864882f712010202"),
)
_HEAD = 64

_environment = threading.Lock()


class TicketRefused(Exception):
    """The ticket does not let its owner in; the text is the library's."""


class NoTickets(Exception):
    """Tickets cannot be taken at all; the text says what is missing."""


def is_ticket(token: bytes) -> bool:
    """Whether a token of Negotiate carries a Kerberos ticket, by itself or inside SPNEGO."""
    return token.startswith(b"\x60") and any(mechanism in token[:_HEAD] for mechanism in _MECHANISMS)


def check(keytab: Path) -> None:
    """See that tickets can be taken.

    Raises:
        NoTickets: the library or the keytab is missing.
    """
    _library()
    if not keytab.is_file():
        raise NoTickets(f"There is no keytab {keytab}.")


class Ticket:
    """The security context of one connection, made of the first token that came.

    Args:
        keytab: with the key of the host's service.
        token: what the client sent.

    Attributes:
        answer: with which the host proves itself, base64.
        principal: whom the ticket names, with the realm.

    Raises:
        TicketRefused: out of its time, for another service or key, or no ticket at all.
    """

    def __init__(self, keytab: Path, token: bytes) -> None:
        self._library = kerberos = _library()
        try:
            with _environment:
                before = os.environ.get("KRB5_KTNAME", "")
                os.environ["KRB5_KTNAME"] = str(keytab)
                try:
                    _, self._context = kerberos.authGSSServerInit("")
                    done = kerberos.authGSSServerStep(self._context, base64.b64encode(token).decode())
                finally:
                    # It stays, as it was or empty: to take it away would break who reads the environment now.
                    os.environ["KRB5_KTNAME"] = before
            if done != kerberos.AUTH_GSS_COMPLETE:
                raise TicketRefused("The client's first token does not complete the login.")
            self.answer: str = kerberos.authGSSServerResponse(self._context) or ""
            self.principal: str = kerberos.authGSSServerUserName(self._context)
        except kerberos.KrbError as error:
            raise TicketRefused(str(error.args)) from error

    def wrap_winrm(self, data: bytes, /) -> tuple[bytes, bytes, int]:
        """Signature, sealed data and padding length; ``data`` is text in UTF-8."""
        sealed, header = self._library.authGSSWinRMEncryptMessage(self._context, data.decode())
        return header, sealed, 0

    def unwrap_winrm(self, header: bytes, data: bytes, /) -> bytes:
        """The plain data. Raises where the signature does not fit."""
        plain = self._library.authGSSWinRMDecryptMessage(self._context, data, header)
        return plain.encode() if isinstance(plain, str) else bytes(plain)


def _library() -> Any:
    try:
        import kerberos
    except ImportError as error:
        raise NoTickets(
            "The WinRM test host needs pykerberos for Kerberos: pip install pykerberos; it is built against "
            "the system's Kerberos (on Debian: libkrb5-dev, gcc)."
        ) from error
    return kerberos
