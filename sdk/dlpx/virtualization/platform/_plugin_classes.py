"""The values that plugin operations take and return, apart from those generated from the plugin's schemas.

Sources are built by the engine, mounts and specifications by plugins, so the latter check every parameter.
They
are not frozen and have no slots: plugins in the field hang attributes of their own on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dlpx.virtualization.common import RemoteConnection, RemoteEnvironment, RemoteHost
from dlpx.virtualization.common._checks import check_parameter
from dlpx.virtualization.common.exceptions import IncorrectTypeError
from dlpx.virtualization.platform.exceptions import IncorrectReferenceFormatError

__all__ = [
    "DirectSource",
    "MigrationType",
    "Mount",
    "MountSpecification",
    "OwnershipSpecification",
    "StagedSource",
    "Status",
    "VirtualSource",
]

_ENVIRONMENT_REFERENCE = re.compile(r"(UNIX|WINDOWS)_HOST_ENVIRONMENT-[0-9]+")


class Status(Enum):
    """Whether a source is in working order."""

    ACTIVE = 0
    INACTIVE = 1


class MigrationType(Enum):
    """What a migration starts from: an earlier version of this plugin, or the Lua toolkit it replaces."""

    PLATFORM = 0
    LUA = 1


@dataclass(eq=False)
class Mount:
    """A directory of an environment onto which a data set, or a part of it, is mounted.

    Args:
        remote_environment: the environment, or its reference as a string.
        mount_path: the directory on the environment.
        shared_path: the part of the data set to mount; None for all of it.

    Attributes:
        remote_environment: always a RemoteEnvironment; where a reference was given, only its reference
        counts.
        mount_path, shared_path: as given.

    Raises:
        IncorrectTypeError: a parameter has the wrong type.
        IncorrectReferenceFormatError: the string is no reference of an environment.
    """

    remote_environment: RemoteEnvironment
    mount_path: str
    shared_path: str | None

    def __init__(
        self, remote_environment: RemoteEnvironment | str, mount_path: str, shared_path: str | None = None
    ) -> None:
        if isinstance(remote_environment, str):
            remote_environment = _environment_of(remote_environment)
        elif not isinstance(remote_environment, RemoteEnvironment):
            raise IncorrectTypeError(
                Mount, "remote_environment", type(remote_environment), [RemoteEnvironment, str]
            )
        self.remote_environment = remote_environment
        self.mount_path = mount_path
        self.shared_path = shared_path
        check_parameter(self, "mount_path", str)
        check_parameter(self, "shared_path", str, required=False)


def _environment_of(reference: str) -> RemoteEnvironment:
    """An environment of which only the reference is known."""
    if not _ENVIRONMENT_REFERENCE.fullmatch(reference):
        raise IncorrectReferenceFormatError(reference)
    return RemoteEnvironment(reference, reference, RemoteHost("unknown", "unknown", "", ""))


@dataclass(eq=False)
class OwnershipSpecification:
    """Who owns the mounted files on a Unix host.

    Attributes:
        uid: numeric user id.
        gid: numeric group id.

    Raises:
        IncorrectTypeError: a parameter is not an int (a bool is not), or is negative.
    """

    uid: int
    gid: int

    def __post_init__(self) -> None:
        for name, value in (("uid", self.uid), ("gid", self.gid)):
            check_parameter(self, name, int)
            if value < 0:
                raise IncorrectTypeError(OwnershipSpecification, name, str(value), "an int of 0 or more")


@dataclass(eq=False)
class MountSpecification:
    """Where a source's data set is to be mounted, and who owns it there.

    Attributes:
        mounts: one Mount or more.
        ownership_specification: None leaves ownership to the environment user.

    Raises:
        IncorrectTypeError: a parameter has the wrong type.
    """

    mounts: list[Mount]
    ownership_specification: OwnershipSpecification | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mounts, list):
            raise IncorrectTypeError(MountSpecification, "mounts", type(self.mounts), [Mount])
        if not all(isinstance(mount, Mount) for mount in self.mounts):
            found = [type(mount) for mount in self.mounts]
            raise IncorrectTypeError(MountSpecification, "mounts", found, [Mount])
        check_parameter(self, "ownership_specification", OwnershipSpecification, required=False)


# The definitions in ``parameters`` may hold secrets, and so are kept out of every repr below.


@dataclass(eq=False)
class DirectSource:
    """A dSource that is linked without staging.

    Attributes:
        guid: identifies the source for its whole life.
        connection: the environment that holds the data, and the user to act as.
        parameters: the operator's input, a LinkedSourceDefinition.

    Raises:
        IncorrectTypeError: the connection is no RemoteConnection.
    """

    guid: str
    connection: RemoteConnection
    parameters: Any = field(repr=False)

    def __post_init__(self) -> None:
        check_parameter(self, "connection", RemoteConnection)


@dataclass(eq=False)
class StagedSource:
    """A dSource that is linked through a staging environment.

    Attributes:
        guid: identifies the source for its whole life.
        source_connection: the environment that holds the original data.
        parameters: the operator's input, a LinkedSourceDefinition.
        mount: the one mount, where there is one.
        staged_connection: the staging environment.
        mounts: all mounts, where there are several.

    Raises:
        IncorrectTypeError: a connection is no RemoteConnection.
    """

    guid: str
    source_connection: RemoteConnection
    parameters: Any = field(repr=False)
    mount: Mount | None
    staged_connection: RemoteConnection
    mounts: list[Mount] | None = None

    def __post_init__(self) -> None:
        check_parameter(self, "source_connection", RemoteConnection)
        check_parameter(self, "staged_connection", RemoteConnection)


@dataclass(eq=False)
class VirtualSource:
    """A thin clone of a snapshot (a VDB).

    Attributes:
        guid: identifies the source for its whole life.
        connection: the environment on which the clone is mounted, and the user to act as.
        parameters: the operator's input, a VirtualSourceDefinition.
        mounts: where the clone is mounted.

    Raises:
        IncorrectTypeError: the connection is no RemoteConnection.
    """

    guid: str
    connection: RemoteConnection
    parameters: Any = field(repr=False)
    mounts: list[Mount]

    def __post_init__(self) -> None:
        check_parameter(self, "connection", RemoteConnection)
