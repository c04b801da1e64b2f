"""Values that every part of the SDK shares. Knows nothing of operations or of an engine."""

from dlpx.virtualization.common._common_classes import (
    Credentials,
    KeyPairCredentials,
    PasswordCredentials,
    RemoteConnection,
    RemoteEnvironment,
    RemoteHost,
    RemoteUser,
)

__all__ = [
    "Credentials",
    "KeyPairCredentials",
    "PasswordCredentials",
    "RemoteConnection",
    "RemoteEnvironment",
    "RemoteHost",
    "RemoteUser",
]
