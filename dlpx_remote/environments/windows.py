"""What is different about a Windows environment: what may be said of it, and the way into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dlpx_remote.environments.model import (
    Authentication,
    Environment,
    EnvironmentSpec,
    EnvironmentUser,
    WindowsAccess,
)
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.winrm.target import WinrmTarget, check_target, normal_thumbprint

_DIRECTORY = re.compile(r"[A-Za-z]:\\[^\\/:*?\"<>|\x00-\x1f]+(\\[^\\/:*?\"<>|\x00-\x1f]+)*\\?")


def check_windows(spec: EnvironmentSpec) -> None:
    """Refuse what has no meaning on a Windows host, or is not safe without being asked for.

    Raises:
        InvalidRequest: the first thing that cannot be.
    """
    if spec.user is None:
        raise InvalidRequest(
            "A Windows environment needs a user.", r"Give --user NAME, DOMAIN\NAME or NAME@DOMAIN."
        )
    if spec.jump:
        raise InvalidRequest(
            "Jump hosts are for SSH; a Windows host is reached directly.", "Leave out --jump."
        )
    if spec.host_key not in ("strict", "off"):
        raise InvalidRequest(
            f"{spec.host_key!r} is not a way to check the certificate of a Windows host.",
            "Use strict (an authority that is trusted, see --ca-file), --fingerprint, or off.",
        )
    if spec.fingerprint is not None:
        normal_thumbprint(spec.fingerprint)
    if spec.privilege != "sudo" or spec.privilege_password_from is not None:
        raise InvalidRequest(
            "There are no ways to other privileges on a Windows host.", "Leave out --privilege."
        )
    if spec.directory is not None:
        check_windows_directory(spec.directory)
    access = spec.windows or WindowsAccess()
    check_windows_login(access, spec.authentication)
    user = EnvironmentUser("", spec.user, spec.authentication, primary=True)
    check_target(_target(spec.host, spec.port, spec.fingerprint, spec.host_key, access, user, str))


def check_windows_login(access: WindowsAccess, authentication: Authentication) -> None:
    """Refuse credentials of SSH, and a certificate where none is asked for.

    Raises:
        InvalidRequest: says which.
    """
    if authentication.agent or authentication.passphrase_from is not None or authentication.key_from:
        raise InvalidRequest(
            "Windows hosts know neither an SSH agent nor a passphrase, and take keys from files only.",
            "Leave out --agent, --passphrase-from and --key-from; a certificate's key has no passphrase.",
        )
    by_certificate = access.login == "certificate"
    given = authentication.key is not None or authentication.certificate is not None
    if given and not by_certificate:
        raise InvalidRequest(
            "A key and a certificate have a meaning only where users log in by certificate.",
            "Add --authentication certificate, or leave them out.",
        )
    if not by_certificate and access.login != "kerberos" and authentication.password_from is None:
        raise InvalidRequest(
            f"A login by {'NTLM' if access.login == 'ntlm' else 'Basic'} needs a password.",
            "Say where it is: --password-from env:VARIABLE, file:PATH, command:COMMAND or prompt.",
        )


def check_windows_directory(directory: str) -> None:
    """Refuse a directory on the host that is not absolute, or that is a whole drive.

    Raises:
        InvalidRequest: shows the form.
    """
    if not _DIRECTORY.fullmatch(directory) or ".." in directory.split("\\"):
        raise InvalidRequest(
            f"The directory {directory!r} is not an absolute path on a Windows host.",
            r"Give one such as C:\ProgramData\dlpx-remote, with a drive and without '..'.",
        )


def winrm_target(
    environment: Environment, user: EnvironmentUser, password: Callable[[], str] | None
) -> WinrmTarget:
    """What the transport needs to know to reach ``user`` on ``environment``."""
    return _target(
        environment.host,
        environment.port,
        environment.fingerprint,
        environment.host_key,
        environment.windows or WindowsAccess(),
        user,
        password,
    )


def _target(  # noqa: PLR0917  # of two kinds of values that have these in common
    host: str,
    port: int | None,
    fingerprint: str | None,
    host_key: str,
    access: WindowsAccess,
    user: EnvironmentUser,
    password: Callable[[], str] | None,
) -> WinrmTarget:
    login = user.authentication
    return WinrmTarget(
        host=host,
        user=user.name,
        scheme=access.scheme,
        port=port,
        authentication=access.login,
        password=password,
        certificate=None if login.certificate is None else Path(login.certificate),
        key=None if login.key is None else Path(login.key),
        ca_file=None if access.ca_file is None else Path(access.ca_file),
        thumbprint=fingerprint,
        verify=host_key != "off",
        unencrypted=access.unencrypted,
    )
