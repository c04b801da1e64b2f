"""Bringing stored objects to a newer build of their plugin: its migrations over all of them, all or nothing.

Migrations run before anything is written, without a lock, for they are the plugin's code and may take long.
What came of them is written in one transaction together with the new build, if the objects are still those
that were migrated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from dlpx.virtualization.platform.migration_helper import migration_numbers
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import JobRow
from dlpx_remote.store.models import PluginRow, RepositoryRow, SourceConfigRow
from dlpx_remote.store.source_models import SnapshotRow, SourceRow
from dlpx_remote.workflows.discovery import REPOSITORY, SOURCE_CONFIG, new_job
from dlpx_remote.workflows.reconcile import canonical, digest, storable

_LOG = logging.getLogger(__name__)
_PARAMETERS = ("parameters",)
_DISCOVERED = {"repository": REPOSITORY, "source_config": SOURCE_CONFIG}

OpenSession = Callable[[Plugin, str], AbstractContextManager[Dispatcher]]


class MigrationFailed(RemoteError):
    """A stored object could not be brought to the new build. Nothing was changed."""


@dataclass(frozen=True)
class Stored:
    """A value that a plugin's schema describes, as the state has it.

    Attributes:
        object_type: as in ``upgrade.<object_type>``.
        row: the row that it is in.
        column: the column, and within it the keys, that lead to it.
        called: the object's name, for people.
        value: the value.
    """

    object_type: str
    row: tuple[type, int]
    column: tuple[str | int, ...]
    called: str
    value: dict[str, Any]


class Upgrade:
    """Of one plugin, from the build that is recorded to a newer one.

    Args:
        store: the state.
        open_session: runs operations of a plugin in a job of the name given.
    """

    def __init__(self, store: Store, open_session: OpenSession) -> None:
        self._store = store
        self._open_session = open_session

    def migrate(self, identifier: str, plugin: Plugin, after: str | None) -> list[tuple[Stored, Stored]]:
        """Every stored object as it is and as it will be; nothing is written.

        Args:
            identifier: the plugin's.
            plugin: the newer build.
            after: id of the last migration of the recorded build.

        Raises:
            MigrationFailed: names the object, and says what the plugin did.
        """
        with self._store.read() as session:
            stored = list(stored_objects(session, identifier))
        if not stored:
            return []
        migrated = []
        with self._open_session(plugin, new_job("upgrade")) as dispatcher:
            for one in stored:
                try:
                    value, _ = dispatcher.migrate(one.object_type, one.value, after=after)
                except RemoteError as error:
                    raise MigrationFailed(
                        f"{one.called} cannot be brought to build {plugin.config.build_number} of "
                        f"{plugin.config.name}. {error.message}",
                        "Nothing was changed; correct the plugin's migrations and add it again.",
                        error.output,
                    ) from error
                migrated.append((one, replace(one, value=value)))
        _LOG.info("%s: %d objects migrated", plugin.config.name, len(migrated))
        return migrated

    def apply(
        self, session: Session, identifier: str, plugin: Plugin, migrated: Sequence[tuple[Stored, Stored]]
    ) -> bool:
        """Write what :meth:`migrate` gave; False, and nothing written, when objects have changed meanwhile.

        Raises:
            InvalidRequest: two objects would have one identity, or a job works on an object of the plugin.
        """
        _refuse_jobs(session, identifier)
        known = {(one.row, one.column): canonical(one.value) for one, _ in migrated}
        found = {(one.row, one.column): canonical(one.value) for one in stored_objects(session, identifier)}
        if known != found:
            return False
        _refuse_twins(session, plugin, [after for _, after in migrated])
        for before, after in migrated:
            if canonical(before.value) != canonical(after.value):
                _write(session, plugin, after)
        return True


def following(old: Iterable[str], new: Iterable[str], plugin: str) -> str | None:
    """The id of the last migration of the old build.

    Args:
        old: ids of the migrations of the recorded build.
        new: those of the newer build.
        plugin: its name.

    Raises:
        InvalidRequest: the newer build lacks one that the old one has, or has a new one before the last.
    """
    before, after = {migration_numbers(one): one for one in old}, {migration_numbers(one): one for one in new}
    missing = [before[numbers] for numbers in sorted(before.keys() - after.keys())]
    if missing:
        raise InvalidRequest(
            f"The newer build of {plugin} lacks the migration {', '.join(missing)}, which the build that is "
            "in use has.",
            "Keep every migration that was ever published, and add the plugin again.",
        )
    if not before:
        return None
    last = max(before)
    late = [after[numbers] for numbers in sorted(after.keys() - before.keys()) if numbers < last]
    if late:
        raise InvalidRequest(
            f"The newer build of {plugin} has the new migration {', '.join(late)}, which comes before "
            f"{before[last]}; that one has run already.",
            f"Give new migrations ids above {before[last]}.",
        )
    return before[last]


def stored_objects(session: Session, identifier: str) -> Iterator[Stored]:
    """Everything in the state that a plugin's schema describes; what others hang on comes first."""
    repositories = session.scalars(
        select(RepositoryRow)
        .join(PluginRow)
        .where(PluginRow.identifier == identifier)
        .order_by(RepositoryRow.id)
    ).all()
    for repository in repositories:
        called = f"The repository {repository.name!r} ({repository.reference})"
        yield Stored(
            "repository", (RepositoryRow, repository.id), ("parameters",), called, repository.parameters
        )
    for repository in repositories:
        for config in repository.source_configs:
            called = f"The source config {config.name!r} ({config.reference})"
            yield Stored(
                "source_config", (SourceConfigRow, config.id), ("parameters",), called, config.parameters
            )
    sources = session.scalars(
        select(SourceRow)
        .join(PluginRow, SourceRow.plugin_id == PluginRow.id)
        .where(PluginRow.identifier == identifier)
        .order_by(SourceRow.id)
    ).all()
    for source in sources:
        yield from _of_source(source)
    for source in sources:
        for snapshot in source.snapshots:
            if snapshot.value is not None:
                called = f"The snapshot {snapshot.reference} of {source.name}"
                yield Stored("snapshot", (SnapshotRow, snapshot.id), ("value",), called, snapshot.value)


def _of_source(source: SourceRow) -> Iterator[Stored]:
    row = (SourceRow, source.id)
    linked = source.kind == "dsource"
    called = f"The {'dSource' if linked else 'VDB'} {source.name!r} ({source.reference})"
    yield Stored(
        "linked_source" if linked else "virtual_source", row, ("parameters",), called, source.parameters
    )
    footings: list[tuple[tuple[str | int, ...], dict[str, Any] | None]] = [
        (("current",), source.current),
        (("previous",), source.previous),
        *((("retired", number), footing) for number, footing in enumerate(source.retired)),
    ]
    for column, footing in footings:
        if footing and footing.get("source_config") is not None:
            where = f"The source config of {called.removeprefix('The ')}"
            yield Stored("source_config", row, (*column, "source_config"), where, footing["source_config"])


def _write(session: Session, plugin: Plugin, one: Stored) -> None:
    table, number = one.row
    row: Any = session.get_one(table, number)
    column, *path = one.column
    if not path:
        setattr(row, str(column), one.value)
    else:
        *holders, last = path
        holder = getattr(row, str(column))
        for key in holders:
            holder = holder[key]
        holder[last] = one.value
        flag_modified(row, str(column))
    if isinstance(row, RepositoryRow | SourceConfigRow):
        definition = _DISCOVERED[one.object_type]
        row.name = storable(plugin.schema.name(definition, one.value))
        row.identity = plugin.schema.identity(definition, one.value)
        row.identity_digest = digest(row.identity)


def _refuse_twins(session: Session, plugin: Plugin, objects: Iterable[Stored]) -> None:
    """The database would refuse two rows of one identity too, but could not say which."""
    seen: dict[tuple[type, int, str], str] = {}
    for one in objects:
        table, number = one.row
        row: Any = session.get_one(table, number)
        if not isinstance(row, RepositoryRow | SourceConfigRow):
            continue
        identity = plugin.schema.identity(_DISCOVERED[one.object_type], one.value)
        within = row.environment_id if isinstance(row, RepositoryRow) else row.repository_id
        other = seen.setdefault((table, within, digest(identity)), row.reference)
        if other != row.reference:
            raise InvalidRequest(
                f"After the migrations {other} and {row.reference} would have one identity, {identity}.",
                "Nothing was changed; the identityFields of the new build must tell them apart.",
            )


def _refuse_jobs(session: Session, identifier: str) -> None:
    names = (
        select(SourceRow.name)
        .join(PluginRow, SourceRow.plugin_id == PluginRow.id)
        .where(PluginRow.identifier == identifier)
    )
    working = session.scalars(
        select(JobRow.reference).where(JobRow.finished.is_(None), JobRow.object.in_(names))
    ).all()
    if working:
        raise InvalidRequest(
            f"Jobs still work on objects of the plugin: {', '.join(working)}.",
            "Wait for them (dlpx-remote job follow JOB) or cancel them, then add the plugin again.",
        )
