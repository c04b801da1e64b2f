"""Every operation of a directly linked plugin, each as small as it can be.

What returns nothing says what it was given in the log, so that a test can see that it ran.
"""

from __future__ import annotations

import logging
from typing import Any

from generated.definitions import (
    RepositoryDefinition,
    SnapshotDefinition,
    SnapshotParametersDefinition,
    SourceConfigDefinition,
)

from dlpx.virtualization.common import RemoteConnection
from dlpx.virtualization.libs import PlatformHandler
from dlpx.virtualization.platform import (
    DirectSource,
    Mount,
    MountSpecification,
    OwnershipSpecification,
    Plugin,
    Status,
    VirtualSource,
)

plugin = Plugin()

logger = logging.getLogger("notebooks")
logger.addHandler(PlatformHandler())
logger.setLevel(logging.INFO)


@plugin.discovery.repository()
def find_programs(source_connection: RemoteConnection) -> list[RepositoryDefinition]:
    first = RepositoryDefinition(install_path=f"/opt/{source_connection.environment.name}", version="1.2")
    second = RepositoryDefinition("/usr", "1.3")
    return [first, second]


@plugin.discovery.source_config()
def find_notebooks(
    repository: RepositoryDefinition, source_connection: RemoteConnection
) -> list[SourceConfigDefinition]:
    name = f"{repository.install_path}/diary of {source_connection.user.name}"
    return [SourceConfigDefinition(name=name, port=8000)]


@plugin.linked.pre_snapshot()
def copy(
    direct_source: DirectSource,
    repository: RepositoryDefinition,
    source_config: SourceConfigDefinition,
    optional_snapshot_parameters: SnapshotParametersDefinition | None,
) -> None:
    full = optional_snapshot_parameters is not None and optional_snapshot_parameters.full
    logger.info(
        "copy %s from %s (full: %s)",
        source_config.name,
        direct_source.parameters.data_path,
        full,
    )


@plugin.linked.post_snapshot()
def describe_copy(
    direct_source: DirectSource, repository: RepositoryDefinition, source_config: SourceConfigDefinition
) -> SnapshotDefinition:
    return SnapshotDefinition(page_count=len(direct_source.guid))


@plugin.linked.source_size()
def size_of_source(direct_source: DirectSource, repository: Any, source_config: Any) -> int:
    return 3 * 1024**3


@plugin.virtual.mount_specification()
def where_to_mount(virtual_source: VirtualSource, repository: Any) -> MountSpecification:
    mount = Mount(virtual_source.connection.environment, virtual_source.parameters.mount_path)
    return MountSpecification([mount], OwnershipSpecification(1001, 1002))


@plugin.virtual.configure()
def configure(
    snapshot: SnapshotDefinition, repository: RepositoryDefinition, virtual_source: VirtualSource
) -> SourceConfigDefinition:
    name = f"{virtual_source.parameters.mount_path} with {snapshot.page_count} pages"
    return SourceConfigDefinition(name=name, port=virtual_source.parameters.port)


@plugin.virtual.reconfigure()
def reconfigure(
    virtual_source: VirtualSource, repository: Any, source_config: Any, snapshot: SnapshotDefinition
) -> SourceConfigDefinition:
    source_config.name = f"{source_config.name} again"
    return source_config


@plugin.virtual.initialize()
def initialize(virtual_source: VirtualSource, repository: RepositoryDefinition) -> SourceConfigDefinition:
    return SourceConfigDefinition(name="an empty notebook")


@plugin.virtual.unconfigure()
def unconfigure(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logger.info("unconfigure %s", source_config.name)


@plugin.virtual.cleanup()
def clean_up(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logger.info("cleanup %s", source_config.name)


@plugin.virtual.start()
def start(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logger.info("start %s at %s", source_config.name, virtual_source.mounts[0].mount_path)


@plugin.virtual.stop()
def stop(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logger.info("stop %s", source_config.name)


@plugin.virtual.pre_snapshot()
def before_snapshot(virtual_source: VirtualSource, repository: Any, source_config: Any) -> None:
    logger.info("flush %s", source_config.name)


@plugin.virtual.post_snapshot()
def after_snapshot(virtual_source: VirtualSource, repository: Any, source_config: Any) -> SnapshotDefinition:
    return SnapshotDefinition(page_count=40, full=True)


@plugin.virtual.status()
def status(virtual_source: VirtualSource, repository: Any, source_config: Any) -> Status:
    return Status.INACTIVE if source_config.port is None else Status.ACTIVE


@plugin.virtual.source_size()
def size_of_clone(virtual_source: VirtualSource, repository: Any, source_config: Any) -> int:
    return 0


@plugin.upgrade.repository("2024.1")
def rename_path(old_repository: dict[str, Any]) -> dict[str, Any]:
    return {"installPath": old_repository["path"], "version": old_repository["version"]}


@plugin.upgrade.repository("2024.10")
def shorten_version(old_repository: dict[str, Any]) -> dict[str, Any]:
    return {**old_repository, "version": old_repository["version"].partition("-")[0]}


@plugin.upgrade.source_config("2024.2")
def number_port(old_source_config: dict[str, Any]) -> dict[str, Any]:
    return {**old_source_config, "port": int(old_source_config["port"])}


@plugin.upgrade.linked_source("2024.3")
def rename_directory(old_linked_source: dict[str, Any]) -> dict[str, Any]:
    return {"dataPath": old_linked_source["directory"]}


@plugin.upgrade.virtual_source("2024.4")
def drop_colour(old_virtual_source: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in old_virtual_source.items() if name != "colour"}


@plugin.upgrade.snapshot("2024.5")
def count_pages(old_snapshot: dict[str, Any]) -> dict[str, Any]:
    return {"pageCount": len(old_snapshot["pages"])}
