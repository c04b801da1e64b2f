"""The options on how to log in to a host, and the values of the engine made from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.bundles import Bundle
from dlpx_remote.cli.options import SECRET, reference
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import Authentication, EnvironmentSpec, WindowsAccess


class HostKey(StrEnum):
    """What to do with a host's key."""

    STRICT = "strict"
    ACCEPT_NEW = "accept-new"
    OFF = "off"


class OperatingSystem(StrEnum):
    """The kind of host."""

    UNIX = "unix"
    WINDOWS = "windows"


class Scheme(StrEnum):
    """What WinRM is spoken over."""

    HTTPS = "https"
    HTTP = "http"


class WindowsLogin(StrEnum):
    """How users log in to a Windows host."""

    NTLM = "ntlm"
    BASIC = "basic"
    KERBEROS = "kerberos"
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class UserLogin(Bundle):
    """How one user gets in."""

    key: Annotated[
        str | None, typer.Option("--key", metavar="PATH", help="Private key file to log in with.")
    ] = None
    key_from: Annotated[
        str | None,
        typer.Option("--key-from", metavar="WHERE", help=f"Where the private key itself is: {SECRET}."),
    ] = None
    agent: Annotated[bool, typer.Option("--agent", help="Offer the keys of the running SSH agent.")] = False
    password_from: Annotated[
        str | None, typer.Option("--password-from", metavar="WHERE", help=f"Where the password is: {SECRET}.")
    ] = None
    passphrase_from: Annotated[
        str | None,
        typer.Option("--passphrase-from", metavar="WHERE", help=f"Where the key's passphrase is: {SECRET}."),
    ] = None
    certificate: Annotated[
        str | None,
        typer.Option(
            "--certificate", metavar="PATH", help="Windows: log in with this certificate and --key."
        ),
    ] = None

    def authentication(self) -> Authentication:
        """As the engine takes it.

        Raises:
            InvalidRequest: a reference to a secret has no known form; it is not repeated.
        """
        from dlpx_remote.engine import Authentication

        return Authentication(
            agent=self.agent,
            key=self.key,
            key_from=reference(self.key_from, "--key-from"),
            passphrase_from=reference(self.passphrase_from, "--passphrase-from"),
            password_from=reference(self.password_from, "--password-from"),
            certificate=self.certificate,
        )


@dataclass(frozen=True)
class HostLogin(UserLogin):
    """How a host is reached, and how its user gets in."""

    jump: Annotated[
        list[str] | None,
        typer.Option("--jump", metavar="USER@HOST:PORT", help="Go through this host; repeat in order."),
    ] = None
    system: Annotated[OperatingSystem, typer.Option("--os", help="The kind of host.")] = OperatingSystem.UNIX
    host_key: Annotated[
        HostKey,
        typer.Option(
            "--host-key",
            help="strict: only hosts in known_hosts; accept-new: remember a new host's key; off: check "
            "nothing. On Windows about the certificate: strict or off.",
        ),
    ] = HostKey.STRICT
    fingerprint: Annotated[
        str | None,
        typer.Option(
            "--fingerprint",
            metavar="SHA256:…",
            help="Accept this host key and no other; on Windows the thumbprint of the certificate.",
        ),
    ] = None
    scheme: Annotated[
        Scheme | None,
        typer.Option("--scheme", help="Windows: what WinRM is spoken over; https unless given."),
    ] = None
    login: Annotated[
        WindowsLogin | None,
        typer.Option("--authentication", help="Windows: how to log in; ntlm unless given."),
    ] = None
    ca_file: Annotated[
        str | None,
        typer.Option("--ca-file", metavar="PATH", help="Windows: trust these authorities, not the system's."),
    ] = None
    unencrypted: Annotated[
        bool,
        typer.Option(
            "--allow-unencrypted",
            help="Windows: Basic over HTTP, where everybody on the network can read the password.",
        ),
    ] = False

    def specification(
        self,
        name: str | None,
        host: str,
        *,
        user: str | None = None,
        port: int | None = None,
        directory: str | None = None,
        privilege: str = "sudo",
        privilege_password_from: str | None = None,
    ) -> EnvironmentSpec:
        """An environment as the options describe it.

        Args:
            name: None takes the host's.
            host: a host, or ``user@host:port`` in one.
            user: login name.
            port: of the host.
            directory: the engine's on the host.
            privilege: how the user becomes root.
            privilege_password_from: where sudo's password is.

        Raises:
            InvalidRequest: user or port is said twice, ``host`` is no address, or an option does not fit.
        """
        from dlpx_remote.engine import EnvironmentSpec, HostType, parse_address

        address = parse_address(host)
        for option, said, also in (("--user", user, address.user), ("--port", port, address.port)):
            if said is not None and also is not None and said != also:
                raise InvalidRequest(
                    f"{option} says {said}, but --host says {also}.", "Say it once, in either of the two."
                )
        return EnvironmentSpec(
            name=name if name is not None else address.host,
            host=address.host,
            user=user if user is not None else address.user,
            port=port if port is not None else address.port,
            host_type=HostType[self.system.name],
            authentication=self.authentication(),
            jump=tuple(self.jump or ()),
            host_key=self.host_key.value,
            fingerprint=self.fingerprint,
            directory=directory,
            privilege=privilege,
            privilege_password_from=reference(privilege_password_from, "--privilege-password-from"),
            windows=self._windows_access(),
        )

    def _windows_access(self) -> WindowsAccess | None:
        """How a Windows host is reached; None where nothing was said about it."""
        from dlpx_remote.engine import WindowsAccess

        if self.scheme is None and self.login is None and self.ca_file is None and not self.unencrypted:
            return None
        if self.system is not OperatingSystem.WINDOWS:
            raise InvalidRequest(
                "--scheme, --authentication, --ca-file and --allow-unencrypted are about Windows hosts.",
                "Add --os windows, or leave them out.",
            )
        return WindowsAccess(
            scheme=(self.scheme or Scheme.HTTPS).value,
            login=(self.login or WindowsLogin.NTLM).value,
            ca_file=self.ca_file,
            unencrypted=self.unencrypted,
        )
