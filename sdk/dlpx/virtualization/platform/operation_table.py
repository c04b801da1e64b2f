"""The table of plugin operations: one entry an operation and plugin type, and nothing else.

Decorators, the loader's checks, the dispatcher, the reference page and the tests all read this table.
Adding an operation is adding one entry. Source: the specification of plugin operations and its later
additions (initialize, cleanup, source_size, upgrade).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PluginType(Enum):
    """How a plugin links its sources (``pluginType`` in ``plugin_config.yml``)."""

    DIRECT = "DIRECT"
    STAGED = "STAGED"


class ArgumentKind(Enum):
    """What a plugin operation is handed under one argument name."""

    CONNECTION = "RemoteConnection"
    REPOSITORY = "RepositoryDefinition"
    SOURCE_CONFIG = "SourceConfigDefinition"
    DIRECT_SOURCE = "DirectSource"
    STAGED_SOURCE = "StagedSource"
    VIRTUAL_SOURCE = "VirtualSource"
    SNAPSHOT = "SnapshotDefinition"
    SNAPSHOT_PARAMETERS = "SnapshotParametersDefinition"
    MIGRATED_OBJECT = "dict"


class ResultKind(Enum):
    """What a plugin operation must return."""

    NONE = "None"
    REPOSITORIES = "list of RepositoryDefinition"
    SOURCE_CONFIGS = "list of SourceConfigDefinition"
    SNAPSHOT = "SnapshotDefinition"
    SOURCE_CONFIG = "SourceConfigDefinition"
    MOUNT_SPECIFICATION = "MountSpecification"
    STATUS = "Status"
    SIZE = "int (bytes)"
    MIGRATED_OBJECT = "dict"


class WhenMissing(Enum):
    """What happens in an engine operation when the plugin does not implement the plugin operation."""

    FAIL = "the engine operation fails"
    SKIP = "the step is skipped"
    ACTIVE = "the status is ACTIVE"
    UNKNOWN = "the size is unknown"
    NOT_OFFERED = "the engine operation is not offered"


@dataclass(frozen=True)
class Argument:
    """One argument of a plugin operation.

    Attributes:
        name: the name in the specification; arguments are passed by keyword.
        kind: what is passed.
        aliases: other names that plugins in the field use for the same argument.
        optional: True when a plugin function may leave the argument out.
    """

    name: str
    kind: ArgumentKind
    aliases: tuple[str, ...] = ()
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which a function may take this argument."""
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class Operation:
    """One plugin operation.

    Attributes:
        name: ``<group>.<attribute>`` as in the decorator, for example ``linked.pre_snapshot``.
        title: the heading in the specification.
        arguments: in the order of the specification's signature.
        result: what the function must return.
        when_missing: what an engine operation does without it.
        plugin_types: for which plugin types it exists.
        engine_operations: the engine operations that call it.
        takes_migration_id: the decorator takes a migration id (upgrade operations).
    """

    name: str
    title: str
    arguments: tuple[Argument, ...]
    result: ResultKind
    when_missing: WhenMissing
    plugin_types: frozenset[PluginType]
    engine_operations: tuple[str, ...] = ()
    takes_migration_id: bool = False

    @property
    def group(self) -> str:
        """The decorator's group: discovery, linked, virtual or upgrade."""
        return self.name.partition(".")[0]

    @property
    def attribute(self) -> str:
        """The decorator's name within its group."""
        return self.name.partition(".")[2]

    @property
    def required(self) -> bool:
        """True when a plugin of a fitting type ought to implement it."""
        return self.when_missing is WhenMissing.FAIL


_BOTH = frozenset(PluginType)
_DIRECT = frozenset({PluginType.DIRECT})
_STAGED = frozenset({PluginType.STAGED})

_CONNECTION = Argument("source_connection", ArgumentKind.CONNECTION)
_REPOSITORY = Argument("repository", ArgumentKind.REPOSITORY)
_SOURCE_CONFIG = Argument("source_config", ArgumentKind.SOURCE_CONFIG)
_DIRECT_SOURCE = Argument("direct_source", ArgumentKind.DIRECT_SOURCE)
_STAGED_SOURCE = Argument("staged_source", ArgumentKind.STAGED_SOURCE)
_VIRTUAL_SOURCE = Argument("virtual_source", ArgumentKind.VIRTUAL_SOURCE)
_SNAPSHOT = Argument("snapshot", ArgumentKind.SNAPSHOT)
_PARAMETERS = Argument(
    "snapshot_parameters", ArgumentKind.SNAPSHOT_PARAMETERS, aliases=("optional_snapshot_parameters",)
)
_PARAMETERS_OF_LATER_VERSIONS = Argument(
    "snapshot_parameters",
    ArgumentKind.SNAPSHOT_PARAMETERS,
    aliases=("optional_snapshot_parameters",),
    optional=True,
)

_DISCOVERY = ("Environment Discovery", "Environment Refresh")
_SYNC = ("Linked Source Sync",)


def _migration(attribute: str, argument: str, title: str) -> Operation:
    return Operation(
        f"upgrade.{attribute}",
        f"{title} Upgrade",
        (Argument(argument, ArgumentKind.MIGRATED_OBJECT),),
        ResultKind.MIGRATED_OBJECT,
        WhenMissing.SKIP,
        _BOTH,
        ("Plugin Upgrade",),
        takes_migration_id=True,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "discovery.repository",
        "Repository Discovery",
        (_CONNECTION,),
        ResultKind.REPOSITORIES,
        WhenMissing.FAIL,
        _BOTH,
        _DISCOVERY,
    ),
    Operation(
        "discovery.source_config",
        "Source Config Discovery",
        (_CONNECTION, _REPOSITORY),
        ResultKind.SOURCE_CONFIGS,
        WhenMissing.FAIL,
        _BOTH,
        _DISCOVERY,
    ),
    Operation(
        "linked.pre_snapshot",
        "Direct Linked Source Pre-Snapshot",
        (_DIRECT_SOURCE, _REPOSITORY, _SOURCE_CONFIG, _PARAMETERS_OF_LATER_VERSIONS),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _DIRECT,
        _SYNC,
    ),
    Operation(
        "linked.post_snapshot",
        "Direct Linked Source Post-Snapshot",
        (_DIRECT_SOURCE, _REPOSITORY, _SOURCE_CONFIG, _PARAMETERS_OF_LATER_VERSIONS),
        ResultKind.SNAPSHOT,
        WhenMissing.FAIL,
        _DIRECT,
        _SYNC,
    ),
    Operation(
        "linked.pre_snapshot",
        "Staged Linked Source Pre-Snapshot",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG, _PARAMETERS),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _STAGED,
        _SYNC,
    ),
    Operation(
        "linked.post_snapshot",
        "Staged Linked Source Post-Snapshot",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG, _PARAMETERS),
        ResultKind.SNAPSHOT,
        WhenMissing.FAIL,
        _STAGED,
        _SYNC,
    ),
    Operation(
        "linked.start_staging",
        "Staged Linked Source Start-Staging",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _STAGED,
        ("Linked Source Enable",),
    ),
    Operation(
        "linked.stop_staging",
        "Staged Linked Source Stop-Staging",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _STAGED,
        ("Linked Source Disable", "Linked Source Delete"),
    ),
    Operation(
        "linked.status",
        "Staged Linked Source Status",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.STATUS,
        WhenMissing.ACTIVE,
        _STAGED,
    ),
    Operation(
        "linked.worker",
        "Staged Linked Source Worker",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _STAGED,
    ),
    Operation(
        "linked.mount_specification",
        "Staged Linked Source Mount Specification",
        (_STAGED_SOURCE, _REPOSITORY),
        ResultKind.MOUNT_SPECIFICATION,
        WhenMissing.FAIL,
        _STAGED,
        ("Linked Source Sync", "Linked Source Enable"),
    ),
    Operation(
        "linked.source_size",
        "Direct Linked Source Size",
        (_DIRECT_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.SIZE,
        WhenMissing.UNKNOWN,
        _DIRECT,
    ),
    Operation(
        "linked.source_size",
        "Staged Linked Source Size",
        (_STAGED_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.SIZE,
        WhenMissing.UNKNOWN,
        _STAGED,
    ),
    Operation(
        "virtual.configure",
        "Virtual Source Configure",
        (_VIRTUAL_SOURCE, _SNAPSHOT, _REPOSITORY),
        ResultKind.SOURCE_CONFIG,
        WhenMissing.FAIL,
        _BOTH,
        ("Virtual Source Provision", "Virtual Source Refresh"),
    ),
    Operation(
        "virtual.unconfigure",
        "Virtual Source Unconfigure",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _BOTH,
        (
            "Virtual Source Refresh",
            "Virtual Source Rollback",
            "Virtual Source Disable",
            "Virtual Source Delete",
        ),
    ),
    Operation(
        "virtual.reconfigure",
        "Virtual Source Reconfigure",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG, _SNAPSHOT),
        ResultKind.SOURCE_CONFIG,
        WhenMissing.FAIL,
        _BOTH,
        ("Virtual Source Rollback", "Virtual Source Enable"),
    ),
    Operation(
        "virtual.start",
        "Virtual Source Start",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _BOTH,
        ("Virtual Source Start",),
    ),
    Operation(
        "virtual.stop",
        "Virtual Source Stop",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _BOTH,
        ("Virtual Source Stop",),
    ),
    Operation(
        "virtual.pre_snapshot",
        "Virtual Source Pre-Snapshot",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _BOTH,
        ("Virtual Source Snapshot",),
    ),
    Operation(
        "virtual.post_snapshot",
        "Virtual Source Post-Snapshot",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.SNAPSHOT,
        WhenMissing.FAIL,
        _BOTH,
        ("Virtual Source Snapshot",),
    ),
    Operation(
        "virtual.mount_specification",
        "Virtual Source Mount Specification",
        (_VIRTUAL_SOURCE, _REPOSITORY),
        ResultKind.MOUNT_SPECIFICATION,
        WhenMissing.FAIL,
        _BOTH,
        (
            "Virtual Source Enable",
            "Virtual Source Provision",
            "Virtual Source Create Empty",
            "Virtual Source Refresh",
            "Virtual Source Rollback",
            "Virtual Source Start",
        ),
    ),
    Operation(
        "virtual.status",
        "Virtual Source Status",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.STATUS,
        WhenMissing.ACTIVE,
        _BOTH,
        ("Virtual Source Enable",),
    ),
    Operation(
        "virtual.initialize",
        "Virtual Source Initialize",
        (_VIRTUAL_SOURCE, _REPOSITORY),
        ResultKind.SOURCE_CONFIG,
        WhenMissing.NOT_OFFERED,
        _BOTH,
        ("Virtual Source Create Empty",),
    ),
    Operation(
        "virtual.cleanup",
        "Virtual Source Cleanup",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.NONE,
        WhenMissing.SKIP,
        _BOTH,
        ("Virtual Source Delete",),
    ),
    Operation(
        "virtual.source_size",
        "Virtual Source Size",
        (_VIRTUAL_SOURCE, _REPOSITORY, _SOURCE_CONFIG),
        ResultKind.SIZE,
        WhenMissing.UNKNOWN,
        _BOTH,
    ),
    _migration("repository", "old_repository", "Repository"),
    _migration("source_config", "old_source_config", "Source Config"),
    _migration("linked_source", "old_linked_source", "Linked Source"),
    _migration("virtual_source", "old_virtual_source", "Virtual Source"),
    _migration("snapshot", "old_snapshot", "Snapshot"),
)


def operations_for(plugin_type: PluginType) -> dict[str, Operation]:
    """The operations that exist for plugins of ``plugin_type``, by name, in table order."""
    return {entry.name: entry for entry in OPERATIONS if plugin_type in entry.plugin_types}
