"""Every operation of a staged plugin, written as the specification's examples are.

That is: the package ``generated`` and the ownership specification are misspelt, attributes are set by the
names they have in the schema, and arguments come in an order of their own. What returns nothing says what it
was given in the log, so that a test can see that it ran.
"""

from __future__ import annotations

import logging
from typing import Any

from generated.defintions import RepositoryDefinition, SnapshotDefinition, SourceConfigDefinition

from dlpx.virtualization.common import RemoteConnection
from dlpx.virtualization.libs import PlatformHandler
from dlpx.virtualization.platform import (
    MigrationType,
    Mount,
    MountSpecification,
    OwenershipSpecification,
    Plugin,
    StagedSource,
    Status,
    VirtualSource,
)

plugin = Plugin()

logging.getLogger().addHandler(PlatformHandler())
logging.getLogger().setLevel(logging.INFO)


@plugin.discovery.repository()
def repository_discovery(source_connection: RemoteConnection) -> list[RepositoryDefinition]:
    repository = RepositoryDefinition()
    repository.home = source_connection.environment.host.binary_path
    repository.uid = 501
    return [repository]


@plugin.discovery.source_config()
def source_config_discovery(
    source_connection: RemoteConnection, repository: RepositoryDefinition
) -> list[SourceConfigDefinition]:
    source_config = SourceConfigDefinition()
    source_config.ledger = f"{repository.home}/sales"
    source_config.years = [2023, 2024]
    return [source_config]


@plugin.linked.mount_specification()
def linked_mount_specification(staged_source: StagedSource, repository: Any) -> MountSpecification:
    mount = Mount(staged_source.staged_connection.environment, "/staging/ledger")
    return MountSpecification([mount], OwenershipSpecification(repository.uid, repository.gid))


@plugin.linked.start_staging()
def start_staging(staged_source: StagedSource, repository: Any, source_config: Any) -> None:
    assert staged_source.mount is not None
    logging.info("start staging %s at %s", source_config.ledger, staged_source.mount.mount_path)


@plugin.linked.stop_staging()
def stop_staging(staged_source: StagedSource, repository: Any, source_config: Any) -> None:
    logging.info("stop staging %s", source_config.ledger)


@plugin.linked.status()
def linked_status(staged_source: StagedSource, repository: Any, source_config: Any) -> Status:
    return Status.INACTIVE


@plugin.linked.worker()
def worker(staged_source: StagedSource, repository: Any, source_config: Any) -> None:
    logging.info("look after %s", staged_source.guid)


@plugin.linked.pre_snapshot()
def linked_pre_snapshot(
    staged_source: StagedSource, repository: Any, source_config: Any, snapshot_parameters: Any
) -> None:
    logging.info("resync %s: %s", source_config.ledger, snapshot_parameters.resync)


@plugin.linked.post_snapshot()
def linked_post_snapshot(
    repository: Any, staged_source: StagedSource, snapshot_parameters: Any, source_config: Any
) -> SnapshotDefinition:
    snapshot = SnapshotDefinition()
    snapshot.entryId = 1 if snapshot_parameters.resync else 2
    return snapshot


@plugin.linked.source_size()
def linked_source_size(staged_source: StagedSource, repository: Any, source_config: Any) -> int:
    return 1024 * len(source_config.years)


@plugin.virtual.mount_specification()
def virtual_mount_specification(virtual_source: VirtualSource, repository: Any) -> MountSpecification:
    return MountSpecification(
        [
            Mount("UNIX_HOST_ENVIRONMENT-3", "/ledger/data", "data"),
            Mount(virtual_source.connection.environment, "/ledger/log", shared_path="log"),
        ]
    )


@plugin.virtual.configure()
def configure(virtual_source: VirtualSource, repository: Any, snapshot: Any) -> SourceConfigDefinition:
    source_config = SourceConfigDefinition()
    source_config.ledger = f"{virtual_source.guid} from entry {snapshot.entry_id}"
    return source_config


@plugin.virtual.reconfigure()
def reconfigure(
    snapshot: Any, source_config: Any, repository: Any, virtual_source: VirtualSource
) -> SourceConfigDefinition:
    renewed = SourceConfigDefinition.from_dict(source_config.to_dict())
    renewed.years = [2025]
    return renewed


@plugin.virtual.initialize()
def initialize(virtual_source: VirtualSource, repository: Any) -> SourceConfigDefinition:
    return SourceConfigDefinition("an empty ledger")


@plugin.virtual.unconfigure()
def unconfigure(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logging.info("unconfigure %s", source_config.ledger)


@plugin.virtual.cleanup()
def cleanup(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logging.info("cleanup %s", source_config.ledger)


@plugin.virtual.start()
def start(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logging.info("start %s", source_config.ledger)


@plugin.virtual.stop()
def stop(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logging.info("stop %s", source_config.ledger)


@plugin.virtual.pre_snapshot()
def virtual_pre_snapshot(virtual_source: VirtualSource, repository: Any, source_config: Any) -> str:
    logging.info("close the books of %s", source_config.ledger)
    return "what an operation without a result returns is ignored"


@plugin.virtual.post_snapshot()
def virtual_post_snapshot(
    virtual_source: VirtualSource, repository: Any, source_config: Any
) -> SnapshotDefinition:
    return SnapshotDefinition(entry_id=99)


@plugin.virtual.status()
def virtual_status(virtual_source: VirtualSource, repository: Any, source_config: Any) -> Status:
    return Status.ACTIVE


@plugin.virtual.source_size()
def virtual_source_size(virtual_source: VirtualSource, repository: Any, source_config: Any) -> int:
    return 7


@plugin.upgrade.repository("1.0", MigrationType.LUA)
def from_the_toolkit(old_repository: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError("only a Lua toolkit's objects need this")


@plugin.upgrade.repository("1.1.0")
def add_home(old_repository: dict[str, Any]) -> dict[str, Any]:
    return {"home": "/opt/ledger", **old_repository}


@plugin.upgrade.source_config("1.2")
def list_years(old_source_config: dict[str, Any]) -> dict[str, Any]:
    return {**old_source_config, "years": [old_source_config["years"]]}


@plugin.upgrade.linked_source("1.3")
def forget_everything(old_linked_source: dict[str, Any]) -> dict[str, Any]:
    return {}


@plugin.upgrade.virtual_source("1.4")
def keep_everything(old_virtual_source: dict[str, Any]) -> dict[str, Any]:
    return old_virtual_source


@plugin.upgrade.snapshot("1.5")
def number_entry(old_snapshot: dict[str, Any]) -> dict[str, Any]:
    return {"entryId": int(old_snapshot["entryId"])}
