"""Checks of what a person says about an environment, before anything is stored or sent.

Every refusal says what was expected. A text that may be a secret is never repeated in a message.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from dlpx_remote.environments.model import Authentication, EnvironmentSpec, HostType, SecretReference
from dlpx_remote.environments.vaults import KEYRING_FORM, VAULT_FORM
from dlpx_remote.environments.windows import check_windows
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.privilege import Privilege

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REFERENCE_LIKE = re.compile(r"(UNIX|WINDOWS)_HOST_ENVIRONMENT-\d+")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253}[A-Za-z0-9_])?\.?")
_USER = re.compile(r"[^\s@:/\x00-\x1f\x7f-][^\s:/\x00-\x1f\x7f]{0,254}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYRING = re.compile(r"[^/]+(/[^/]+)*/[^/]+")
_VAULT = re.compile(r"[^/#]+/[^#]*[^/#]#[^#]+")
_REFERENCE_FORMS = (
    "env:VARIABLE, file:PATH, command:COMMAND, keyring:SERVICE/ACCOUNT, vault:MOUNT/PATH#KEY, "
    "credential:NAME or prompt"
)


@dataclass(frozen=True)
class Address:
    """``user@host:port`` taken apart; user and port may be missing."""

    host: str
    user: str | None = None
    port: int | None = None


def parse_address(text: str, what: str = "The host") -> Address:
    """``[user@]host[:port]``, an IPv6 address with a port in brackets.

    Args:
        text: what the person wrote.
        what: how the message names it.

    Raises:
        InvalidRequest: says what is wrong and shows the form.
    """
    form = "Write it as user@host, user@host:port, or user@[2001:db8::1]:port."
    user, separator, place = text.rpartition("@")
    if separator:
        check_user(user)
    host, port = _split_port(place)
    if not host:
        raise InvalidRequest(f"{what} {text!r} has no host name.", form)
    if "/" in text:
        raise InvalidRequest(f"{what} {text!r} is not an address.", form)
    check_host(host)
    number: int | None = None
    if port is not None:
        if not port.isascii() or not port.isdigit():
            raise InvalidRequest(f"{what} {text!r} has a port that is not a number.", form)
        number = int(port)
        check_port(number)
    return Address(host, user or None, number)


def _split_port(place: str) -> tuple[str, str | None]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest[1:] if rest.startswith(":") else None
    if place.count(":") == 1:
        host, _, port = place.partition(":")
        return host, port
    return place, None


def parse_secret_reference(text: str, what: str = "The secret") -> SecretReference:
    """A reference from its text, ``env:VAR`` and its like; anything else may be the secret itself.

    Raises:
        InvalidRequest: without repeating ``text``.
    """
    kind, separator, value = text.partition(":")
    if text == "prompt":
        return SecretReference("prompt")
    match kind if separator else "":
        case "env":
            reference = SecretReference("env", value)
        case "file":
            reference = SecretReference("file", value)
        case "command":
            reference = SecretReference("command", value)
        case "keyring":
            reference = SecretReference("keyring", value)
        case "vault":
            reference = SecretReference("vault", value)
        case "credential":
            reference = SecretReference("credential", value)
        case _:
            raise InvalidRequest(
                f"{what} must be a reference to where the secret is, not the secret itself.",
                f"Write {_REFERENCE_FORMS}. If what you wrote was a real secret, your shell may have kept it "
                "in its history.",
            )
    check_secret_reference(reference, what)
    return reference


def check_secret_reference(reference: SecretReference, what: str = "The secret") -> None:
    """Refuse a reference that can never be resolved."""
    if reference.kind not in ("env", "file", "command", "keyring", "vault", "credential", "prompt"):
        raise InvalidRequest(f"{what} has an unknown kind of reference.", f"Use {_REFERENCE_FORMS}.")
    if reference.kind == "prompt":
        if reference.value:
            raise InvalidRequest(f"{what} takes nothing after 'prompt'.", "Write just: prompt.")
        return
    if not reference.value.strip() or "\x00" in reference.value:
        raise InvalidRequest(
            f"{what} names no place after '{reference.kind}:'.", f"Write {_REFERENCE_FORMS}."
        )
    if reference.kind == "keyring" and not _KEYRING.fullmatch(reference.value):
        raise InvalidRequest(
            f"{what} names no account of the keyring.", f"Write {KEYRING_FORM}, as in keyring:databases/anna."
        )
    if reference.kind == "vault" and not _VAULT.fullmatch(reference.value):
        raise InvalidRequest(
            f"{what} names no key of a secret in Vault.", f"Write {VAULT_FORM}, as in vault:kv/db1#password."
        )
    if reference.kind == "credential":
        check_credential_name(reference.value)
    if reference.kind == "env" and not _VARIABLE.fullmatch(reference.value):
        raise InvalidRequest(
            f"{what} does not name an environment variable after 'env:'.",
            "Give the variable's name (letters, digits, underscores), not its value.",
        )


def check_credential_name(name: str) -> None:
    """Refuse names that would be unusable on a command line."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of a credential.",
            "Use at most 100 letters, digits, '.', '_' and '-', with a letter or digit first.",
        )


def check_environment_name(name: str) -> None:
    """Refuse names that would be unusable on a command line or confused with a reference."""
    if _REFERENCE_LIKE.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} has the form of a reference, which the engine gives out itself.",
            "Choose another name, for example the host's.",
        )
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of an environment.",
            "Use at most 100 letters, digits, '.', '_' and '-', with a letter or digit first.",
        )


def check_host(host: str) -> None:
    """Refuse what is neither a name, an address nor an alias of ``ssh_config``."""
    address, _, _scope = host.partition("%")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise InvalidRequest(
                f"{host!r} is neither a host name nor an address.",
                "Give a name, an IP address, or a Host of your ~/.ssh/config; the user goes into --user and "
                "the port into --port.",
            ) from None


def check_user(user: str) -> None:
    """Refuse an empty login name and characters that no login name has."""
    if ":" in user:
        raise InvalidRequest(
            "The user's name has a colon in it; a password must not be written there.",
            f"Give the password with --password-from {_REFERENCE_FORMS}.",
        )
    if not _USER.fullmatch(user):
        raise InvalidRequest(f"{user!r} cannot be a login name.", "Give the account's name on the host.")


def check_port(port: int) -> None:
    """Refuse what is no TCP port."""
    if isinstance(port, bool) or not 1 <= port <= 65535:
        raise InvalidRequest(f"{port} is not a port.", "Give a number from 1 to 65535; SSH usually has 22.")


def check_fingerprint(fingerprint: str) -> None:
    """Refuse what is not the SHA-256 fingerprint that OpenSSH prints."""
    if _FINGERPRINT.fullmatch(fingerprint):
        return
    if re.fullmatch(r"(MD5:)?([0-9a-fA-F]{2}:){15}[0-9a-fA-F]{2}", fingerprint):
        raise InvalidRequest(
            "An MD5 fingerprint does not identify a host key safely.",
            "Give the SHA-256 one: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the host prints it.",
        )
    raise InvalidRequest(
        f"{fingerprint!r} is not a host key's fingerprint.",
        "It looks like SHA256:hq3L…, with 43 characters after the colon; "
        "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the host prints it.",
    )


def check_directory(directory: str) -> None:
    """Refuse a directory on the host that is not absolute, or that is not the engine's alone."""
    parts = [part for part in directory.split("/") if part]
    if not directory.startswith("/") or ".." in parts or "\x00" in directory or "\n" in directory:
        raise InvalidRequest(
            f"The directory {directory!r} is not an absolute path on the host.",
            "Give one such as /var/opt/dlpx-remote, without '..'.",
        )
    if len(parts) < 2:
        raise InvalidRequest(
            f"The directory {directory!r} is not the engine's alone.",
            "Give a directory of its own, such as /var/opt/dlpx-remote; the engine makes it.",
        )


def check_authentication(authentication: Authentication) -> None:
    """Refuse references that cannot be resolved and a passphrase without a key."""
    if authentication.password_from is not None:
        check_secret_reference(authentication.password_from, "--password-from")
    if authentication.passphrase_from is not None:
        check_secret_reference(authentication.passphrase_from, "--passphrase-from")
        if authentication.key is None and authentication.key_from is None:
            raise InvalidRequest(
                "A passphrase was given without a key.", "Add --key PATH, or leave out --passphrase-from."
            )
    if authentication.key_from is not None:
        check_secret_reference(authentication.key_from, "--key-from")
        if authentication.key is not None:
            raise InvalidRequest("There are two keys.", "Give either --key or --key-from.")
        if authentication.key_from.kind == "prompt":
            raise InvalidRequest(
                "A private key cannot be asked for at the terminal.",
                "Say where it is: --key PATH, or --key-from vault:MOUNT/PATH#KEY or another place.",
            )
    if authentication.key is not None:
        if "PRIVATE KEY" in authentication.key or "\n" in authentication.key:
            raise InvalidRequest(
                "The key must be the path of a key file, not the key itself.",
                "Save it to a file: --key PATH.",
            )
        if not authentication.key.strip():
            raise InvalidRequest("The path of the key is empty.", "Give --key PATH, or leave it out.")
    if authentication.certificate is not None and not authentication.certificate.strip():
        raise InvalidRequest(
            "The path of the certificate is empty.", "Give --certificate PATH, or leave it out."
        )


def check_privilege(way: str, password_from: SecretReference | None) -> None:
    """Refuse an unknown way to other privileges, and a password for what asks for none."""
    privilege = Privilege.parse(way)
    if password_from is None:
        return
    check_secret_reference(password_from, "--privilege-password-from")
    if privilege.kind != "sudo":
        raise InvalidRequest(
            f"A password can be given to sudo only, not with {way}.",
            "Leave out --privilege-password-from, or use --privilege sudo.",
        )


def check_spec(spec: EnvironmentSpec) -> None:
    """Every check of one environment.

    Raises:
        InvalidRequest: the first thing that cannot be.
    """
    check_environment_name(spec.name)
    check_host(spec.host)
    if spec.user is not None:
        check_user(spec.user)
    if spec.port is not None:
        check_port(spec.port)
    for jump in spec.jump:
        parse_address(jump, "The jump host")
    if spec.host_key not in ("strict", "accept-new", "off"):
        raise InvalidRequest(
            f"{spec.host_key!r} is not a way to check host keys.", "Use strict, accept-new or off."
        )
    check_authentication(spec.authentication)
    if spec.host_type is HostType.WINDOWS:
        check_windows(spec)
        return
    if spec.windows is not None or spec.authentication.certificate is not None:
        raise InvalidRequest(
            "Scheme, authentication, CA file and certificate are about Windows hosts.",
            "Add --os windows, or leave them out.",
        )
    if spec.fingerprint is not None:
        check_fingerprint(spec.fingerprint)
    if spec.directory is not None:
        check_directory(spec.directory)
    check_privilege(spec.privilege, spec.privilege_password_from)
