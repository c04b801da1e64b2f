"""Options that several commands share, and the values of the engine made from them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.output import Output
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import Authentication, EnvironmentSpec, SecretReference, WindowsAccess

_SECRET = "env:VAR, file:PATH, command:CMD, keyring:SERVICE/ACCOUNT, vault:MOUNT/PATH#KEY or prompt"  # noqa: S105  (the form of a reference, not a secret)


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


OutputOption = Annotated[Output, typer.Option("--output", help="How to print the result.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="PATH", help="Private key file to log in with.")
]
AgentOption = Annotated[bool, typer.Option("--agent", help="Offer the keys of the running SSH agent.")]
PasswordOption = Annotated[
    str | None, typer.Option("--password-from", metavar="WHERE", help=f"Where the password is: {_SECRET}.")
]
PassphraseOption = Annotated[
    str | None,
    typer.Option("--passphrase-from", metavar="WHERE", help=f"Where the key's passphrase is: {_SECRET}."),
]
JumpOption = Annotated[
    list[str] | None,
    typer.Option("--jump", metavar="USER@HOST:PORT", help="Go through this host; repeat in order."),
]
HostKeyOption = Annotated[
    HostKey,
    typer.Option(
        "--host-key",
        help="strict: only hosts in known_hosts; accept-new: remember a new host's key; off: check nothing. "
        "On Windows about the certificate: strict or off.",
    ),
]
FingerprintOption = Annotated[
    str | None,
    typer.Option(
        "--fingerprint",
        metavar="SHA256:…",
        help="Accept this host key and no other; on Windows the thumbprint of the certificate.",
    ),
]
SchemeOption = Annotated[
    Scheme | None, typer.Option("--scheme", help="Windows: what WinRM is spoken over; https unless given.")
]
LoginOption = Annotated[
    WindowsLogin | None,
    typer.Option("--authentication", help="Windows: how to log in; ntlm unless given."),
]
CaFileOption = Annotated[
    str | None,
    typer.Option("--ca-file", metavar="PATH", help="Windows: trust these authorities, not the system's."),
]
CertificateOption = Annotated[
    str | None,
    typer.Option("--certificate", metavar="PATH", help="Windows: log in with this certificate and --key."),
]
UnencryptedOption = Annotated[
    bool,
    typer.Option(
        "--allow-unencrypted",
        help="Windows: Basic over HTTP, where everybody on the network can read the password.",
    ),
]
SystemOption = Annotated[OperatingSystem, typer.Option("--os", help="The kind of host.")]
DirectoryOption = Annotated[
    str | None,
    typer.Option(
        "--directory",
        metavar="PATH",
        help="The engine's directory on the host; .dlpx-remote in the user's home unless given.",
    ),
]

PrivilegeOption = Annotated[
    str,
    typer.Option(
        "--privilege",
        metavar="WAY",
        help="How the user becomes root there: sudo, doas, none, or command: and the words of a program.",
    ),
]
PrivilegePasswordOption = Annotated[
    str | None,
    typer.Option(
        "--privilege-password-from",
        metavar="WHERE",
        help=f"Where the password is that sudo asks for: {_SECRET}.",
    ),
]


def authentication(
    *,
    agent: bool,
    key: str | None,
    passphrase_from: str | None,
    password_from: str | None,
    certificate: str | None = None,
) -> Authentication:
    """How a user gets in, from the options.

    Raises:
        InvalidRequest: a reference to a secret has no known form; it is not repeated.
    """
    from dlpx_remote.engine import Authentication, parse_secret_reference

    return Authentication(
        agent=agent,
        key=key,
        passphrase_from=parse_secret_reference(passphrase_from, "--passphrase-from")
        if passphrase_from is not None
        else None,
        password_from=parse_secret_reference(password_from, "--password-from")
        if password_from is not None
        else None,
        certificate=certificate,
    )


def windows_access(
    *,
    system: OperatingSystem,
    scheme: Scheme | None,
    login: WindowsLogin | None,
    ca_file: str | None,
    unencrypted: bool,
) -> WindowsAccess | None:
    """How a Windows host is reached, from the options; None where none of them was given.

    Raises:
        InvalidRequest: they are for Windows hosts, and this is none.
    """
    from dlpx_remote.engine import WindowsAccess

    if scheme is None and login is None and ca_file is None and not unencrypted:
        return None
    if system is not OperatingSystem.WINDOWS:
        raise InvalidRequest(
            "--scheme, --authentication, --ca-file and --allow-unencrypted are about Windows hosts.",
            "Add --os windows, or leave them out.",
        )
    return WindowsAccess(
        scheme=(scheme or Scheme.HTTPS).value,
        login=(login or WindowsLogin.NTLM).value,
        ca_file=ca_file,
        unencrypted=unencrypted,
    )


def privilege_password(where: str | None) -> SecretReference | None:
    """Where sudo's password is, from the option.

    Raises:
        InvalidRequest: the reference has no known form; it is not repeated.
    """
    from dlpx_remote.engine import parse_secret_reference

    return None if where is None else parse_secret_reference(where, "--privilege-password-from")


def specification(
    name: str | None,
    host: str,
    *,
    user: str | None,
    port: int | None,
    login: Authentication,
    jump: Sequence[str] | None,
    system: OperatingSystem,
    host_key: HostKey,
    fingerprint: str | None,
    directory: str | None,
    privilege: str = "sudo",
    privilege_password_from: str | None = None,
    windows: WindowsAccess | None = None,
) -> EnvironmentSpec:
    """An environment as the options describe it.

    Args:
        name: None takes the host's.
        host: a host, or ``user@host:port`` in one.

    Raises:
        InvalidRequest: user or port is said twice, or ``host`` is no address.
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
        host_type=HostType[system.name],
        authentication=login,
        jump=tuple(jump or ()),
        host_key=host_key.value,
        fingerprint=fingerprint,
        directory=directory,
        privilege=privilege,
        privilege_password_from=privilege_password(privilege_password_from),
        windows=windows,
    )
