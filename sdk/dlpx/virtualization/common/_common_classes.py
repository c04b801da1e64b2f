"""What a plugin knows of a remote machine: connection, environment, host, user; and retrieved credentials.

These are plain values. They hold no address and no secret of the engine's; the engine resolves a connection
by the references of its environment and user alone, so a plugin may build one itself. They are not frozen,
because plugins in the field hang attributes of their own on what they are handed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dlpx.virtualization.common._checks import check_parameter

__all__ = [
    "Credentials",
    "KeyPairCredentials",
    "PasswordCredentials",
    "RemoteConnection",
    "RemoteEnvironment",
    "RemoteHost",
    "RemoteUser",
]


@dataclass(unsafe_hash=True)
class RemoteHost:
    """A machine.

    Attributes:
        name: as the operator calls it.
        reference: names it to the engine.
        binary_path: directory on the host with the engine's helper programs.
        scratch_path: directory on the host where a plugin may leave files.

    Raises:
        IncorrectTypeError: a parameter is not a str.
    """

    name: str
    reference: str
    binary_path: str
    scratch_path: str

    def __post_init__(self) -> None:
        for name in ("name", "reference", "binary_path", "scratch_path"):
            check_parameter(self, name, str)


@dataclass(unsafe_hash=True)
class RemoteEnvironment:
    """A host as the engine knows it: with users, repositories and sources.

    Attributes:
        name: as the operator calls it.
        reference: names it to the engine, ``UNIX_HOST_ENVIRONMENT-<n>`` or ``WINDOWS_HOST_ENVIRONMENT-<n>``.
        host: the machine.

    Raises:
        IncorrectTypeError: a parameter has the wrong type.
    """

    name: str
    reference: str
    host: RemoteHost

    def __post_init__(self) -> None:
        check_parameter(self, "name", str)
        check_parameter(self, "reference", str)
        check_parameter(self, "host", RemoteHost)


@dataclass(unsafe_hash=True)
class RemoteUser:
    """An account on an environment.

    Attributes:
        name: the login name.
        reference: names it to the engine, ``HOST_USER-<n>``.

    Raises:
        IncorrectTypeError: a parameter is not a str.
    """

    name: str
    reference: str

    def __post_init__(self) -> None:
        check_parameter(self, "name", str)
        check_parameter(self, "reference", str)


@dataclass(unsafe_hash=True)
class RemoteConnection:
    """An environment and the user to act as: what the functions of ``libs`` take.

    Attributes:
        environment: where.
        user: as whom.

    Raises:
        IncorrectTypeError: a parameter has the wrong type.
    """

    environment: RemoteEnvironment
    user: RemoteUser

    def __post_init__(self) -> None:
        check_parameter(self, "environment", RemoteEnvironment)
        check_parameter(self, "user", RemoteUser)


@dataclass(unsafe_hash=True)
class Credentials:
    """What ``libs.retrieve_credentials`` returns: one of the two subclasses.

    Attributes:
        username: the account; empty where the credentials are for no account in particular.

    Raises:
        IncorrectTypeError: a parameter is not a str.
    """

    username: str

    def __post_init__(self) -> None:
        check_parameter(self, "username", str)


@dataclass(unsafe_hash=True)
class PasswordCredentials(Credentials):
    """A password. It is kept out of the object's repr.

    Attributes:
        password: the secret.
    """

    password: str = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parameter(self, "password", str)


@dataclass(unsafe_hash=True)
class KeyPairCredentials(Credentials):
    """A key pair. Both halves are kept out of the object's repr.

    Attributes:
        private_key: the secret.
        public_key: empty where there is none.
    """

    private_key: str = field(repr=False)
    public_key: str = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parameter(self, "private_key", str)
        check_parameter(self, "public_key", str)
