"""Values of the environments room: what is configured of a host and its users, and what is known of them.

Records hold references to secrets, never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Literal, Self


class HostType(Enum):
    """The kind of host, as ``hostTypes`` in ``plugin_config.yml`` names it."""

    UNIX = "UNIX"
    WINDOWS = "WINDOWS"


HostKeyPolicy = Literal["strict", "accept-new", "off"]
WinrmScheme = Literal["https", "http"]
WinrmLogin = Literal["ntlm", "basic", "kerberos", "certificate"]


@dataclass(frozen=True)
class SecretReference:
    """Where a secret is found when it is needed.

    Attributes:
        kind: ``env`` (variable), ``file`` (first line of a file), ``command`` (first line it prints),
            ``keyring`` (the system's), ``vault`` (HashiCorp's), ``credential`` (one that was given a name) or
            ``prompt`` (asked of the person at the terminal).
        value: the variable's name, the path, the command line, ``SERVICE/ACCOUNT``, ``MOUNT/PATH#KEY``, the
            credential's name; empty for ``prompt``.
    """

    kind: Literal["env", "file", "command", "keyring", "vault", "credential", "prompt"]
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind


@dataclass(frozen=True)
class Authentication:
    """How one user gets in. Every field is optional; what is given is offered, in this order.

    Attributes:
        agent: offer the keys of the running SSH agent.
        key: path of a private key file (a certificate beside it is used).
        passphrase_from: where the key's passphrase is.
        password_from: where the password is (also answers keyboard-interactive).
        certificate: path of the certificate (PEM) that belongs to the key; on Windows hosts only.
        key_from: where the private key itself is, in place of ``key``.
    """

    agent: bool = False
    key: str | None = None
    passphrase_from: SecretReference | None = None
    password_from: SecretReference | None = None
    certificate: str | None = None
    key_from: SecretReference | None = None


CredentialKind = Literal["password", "keyPair"]
Expected = Literal["any", "password", "keyPair"]
"""What a secret has to be where it is used, as credentials suppliers of plugins name it."""


@dataclass(frozen=True)
class Credential:
    """A password or a key pair that was given a name: where it is, and for which account.

    Attributes:
        name: unique among credentials.
        kind: ``password`` or ``keyPair``.
        secret_from: where the password or the private key is.
        username: of the account; empty where it is for none in particular, or ``username_from`` says it.
        username_from: where the account's name is.
        public_key: of a key pair; None takes it from the private key.
    """

    name: str
    kind: CredentialKind
    secret_from: SecretReference
    username: str = ""
    username_from: SecretReference | None = None
    public_key: str | None = None


@dataclass(frozen=True)
class WindowsAccess:
    """How a Windows host is reached.

    Attributes:
        scheme: ``https``, or ``http``, where NTLM and Kerberos encrypt the messages themselves.
        login: how users log in.
        ca_file: certificates (PEM) of the authorities to trust instead of the system's.
        unencrypted: Basic over HTTP is meant, which everybody on the network can read.
    """

    scheme: WinrmScheme = "https"
    login: WinrmLogin = "ntlm"
    ca_file: str | None = None
    unencrypted: bool = False


@dataclass(frozen=True)
class EnvironmentUser:
    """A user of an environment.

    Attributes:
        reference: ``HOST_USER-<n>``.
        name: the login name.
        authentication: how it gets in.
        primary: True for the one that operations run as unless another is asked for.
    """

    reference: str
    name: str
    authentication: Authentication
    primary: bool


@dataclass(frozen=True)
class HostFacts:
    """What the last test or refresh found on a host."""

    operating_system: str = ""
    kernel: str = ""
    architecture: str = ""
    hostname: str = ""
    uid: int | None = None
    gid: int | None = None
    home: str = ""
    shell: str = ""
    locale: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, known: object) -> Self:
        """From whatever has them as attributes of the same names: a transport's facts, a stored record."""
        return cls(**{each.name: getattr(known, each.name) for each in fields(cls)})


@dataclass(frozen=True)
class EnvironmentSpec:
    """What a person says when adding an environment.

    Attributes:
        name: unique among environments.
        host: a name, an address, or a ``Host`` of ``~/.ssh/config``.
        user: login name of the primary user; None takes ``ssh_config``'s, else the current user's.
        port: None takes ``ssh_config``'s, else 22.
        host_type: Unix or Windows.
        authentication: how the primary user gets in; nothing given means agent, then default keys.
        jump: jump hosts as ``user@host:port``, in order.
        host_key: what to do with the host's key.
        fingerprint: ``SHA256:…``; pins the host key and overrides the policy.
        directory: the engine's directory on the host (toolkit and scratch below it);
            None means ``.dlpx-remote`` in the user's home.
        privilege: how a user becomes root, or another user, for what the engine itself has to do on the host
            (mounting): ``sudo``, ``doas``, ``command:WORDS`` or ``none``.
        privilege_password_from: where the password is that sudo asks the user for; None where it asks for
            none.
        windows: how a Windows host is reached, None for the defaults; there ``host_key`` and ``fingerprint``
            are about its certificate.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    host_type: HostType = HostType.UNIX
    authentication: Authentication = field(default_factory=Authentication)
    jump: tuple[str, ...] = ()
    host_key: HostKeyPolicy = "strict"
    fingerprint: str | None = None
    directory: str | None = None
    privilege: str = "sudo"
    privilege_password_from: SecretReference | None = None
    windows: WindowsAccess | None = None


@dataclass(frozen=True)
class Environment:
    """A configured environment.

    Attributes:
        reference: ``UNIX_HOST_ENVIRONMENT-<n>`` or ``WINDOWS_HOST_ENVIRONMENT-<n>``.
        host_reference: ``UNIX_HOST-<n>`` or ``WINDOWS_HOST-<n>``.
        users: at least one, exactly one of them primary.
        facts: None before the first successful test, refresh or discovery.
        The other attributes are those of :class:`EnvironmentSpec`.
    """

    reference: str
    host_reference: str
    name: str
    host: str
    port: int | None
    host_type: HostType
    users: tuple[EnvironmentUser, ...]
    jump: tuple[str, ...] = ()
    host_key: HostKeyPolicy = "strict"
    fingerprint: str | None = None
    directory: str | None = None
    privilege: str = "sudo"
    privilege_password_from: SecretReference | None = None
    facts: HostFacts | None = None
    windows: WindowsAccess | None = None

    @property
    def primary_user(self) -> EnvironmentUser:
        """The user that operations run as unless another is asked for."""
        return next(user for user in self.users if user.primary)


StepOutcome = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class TestStep:
    """One line of ``env test``.

    Attributes:
        name: what was tried (``name resolves``, ``port answers``, ``host key``, ``login``, …).
        outcome: warning means that some operations will not work; skipped, that an earlier step failed.
        detail: what was found.
        action: what to do when it is not ok.
        duration: seconds.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: str
    outcome: StepOutcome
    detail: str = ""
    action: str = ""
    duration: float = 0.0


@dataclass(frozen=True)
class RemovedEnvironment:
    """What ``env remove`` did.

    Attributes:
        environment: as it was.
        directory: the engine's directory on the host; empty when none was ever made.
        cleaned: True when nothing of ours is left on the host.
        detail: why not, otherwise empty.
    """

    environment: Environment
    directory: str
    cleaned: bool
    detail: str = ""
