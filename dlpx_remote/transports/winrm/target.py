"""Where to connect and with what. Knows names only; opens no connection and reads no file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dlpx_remote.errors import InvalidRequest

Scheme = Literal["https", "http"]
Authentication = Literal["ntlm", "basic", "kerberos", "certificate"]

PORTS: dict[Scheme, int] = {"http": 5985, "https": 5986}
"""Where WinRM listens unless it was told otherwise."""


@dataclass(frozen=True)
class WinrmTarget:
    """One account on one Windows host, and how to get in.

    Attributes:
        host: a name or an address; with HTTPS, the certificate must be for it.
        user: login name, also as ``DOMAIN\\user`` or ``user@domain``; for a certificate, only for messages;
            for Kerberos, whose ticket it is (``user`` or ``user@REALM``).
        scheme: ``https``, or ``http``, where NTLM and Kerberos encrypt the messages themselves.
        port: None takes 5986 or 5985.
        authentication: how to log in.
        password: gives the password when it is needed.
        certificate, key: paths of the client's certificate and its key, in PEM, for ``certificate``.
        ca_file: certificates (PEM) of the authorities to trust instead of the system's.
        thumbprint: of the host's certificate, which must be this one whoever issued it: SHA-1, as Windows
            shows it, or SHA-256, in hexadecimal.
        verify: False takes any certificate. Whoever answers then gets the password and the scripts.
        unencrypted: allow what everybody on the network can read: Basic over HTTP.
        persistent: keep PowerShell processes running and give them one script after another. Saves the start
            of ``powershell.exe``, most of a short script's time; not proven on a real Windows.
        at_once: commands at a time, at most; a quota of the host lowers it.
    """

    host: str
    user: str
    scheme: Scheme = "https"
    port: int | None = None
    authentication: Authentication = "ntlm"
    password: Callable[[], str] | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    ca_file: Path | None = None
    thumbprint: str | None = None
    verify: bool = True
    unencrypted: bool = False
    persistent: bool = False
    at_once: int = 8

    @property
    def where(self) -> dict[str, str]:
        """Host and user, as every error of the transport carries them."""
        return {"host": self.host, "user": self.user}

    @property
    def effective_port(self) -> int:
        """The port that is connected to."""
        return self.port or PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.effective_port}"

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.scheme}://{self.authority}/wsman"

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        return f"{self.user}@{self.authority}"


def normal_thumbprint(text: str) -> str:
    """``text`` as lower-case hexadecimal without spaces and colons.

    Raises:
        InvalidRequest: it is no SHA-1 or SHA-256 thumbprint.
    """
    digits = re.sub(
        r"[\s:\u200e]", "", text
    ).lower()  # the mark that Windows' certificate window copies along
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digits):
        return digits
    raise InvalidRequest(
        f"{text!r} is not a certificate's thumbprint.",
        "Give its 40 (SHA-1) or 64 (SHA-256) hexadecimal digits; on the host, "
        r"Get-ChildItem Cert:\LocalMachine\My shows them.",
    )


def check_target(target: WinrmTarget) -> None:
    """Refuse what cannot work, before anything is sent.

    Raises:
        InvalidRequest: says what is missing, or what is not safe without being asked for.
    """
    if target.scheme not in PORTS:
        raise InvalidRequest(f"{target.scheme!r} is not a way to WinRM.", "Use https or http.")
    if target.authentication not in ("ntlm", "basic", "kerberos", "certificate"):
        raise InvalidRequest(
            f"{target.authentication!r} is not a way to log in over WinRM.",
            "Use ntlm, basic, kerberos or certificate.",
        )
    if target.thumbprint is not None:
        normal_thumbprint(target.thumbprint)
    if target.scheme == "http":
        for given, what in ((target.ca_file, "A CA file"), (target.thumbprint, "A thumbprint")):
            if given is not None:
                raise InvalidRequest(f"{what} has no meaning over HTTP.", "Use HTTPS, or leave it out.")
        if target.authentication == "certificate":
            raise InvalidRequest("A client's certificate needs HTTPS.", "Use HTTPS.")
        if target.authentication == "basic" and not target.unencrypted:
            raise InvalidRequest(
                "Basic over HTTP sends the password and all scripts so that everybody on the network can "
                "read them.",
                "Use HTTPS or NTLM; where you really mean it, allow it (--allow-unencrypted).",
            )
    _check_login(target)


def _check_login(target: WinrmTarget) -> None:
    if target.authentication == "certificate":
        if target.certificate is None or target.key is None:
            raise InvalidRequest(
                "A login by certificate needs the client's certificate and its key.",
                "Give --certificate PATH and --key PATH, both in PEM.",
            )
    elif target.authentication == "kerberos":
        if "\\" in target.user:
            raise InvalidRequest(
                f"{target.user} cannot log in by Kerberos under this name.",
                "Give NAME, or NAME@REALM with the realm in capitals.",
            )
    elif target.password is None:
        raise InvalidRequest(
            f"A login by {target.authentication.upper() if target.authentication == 'ntlm' else 'Basic'} "
            "needs a password.",
            "Say where it is: --password-from env:VARIABLE, file:PATH, command:COMMAND or prompt.",
        )
