"""Who sends a request: Basic, NTLM (also inside SPNEGO), a Kerberos ticket, or a client certificate.

NTLM is ``pyspnego``'s acceptor; nothing of it is written here. Like http.sys, the host authenticates a
connection by Negotiate once, and every request by Basic. Knows nothing of SOAP.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .encryption import Sealer
from .tickets import Ticket, TicketRefused, is_ticket

if TYPE_CHECKING:
    from spnego import ContextProxy
    from spnego.channel_bindings import GssChannelBindings

CERTIFICATE = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""The Authorization header of a client that authenticates by its certificate."""

_environment = threading.Lock()


class Accounts:
    """The users of a host, by name without a domain. Thread-safe.

    Args:
        passwords: by user.
        machine: the host's name, which clients may put before a user's as a domain.
    """

    def __init__(self, passwords: Mapping[str, str], machine: str) -> None:
        self._lock = threading.Lock()
        self._passwords: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._machine = machine
        descriptor, name = tempfile.mkstemp(prefix="winrm-accounts-")  # readable by its owner only
        os.close(descriptor)
        self._file = Path(name)
        for user, password in passwords.items():
            self.add(user, password)

    def add(self, user: str, password: str) -> None:
        """Add a user, or change a password.

        Raises:
            ValueError: the library's file of accounts cannot hold such a name or password.
        """
        if not user or any(character in user + password for character in ":\r\n") or "\\" in user:
            raise ValueError(
                "A user of the test host needs a name, and no colon or line feed in name or password."
            )
        with self._lock:
            self._passwords[user] = password
            self._names[user.lower()] = user
            lines = [
                f"{domain}:{name}:{secret}\n"
                for name, secret in self._passwords.items()
                for domain in ("", ".", self._machine, "WORKSTATION")
            ]
            self._file.write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Remove the file of accounts."""
        self._file.unlink(missing_ok=True)

    def named(self, name: str) -> str | None:
        """The user as it was added, for a name with or without a domain, in any case of letters."""
        plain = name.rsplit("\\", 1)[-1].split("@", 1)[0]
        with self._lock:
            return self._names.get(plain.lower())

    def check(self, name: str, password: str) -> str | None:
        """The user, where the password is right."""
        user = self.named(name)
        with self._lock:
            known = self._passwords.get(user, "") if user else ""
        right = hmac.compare_digest(known.encode(), password.encode())
        return user if user and right else None

    @contextlib.contextmanager
    def as_library_reads_them(self) -> Iterator[None]:
        """``pyspnego`` finds the accounts through an environment variable of the process.

        The variable stays, empty, which to the library is as if there were none: to take it away would break
        whatever in this process goes through its environment just then, as ``requests`` does for proxies.
        """
        with _environment:
            before = os.environ.get("NTLM_USER_FILE", "")
            os.environ["NTLM_USER_FILE"] = str(self._file)
            try:
                yield
            finally:
                os.environ["NTLM_USER_FILE"] = before


@dataclass(frozen=True)
class Verdict:
    """What became of an attempt.

    Attributes:
        user: None where the client has to (go on to) authenticate.
        scheme: that let the user in.
        token: to be sent to the client in ``WWW-Authenticate``, base64; empty for none.
    """

    user: str | None = None
    scheme: str = ""
    token: str = ""


class Negotiation:
    """The authentication of one connection.

    Args:
        accounts: users of the host.
        schemes: that the host offers.
        bindings: channel bindings that clients have to present (HTTPS with strict hardening); None for none.
        keytab: with the key to which Kerberos tickets are issued; None takes none.
    """

    def __init__(
        self,
        accounts: Accounts,
        schemes: tuple[str, ...],
        bindings: GssChannelBindings | None = None,
        keytab: Path | None = None,
    ) -> None:
        self._accounts = accounts
        self._schemes = {scheme.lower() for scheme in schemes}
        self._bindings = bindings
        self._keytab = keytab
        self._context: ContextProxy | None = None
        self._ticket: Ticket | None = None
        self._user: str | None = None
        self._scheme = ""

    @property
    def context(self) -> Sealer | None:
        """The security context, once it stands."""
        return (self._ticket or self._context) if self._user else None

    def attempt(self, authorization: str, certificate_user: str | None) -> Verdict:
        """Judge a request.

        Args:
            authorization: the header; empty for none.
            certificate_user: name in the client's certificate, where it showed one of the right authority.
        """
        scheme, _, rest = authorization.strip().partition(" ")
        kind = scheme.lower()
        if not kind:
            return Verdict(self._user, self._scheme) if self._user else Verdict()
        if kind == "basic" and kind in self._schemes:
            return self._basic(rest)
        if kind in {"negotiate", "ntlm"} and kind in self._schemes:
            return self._negotiate(scheme, rest)
        if authorization.strip() == CERTIFICATE and certificate_user:
            user = self._accounts.named(certificate_user)
            return Verdict(user, "Certificate") if user else Verdict()
        return Verdict()

    def _basic(self, rest: str) -> Verdict:
        try:
            name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Verdict()
        user = self._accounts.check(name, password)
        return Verdict(user, "Basic") if user else Verdict()

    def _negotiate(self, scheme: str, rest: str) -> Verdict:
        import spnego
        from spnego.exceptions import SpnegoError

        try:
            token = base64.b64decode(rest, validate=True)
        except binascii.Error:
            return Verdict()
        if self._context is None or self._user is not None:
            self._user = None
            self._context = self._ticket = None
        if self._keytab is not None and is_ticket(token):
            return self._take_ticket(scheme, token, self._keytab)
        try:
            with self._accounts.as_library_reads_them():
                if self._context is None:
                    # Raw NTLM is what most clients outside Windows put into Negotiate.
                    protocol = "ntlm" if token.startswith(b"NTLMSSP\0") else "negotiate"
                    self._context = spnego.server(
                        protocol=protocol,
                        options=spnego.NegotiateOptions.use_ntlm
                        if protocol == "ntlm"
                        else spnego.NegotiateOptions.use_negotiate,
                    )
                answer = self._context.step(token, channel_bindings=self._bindings)
        except (SpnegoError, ValueError):
            self._context = None
            return Verdict()
        text = base64.b64encode(answer).decode() if answer else ""
        if not self._context.complete:
            return Verdict(token=f"{scheme} {text}".strip())
        self._user = self._accounts.named(self._context.client_principal or "")
        self._scheme = scheme.capitalize() if scheme.lower() == "negotiate" else "NTLM"
        return Verdict(self._user, self._scheme, f"{scheme} {text}" if text else "")

    def _take_ticket(self, scheme: str, token: bytes, keytab: Path) -> Verdict:
        try:
            ticket = Ticket(keytab, token)
        except TicketRefused:
            return Verdict()
        self._user = self._accounts.named(ticket.principal)
        if self._user is None:
            return Verdict()
        self._ticket, self._scheme = ticket, "Kerberos"
        return Verdict(self._user, self._scheme, f"{scheme} {ticket.answer}")
