"""Checking a plugin, adding it to the engine, and what is known of those that were added."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dlpx.virtualization.platform.operation_table import PluginType, operations_for
from dlpx_remote.environments.registry import not_found
from dlpx_remote.errors import AlreadyExists, InvalidRequest, RemoteError
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.plugins.check import PluginReport
from dlpx_remote.plugins.check import check_plugin as examine
from dlpx_remote.plugins.config import CONFIG_FILE
from dlpx_remote.plugins.install import install
from dlpx_remote.plugins.package import Package, build_package, unpacked
from dlpx_remote.plugins.plugin import Plugin, PluginReading, load_plugin, read_plugin
from dlpx_remote.plugins.problems import Problem, Problems
from dlpx_remote.plugins.source import entry_file, missing_operations
from dlpx_remote.plugins.stubs import write_stubs
from dlpx_remote.plugins.worker import ImplementedOperation, Workers
from dlpx_remote.store import Store
from dlpx_remote.store.models import PluginRow
from dlpx_remote.workflows.catalogue import OperationState, PluginCheck, PluginDetails, PluginSummary
from dlpx_remote.workflows.discovery import Candidate
from dlpx_remote.workflows.upgrading import OpenSession, Stored, Upgrade, following

_ATTEMPTS = 3
_LOG = logging.getLogger(__name__)


class Plugins:
    """The plugins that were added to an engine.

    Args:
        store: where they are recorded.
        directory: where the copies of their files are.
        workers: where their code is imported to see what it implements.
        open_session: runs operations of a plugin; None gives its migrations no hosts to ask.
    """

    def __init__(
        self, store: Store, directory: Path, workers: Workers, open_session: OpenSession | None = None
    ) -> None:
        self._store = store
        self._directory = directory
        self._workers = workers
        self._upgrade = Upgrade(store, open_session or self._without_hosts)

    def add(self, path: Path) -> PluginDetails:
        """Check a plugin, copy its files and record it, in place of an earlier build.

        Args:
            path: its directory, or the file that :func:`build` made of it.

        Stored objects are brought to the newer build by its migrations, all of them or none; the earlier
        build stays in use until that is done.

        Raises:
            PluginInvalid: it has errors.
            PackageUnusable: the file is no packaged plugin.
            MigrationFailed: names the object that could not be migrated.
            InvalidRequest: a higher build is there already.
            AlreadyExists: the same build with other content, or another plugin of that name, is there.
        """
        with directory_of(path) as directory:
            return self._add(directory)

    def _add(self, directory: Path) -> PluginDetails:
        report = examine(directory, self._workers)
        plugin = report.sound_plugin()
        with self._store.read() as session:
            _may_follow(session, plugin)
        operations = _operations(report)
        installed = install(plugin, self._directory)
        for _ in range(_ATTEMPTS):
            details = self._record(installed, operations, report.warnings)
            if details is not None:
                return details
        raise InvalidRequest(
            f"Objects of the plugin {plugin.config.name} keep changing while it is upgraded.",
            "Add it again when no discovery or job of it runs.",
        )

    def _record(
        self, plugin: Plugin, operations: tuple[OperationState, ...], warnings: tuple[Problem, ...]
    ) -> PluginDetails | None:
        """Make a build the one in use, its objects migrated; None when they changed meanwhile."""
        with self._store.read() as session:
            before = _may_follow(session, plugin)
            build = None if before is None else before.build_number
            migrations = () if before is None else _migrations(before.operations)
        migrated: list[tuple[Stored, Stored]] = []
        if build is not None and build != plugin.config.build_number:
            last = following(migrations, _migrations(map(asdict, operations)), plugin.config.name)
            migrated = self._upgrade.migrate(plugin.config.id, plugin, last)
        with self._store.write() as session:
            known = _may_follow(session, plugin)
            changed = _change(known, plugin)
            if (None if known is None else known.build_number) != build:
                return None  # somebody else has added a build meanwhile
            row = known or PluginRow(identifier=plugin.config.id)
            if changed == "upgraded" and not self._upgrade.apply(session, plugin.config.id, plugin, migrated):
                return None
            if changed != "unchanged":
                _fill(row, plugin, operations)
                session.add(row)
                session.flush()
            _LOG.info("plugin %s build %s: %s", row.name, row.build_number, changed)
            return PluginDetails(_summary(row), operations, warnings, changed, len(migrated))

    def _without_hosts(self, plugin: Plugin, job: str) -> Dispatcher:
        return Dispatcher(self._workers, plugin, LibraryCalls(NoHosts()), job=job)

    def all(self) -> list[PluginSummary]:
        """Every plugin, by name."""
        with self._store.read() as session:
            return [_summary(row) for row in session.scalars(select(PluginRow).order_by(PluginRow.name))]

    def get(self, name: str) -> PluginDetails:
        """By name or identifier, with its operations as they were when it was added.

        Raises:
            NotFound: with the nearest known name.
        """
        with self._store.read() as session:
            row = _row(session, name)
            summary = _summary(row)
            operations = tuple(OperationState(**entry) for entry in row.operations)
        implemented = [entry.name for entry in operations if entry.implemented]
        reading = read_plugin(summary.directory)
        missing = Problems(_entry_file(reading) or CONFIG_FILE)
        missing_operations(implemented, PluginType(summary.plugin_type), missing)
        return PluginDetails(summary, operations, (*reading.problems, *missing.found))

    def candidates(self, names: Iterable[str]) -> list[Candidate]:
        """The plugins named, or all when none is, to discover with.

        Raises:
            NotFound: one is not known.
            InvalidRequest: there is none at all.
        """
        return [_candidate(summary) for summary in self.chosen(names)]

    def chosen(self, names: Iterable[str]) -> list[PluginSummary]:
        """Those named, or all when none is, without loading them; errors as :meth:`candidates`."""
        names = list(dict.fromkeys(names))
        summaries = [self.get_summary(name) for name in names] if names else self.all()
        if not summaries:
            raise InvalidRequest(
                "No plugin has been added yet.", "Add one first: dlpx-remote plugin add DIRECTORY."
            )
        return list(dict.fromkeys(summaries))

    def get_summary(self, name: str) -> PluginSummary:
        """By name or identifier; NotFound with the nearest known name."""
        with self._store.read() as session:
            return _summary(_row(session, name))


@contextmanager
def directory_of(path: Path) -> Iterator[Path]:
    """The directory of a plugin that is given as one, as its configuration file, or as a package."""
    if path.is_file() and path.name != CONFIG_FILE:
        with unpacked(path) as directory:
            yield directory
    else:
        yield path


class NoHosts:
    """For a migration's library calls: it has no connection to ask through."""

    def connection(self, environment_reference: str, user_reference: str) -> NoReturn:
        """Refuse."""
        raise InvalidRequest(
            f"A migration cannot reach {user_reference} on {environment_reference}: all it has is stored."
        )

    privilege = connection


def check(path: Path, workers: Workers | None = None) -> PluginCheck:
    """Everything wrong with the plugin in the directory or package ``path``, and what it implements."""
    with directory_of(path) as directory:
        return _check(directory, workers)


def build(directory: Path, target: Path | None = None) -> Package:
    """Check a plugin and make one file of it, which ``add`` takes.

    Args:
        directory: the plugin's.
        target: the file to write, or a directory for it; None is the current directory.

    Raises:
        PluginInvalid: it has errors.
        PackageUnusable: the file cannot be written.
    """
    return build_package(examine(directory).sound_plugin(), target)


def stubs(directory: Path) -> tuple[Path, ...]:
    """Write type stubs for the plugin's definitions into its source directory.

    Raises:
        PluginInvalid: its configuration or schema has errors; its code may have.
        StubsNotWritten: the directory cannot be written.
    """
    return write_stubs(load_plugin(directory))


def _check(directory: Path, workers: Workers | None) -> PluginCheck:
    report = examine(directory, workers)
    details = None
    if report.plugin is not None:
        details = PluginDetails(_summary_of(report.plugin), _operations(report), report.warnings)
    return PluginCheck(report.problems, details)


def build_order(build_number: str) -> tuple[int, ...]:
    """A build number as it is compared: by its parts as numbers, trailing zeros dropped."""
    parts = [int(part) for part in build_number.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _may_follow(session: Session, plugin: Plugin) -> PluginRow | None:
    """The record of an earlier or the same build; raises when ``plugin`` cannot take its place."""
    config = plugin.config
    namesake = session.scalars(select(PluginRow).where(PluginRow.name == config.name)).first()
    if namesake is not None and namesake.identifier != config.id:
        raise AlreadyExists(
            f"Another plugin named {config.name!r} has been added already ({namesake.identifier}).",
            f"Give this one another name, or, if it is the same plugin, the same id in {CONFIG_FILE}.",
        )
    known = session.scalars(select(PluginRow).where(PluginRow.identifier == config.id)).first()
    if known is None or known.build_number == config.build_number:
        return known
    there, here = build_order(known.build_number), build_order(config.build_number)
    if there >= here:
        relation = "a lower one" if there > here else "the same number"
        raise InvalidRequest(
            f"Build {known.build_number} of the plugin {known.name} is there already, and "
            f"{config.build_number} is {relation}.",
            f"Set buildNumber in {CONFIG_FILE} above {known.build_number} and add it again.",
        )
    return known


def _migrations(operations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Ids of the migrations among operations as they are recorded."""
    found = (entry.get("migration_id") for entry in operations if entry["name"].startswith("upgrade."))
    return tuple(one for one in found if one)


def _change(known: PluginRow | None, plugin: Plugin) -> str:
    if known is None:
        return "new"
    return "unchanged" if known.build_number == plugin.config.build_number else "upgraded"


def _fill(row: PluginRow, plugin: Plugin, operations: tuple[OperationState, ...]) -> None:
    summary = _summary_of(plugin)
    row.name = summary.name
    row.plugin_type = summary.plugin_type
    row.host_types = list(summary.host_types)
    row.build_number = summary.build_number
    row.external_version = summary.external_version
    row.manual_discovery = summary.manual_discovery
    row.directory = str(summary.directory)
    row.operations = [asdict(entry) for entry in operations]
    row.added = datetime.now(UTC)


def _summary(row: PluginRow) -> PluginSummary:
    return PluginSummary(
        identifier=row.identifier,
        name=row.name,
        plugin_type=row.plugin_type,
        host_types=tuple(row.host_types),
        build_number=row.build_number,
        external_version=row.external_version,
        manual_discovery=row.manual_discovery,
        directory=Path(row.directory),
        added=row.added,
    )


def _summary_of(plugin: Plugin) -> PluginSummary:
    config = plugin.config
    return PluginSummary(
        identifier=config.id,
        name=config.name,
        plugin_type=config.plugin_type.value,
        host_types=tuple(config.host_types),
        build_number=config.build_number,
        external_version=config.external_version or "",
        manual_discovery=config.manual_discovery,
        directory=plugin.directory,
    )


def _candidate(summary: PluginSummary) -> Candidate:
    try:
        return Candidate(summary.name, load_plugin(summary.directory))
    except RemoteError as error:
        return Candidate(summary.name, None, error)


def _row(session: Session, name: str) -> PluginRow:
    row = session.scalars(
        select(PluginRow).where(or_(PluginRow.name == name, PluginRow.identifier == name))
    ).first()
    if row is None:
        hint = "Add it first: dlpx-remote plugin add DIRECTORY."
        raise not_found("plugin", name, session.scalars(select(PluginRow.name)).all(), hint)
    return row


def _within(plugin: Plugin, file: str) -> str:
    """A source file relative to the plugin's directory, as its problems name it too."""
    path = plugin.config.source_directory / file
    return str(path.relative_to(plugin.directory)) if path.is_relative_to(plugin.directory) else file


def _entry_file(reading: PluginReading) -> str:
    config = reading.config
    if config.source_directory is None:
        return ""
    return entry_file(reading.directory, config.source_directory, config.entry_point)


def _operations(report: PluginReport) -> tuple[OperationState, ...]:
    """Every operation of the plugin's type, and where the plugin implements it."""
    if report.plugin is None:
        return ()
    found: dict[str, list[ImplementedOperation]] = {}
    for one in report.functions:
        found.setdefault(one.name, []).append(one)
    states = []
    for name, operation in operations_for(report.plugin.config.plugin_type).items():
        state = OperationState(
            name=name,
            title=operation.title,
            required=operation.required,
            implemented=name in report.operations,
            when_missing=operation.when_missing.value,
        )
        places = [
            replace(
                state, file=_within(report.plugin, one.file), line=one.line, migration_id=one.migration_id
            )
            for one in found.get(name, [])
        ]
        states += places or [state]
    return tuple(states)
