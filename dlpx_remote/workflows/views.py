"""What people are shown of a dSource or VDB: names where the records have references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlpx_remote.environments.model import Environment
from dlpx_remote.environments.registry import user_by_reference
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.source_records import SourceRecords
from dlpx_remote.workflows.sources import Source


@dataclass(frozen=True)
class MountView:
    """A mount as the plugin specified it last.

    Attributes:
        environment: its name.
        mount_path: directory on the host.
        shared_path: part of the data set; None for all of it.
    """

    environment: str
    mount_path: str
    shared_path: str | None


@dataclass(frozen=True)
class SourceView:
    """A dSource or VDB.

    Attributes:
        reference: ``DSOURCE-<n>`` or ``VDB-<n>``.
        name: its name.
        kind: ``dsource`` or ``vdb``.
        plugin: the plugin's name.
        environment: name of the environment with the original data, or of the VDB's target.
        user: of that environment.
        repository: its name.
        source_config: of a dSource the name of the source config; of a VDB what the plugin returned.
        staging_environment: name, for a staged dSource.
        staging_user: of the staging environment.
        parameters: by schema names; secrets are references to where they are.
        state: ``creating``, ``enabled``, ``disabled`` or ``broken``.
        active: it was started, or not stopped.
        status: what the plugin said last; empty before it was asked.
        status_time: when; ISO 8601.
        size: bytes, as the plugin said last; None before it was asked.
        size_time: when; ISO 8601.
        volume: what it stands on.
        snapshot: reference of the snapshot that this is a clone of.
        parent: name of the dSource or VDB that the snapshot is of.
        can_undo: the last refresh or rollback can be undone.
        mounts: as the plugin specified them last.
        snapshots: how many there are.
        interval: seconds between two runs of the staging worker.
        guid: what the plugin knows it by.
        added: when it was made; ISO 8601, UTC.
    """

    reference: str
    name: str
    kind: str
    plugin: str
    environment: str
    user: str
    repository: str
    source_config: str | Mapping[str, Any] | None
    staging_environment: str | None
    staging_user: str | None
    parameters: Mapping[str, Any]
    state: str
    active: bool
    status: str
    status_time: str
    size: int | None
    size_time: str
    volume: str
    snapshot: str | None
    parent: str | None
    can_undo: bool
    mounts: tuple[MountView, ...]
    snapshots: int
    interval: int
    guid: str
    added: str


class Views:
    """Makes views from records."""

    def __init__(
        self, records: SourceRecords, inventory: Inventory, environment: Callable[[str], Environment]
    ) -> None:
        self._records = records
        self._inventory = inventory
        self._environment = environment

    def of(self, source: Source) -> SourceView:
        """What is shown of one."""
        repository, config = self._inventory.names(source.repository, source.source_config)
        environment, user = self._names(source.environment, source.user)
        staging, staging_user = self._names(source.staging_environment, source.staging_user)
        return SourceView(
            reference=source.reference,
            name=source.name,
            kind=source.kind,
            plugin=source.plugin_name,
            environment=environment or "",
            user=user or "",
            repository=repository,
            source_config=config if source.kind == "dsource" else source.current.source_config,
            staging_environment=staging,
            staging_user=staging_user,
            parameters=source.parameters,
            state=source.state,
            active=source.active,
            status=source.status,
            status_time=source.status_time,
            size=source.size,
            size_time=source.size_time,
            volume=source.current.volume,
            snapshot=source.current.origin,
            parent=self._parent(source),
            can_undo=source.previous is not None,
            mounts=tuple(
                MountView(self._names(mount.environment, None)[0] or "", mount.mount_path, mount.shared_path)
                for mount in source.current.mounts
            ),
            snapshots=len(self._records.snapshots(source.reference)),
            interval=source.interval,
            guid=source.guid,
            added=source.added,
        )

    def _parent(self, source: Source) -> str | None:
        if source.current.origin is None:
            return None
        return self._records.snapshot(source.current.origin).source_name

    def _names(self, environment: str | None, user: str | None) -> tuple[str | None, str | None]:
        if environment is None:
            return None, None
        found = self._environment(environment)
        return found.name, None if user is None else user_by_reference(found, user).name
