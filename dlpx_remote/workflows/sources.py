"""Values of the life cycle: dSources and VDBs, their states, snapshots and hooks.

They are made of plain JSON values, because a workflow reads them once, in a recorded step, and goes by what
it read even when another process takes the job over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

from dlpx_remote.errors import InvalidRequest

Kind = Literal["dsource", "vdb"]
Interpreter = Literal["bash", "expect", "powershell"]

CREATING = "creating"
ENABLED = "enabled"
DISABLED = "disabled"
BROKEN = "broken"
"""What failed could not be undone; only deleting is possible."""

INTERVAL = 60
"""Seconds between two runs of ``linked.worker`` unless the dSource has its own."""

EVENTS = (
    "pre-sync",
    "post-sync",
    "configure-clone",
    "pre-snapshot",
    "post-snapshot",
    "pre-refresh",
    "post-refresh",
    "pre-rollback",
    "post-rollback",
    "pre-start",
    "post-start",
    "pre-stop",
    "post-stop",
)
"""The points at which hooks run."""

DSOURCE_EVENTS = ("pre-sync", "post-sync")


@dataclass(frozen=True)
class Mount:
    """A mount that a plugin asked for.

    Attributes:
        environment: reference.
        mount_path: directory on the host.
        shared_path: part of the data set; None for all of it.
    """

    environment: str
    mount_path: str
    shared_path: str | None = None


@dataclass(frozen=True)
class Footing:
    """What a source stands on: a volume, and where and how it is in force.

    Attributes:
        volume: name in the pool.
        origin: reference of the snapshot that the volume is a clone of; None for a data set of its own.
        mounts: as the plugin specified them last.
        owner: uid and gid that the plugin asked for; None leaves them to the environment user.
        source_config: of a VDB, what configure, reconfigure or initialize returned.
    """

    volume: str
    origin: str | None = None
    mounts: tuple[Mount, ...] = ()
    owner: tuple[int, int] | None = None
    source_config: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is recorded."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what :meth:`to_json` gave."""
        owner = value.get("owner")
        return cls(
            volume=value["volume"],
            origin=value.get("origin"),
            mounts=tuple(Mount(**mount) for mount in value.get("mounts") or ()),
            owner=None if owner is None else (owner[0], owner[1]),
            source_config=value.get("source_config"),
        )

    def with_mounts(self, specification: Mapping[str, Any]) -> Footing:
        """The same with what a mount specification says."""
        owner = specification.get("ownership")
        return replace(
            self,
            mounts=tuple(Mount(**mount) for mount in specification["mounts"]),
            owner=None if owner is None else (owner["uid"], owner["gid"]),
        )


@dataclass(frozen=True)
class Source:
    """A dSource or VDB.

    Attributes:
        reference: ``DSOURCE-<n>`` or ``VDB-<n>``.
        guid: what the plugin knows it by.
        kind: ``dsource`` or ``vdb``.
        name: unique among both.
        plugin: the plugin's identifier.
        plugin_name: its name.
        repository: reference.
        environment: reference of the environment with the original data, or of the VDB's target.
        user: reference of the environment user.
        source_config: reference of a dSource's; None for a VDB.
        staging_environment: reference, for a staged dSource.
        staging_user: reference, for a staged dSource.
        parameters: the operator's, by schema names; secrets are references to where they are.
        state: ``creating``, ``enabled``, ``disabled`` or ``broken``.
        active: it was started, or not stopped.
        current: what it stands on.
        previous: what it stood on before the last refresh or rollback.
        retired: what it stood on earlier, where snapshots still hang on it.
        generation: how many volumes it has had.
        interval: seconds between two runs of ``linked.worker``.
        status: what the plugin said last; empty before it was asked.
        status_time: when; ISO 8601.
        size: bytes, as the plugin said last; None before it was asked.
        size_time: when; ISO 8601.
        added: ISO 8601.
        changed: ISO 8601.
    """

    reference: str
    guid: str
    kind: Kind
    name: str
    plugin: str
    plugin_name: str
    repository: str
    environment: str
    user: str
    current: Footing
    source_config: str | None = None
    staging_environment: str | None = None
    staging_user: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    state: str = ENABLED
    active: bool = False
    previous: Footing | None = None
    retired: tuple[Footing, ...] = ()
    generation: int = 1
    interval: int = INTERVAL
    status: str = ""
    status_time: str = ""
    size: int | None = None
    size_time: str = ""
    added: str = ""
    changed: str = ""

    @property
    def staged(self) -> bool:
        """Whether it is a dSource that is linked through a staging environment."""
        return self.staging_environment is not None

    @property
    def place(self) -> tuple[str, str]:
        """References of the environment and user on which its data is mounted and its hooks run."""
        if self.staging_environment is not None and self.staging_user is not None:
            return self.staging_environment, self.staging_user
        return self.environment, self.user

    @property
    def footings(self) -> tuple[Footing, ...]:
        """All that it stands on or stood on and that is still there, the present first."""
        return (self.current, *([self.previous] if self.previous else []), *self.retired)

    def to_json(self) -> dict[str, Any]:
        """As it is recorded in a step."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what :meth:`to_json` gave."""
        previous = value.get("previous")
        return cls(
            **{
                **value,
                "current": Footing.from_json(value["current"]),
                "previous": None if previous is None else Footing.from_json(previous),
                "retired": tuple(Footing.from_json(each) for each in value.get("retired") or ()),
            }
        )


@dataclass(frozen=True)
class Snapshot:
    """A kept state of a source.

    Attributes:
        reference: ``SNAPSHOT-<n>``; also the name of its volume.
        source: reference of what it was taken of.
        source_name: its name.
        source_volume: the volume that it was taken of.
        parent: the snapshot that this state had come from.
        state: ``taking``, ``ready`` or ``deleting``.
        parameters: the operator's snapshot parameters.
        value: what the plugin returned.
        taken: ISO 8601, UTC.
    """

    reference: str
    source: str
    source_name: str
    source_volume: str
    parent: str | None
    state: str
    parameters: Mapping[str, Any] | None
    value: Mapping[str, Any] | None
    taken: str

    def to_json(self) -> dict[str, Any]:
        """As it is recorded in a step."""
        return asdict(self)


@dataclass(frozen=True)
class Script:
    """What a hook runs.

    Attributes:
        interpreter: ``bash``, ``expect`` or ``powershell``.
        login_shell: read the account's login files first (bash only).
        script: the text; empty where ``template`` names it.
        timeout: seconds; None for an hour.
    """

    interpreter: Interpreter = "bash"
    login_shell: bool = False
    script: str = ""
    timeout: int | None = None


@dataclass(frozen=True)
class Hook:
    """A script of the operator's at one point of an object's engine operations.

    Attributes:
        event: one of :data:`EVENTS`.
        name: unique for the object.
        script: what it runs.
        template: the name of the template that it runs instead.
    """

    event: str
    name: str
    script: Script = Script()
    template: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is recorded in a request."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what :meth:`to_json` gave."""
        return cls(**{**value, "script": Script(**value["script"])})


@dataclass(frozen=True)
class HookTemplate:
    """A script that hooks of several objects run."""

    name: str
    script: Script


class SourceInUse(InvalidRequest):
    """Something was made from it and is still there.

    Attributes:
        dependants: what, each as ``VDB masked`` or ``SNAPSHOT-3``.
    """

    def __init__(self, message: str, action: str = "", *, dependants: tuple[str, ...] = ()) -> None:
        super().__init__(message, action)
        self.dependants = dependants


class SizeUnknown(InvalidRequest):
    """A plugin does not say how large its dSources or VDBs are."""


class WrongState(InvalidRequest):
    """The object is not in a state in which this is possible."""


def moment(time: datetime | None) -> str:
    """A time as the values here hold it."""
    return "" if time is None else time.isoformat()
