"""What discovery knows, in the state: applying a comparison in one transaction, and reading it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from dlpx_remote.environments.model import Environment
from dlpx_remote.environments.registry import not_found, unknown_environment
from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.store.models import EnvironmentRow, PluginRow, RepositoryRow, SourceConfigRow
from dlpx_remote.workflows.reconcile import Found, Known, Match, check_identities, digest, reconcile, storable
from dlpx_remote.workflows.report import Change, DiscoveredObject, DiscoveredRepository

_MANUAL_JOB = "manual"


class Inventory:
    """The repositories and source configs of every environment and plugin."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(
        self, environment: Environment, plugin: str, found: Sequence[Found], job: str, started: datetime
    ) -> tuple[DiscoveredRepository, ...]:
        """Reconcile what ``plugin`` found on ``environment`` with what was known, all or nothing.

        Args:
            environment: where.
            plugin: the plugin's identifier.
            found: repositories with their source configs.
            job: the discovery's.
            started: when it began.

        Raises:
            DuplicateIdentity: two objects have one identity; what was known is left as it was.
            NotFound: environment or plugin were removed meanwhile.
        """
        check(found)
        with self._store.write() as session:
            environment_row = _environment(session, environment.reference, lock=True)
            plugin_row = _plugin(session, plugin)
            place = _Place(
                self._store, session, job, started, environment=environment_row.id, plugin=plugin_row.id
            )
            rows = {row.reference: row for row in _repositories(session, environment_row, plugin_row)}
            matches = reconcile([_known(row) for row in rows.values()], found, started, "repositories")
            return tuple(place.apply(rows, match) for match in matches)

    def known(self, environment: Environment, plugin: str) -> tuple[DiscoveredRepository, ...]:
        """What is known, gone objects included: ``change`` is ``unchanged``, ``gone`` or ``manual``."""
        with self._store.read() as session:
            environment_row = _environment(session, environment.reference)
            return tuple(
                _repository(
                    row, _standing(row), [_object(child, _standing(child)) for child in row.source_configs]
                )
                for row in _repositories(session, environment_row, _plugin(session, plugin))
            )

    def parameters(
        self, repository: str, source_config: str | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """What the plugin returned for a repository and a source config, by their references.

        Raises:
            NotFound: one of them is not known.
        """
        with self._store.read() as session:
            found = session.scalars(
                select(RepositoryRow).where(RepositoryRow.reference == repository)
            ).first()
            if found is None:
                raise not_found("repository", repository, (), "Discover again: dlpx-remote discover.")
            if source_config is None:
                return dict(found.parameters), None
            config = session.scalars(
                select(SourceConfigRow).where(SourceConfigRow.reference == source_config)
            ).first()
            if config is None:
                raise not_found("source config", source_config, (), "Discover again: dlpx-remote discover.")
            return dict(found.parameters), dict(config.parameters)

    def source_config(
        self, environment: Environment, name: str, plugin: str | None = None, repository: str | None = None
    ) -> tuple[str, str, str]:
        """The one source config of that name (or reference) on an environment.

        Args:
            environment: where.
            name: name or reference.
            plugin: identifier of the plugin, where several found one of that name.
            repository: name or reference of the repository, likewise.

        Returns:
            The plugin's identifier, and the references of repository and source config.

        Raises:
            NotFound: there is none.
            InvalidRequest: there are several, or it is gone.
        """
        with self._store.read() as session:
            rows = self._configs(session, environment, plugin, repository)
            found = [row for row in rows if name in (row[2].name, row[2].reference)]
            if not found:
                known = [config.name for _, _, config in rows]
                hint = f"Discover first: dlpx-remote discover {environment.name}."
                raise not_found(f"source config on {environment.name}", name, known, hint)
            if len(found) > 1:
                listed = ", ".join(
                    f"{config.reference} ({owner.name}, {place.name})" for owner, place, config in found
                )
                raise InvalidRequest(
                    f"{environment.name} has {len(found)} source configs named {name!r}.",
                    f"Name one by its reference: {listed}.",
                )
            owner, place, config = found[0]
            if config.state == "gone":
                raise InvalidRequest(
                    f"The source config {name!r} is gone from {environment.name}.",
                    f"If it is back, discover again: dlpx-remote discover {environment.name}.",
                )
            return owner.identifier, place.reference, config.reference

    def repository(self, environment: Environment, plugin: str, name: str | None) -> str:
        """Reference of a plugin's repository on an environment.

        Args:
            environment: where.
            plugin: the plugin's identifier.
            name: name or reference; None for the only one.

        Raises:
            NotFound: there is none.
            InvalidRequest: there are several, or it is gone.
        """
        with self._store.read() as session:
            rows = _repositories(
                session, _environment(session, environment.reference), _plugin(session, plugin)
            )
            if name is not None:
                return _by_name(rows, name, environment.name).reference
            present = [row for row in rows if row.state == "present"]
            if len(present) == 1:
                return present[0].reference
            if not present:
                raise InvalidRequest(
                    f"The plugin has found no repository on {environment.name}.",
                    f"Discover first: dlpx-remote discover {environment.name}.",
                )
            raise InvalidRequest(
                f"There are {len(present)} repositories on {environment.name}.",
                f"Name one with --repository: {', '.join(row.name for row in present)}.",
            )

    def names(self, repository: str, source_config: str | None) -> tuple[str, str | None]:
        """What a repository and a source config are called, by their references."""
        with self._store.read() as session:
            found = session.scalars(select(RepositoryRow).where(RepositoryRow.reference == repository)).one()
            config = session.scalars(
                select(SourceConfigRow).where(SourceConfigRow.reference == (source_config or ""))
            ).first()
            return found.name, None if config is None else config.name

    def _configs(
        self, session: Session, environment: Environment, plugin: str | None, repository: str | None
    ) -> list[tuple[PluginRow, RepositoryRow, SourceConfigRow]]:
        statement = (
            select(PluginRow, RepositoryRow, SourceConfigRow)
            .join(RepositoryRow, RepositoryRow.plugin_id == PluginRow.id)
            .join(SourceConfigRow, SourceConfigRow.repository_id == RepositoryRow.id)
            .join(EnvironmentRow, RepositoryRow.environment_id == EnvironmentRow.id)
            .where(EnvironmentRow.reference == environment.reference)
            .order_by(SourceConfigRow.id)
        )
        if plugin is not None:
            statement = statement.where(PluginRow.identifier == plugin)
        rows = [(row[0], row[1], row[2]) for row in session.execute(statement)]
        return [row for row in rows if repository in (None, row[1].name, row[1].reference)]

    def add_manual(
        self, environment: Environment, plugin: str, repository: str, found: Found
    ) -> DiscoveredObject:
        """A source config that a person added to a repository.

        Args:
            environment: where.
            plugin: the plugin's identifier.
            repository: name or reference.
            found: the source config, already checked against the schema.

        Raises:
            NotFound: no such repository.
            AlreadyExists: its identity is known.
        """
        with self._store.write() as session:
            environment_row = _environment(session, environment.reference, lock=True)
            plugin_row = _plugin(session, plugin)
            now = datetime.now(UTC)
            place = _Place(
                self._store, session, _MANUAL_JOB, now, environment=environment_row.id, plugin=plugin_row.id
            )
            rows = _repositories(session, environment_row, plugin_row)
            row = _by_name(rows, repository, environment.name)
            for child in row.source_configs:
                if child.identity_digest == digest(found.identity):
                    raise AlreadyExists(
                        f"The repository {row.name!r} on {environment.name} has that source config already: "
                        f"{child.name!r} ({child.reference}, {child.state}).",
                        "A source config of your own must differ in an identity field.",
                    )
            child = SourceConfigRow(repository=row, manual=True, **place.columns("source config", found))
            session.add(child)
            session.flush()
            return _object(child, "manual")


def check(found: Sequence[Found]) -> None:
    """Raise DuplicateIdentity when two repositories, or two source configs of one, have one identity."""
    check_identities(found, "repositories")
    for repository in found:
        check_identities(repository.children, "source configs")


class _Place:
    """One environment and plugin, in one transaction of one job."""

    def __init__(
        self, store: Store, session: Session, job: str, started: datetime, *, environment: int, plugin: int
    ) -> None:
        self._store = store
        self._session = session
        self._job = job
        self._started = started
        self._environment = environment
        self._plugin = plugin
        self._now = datetime.now(UTC)

    def apply(self, rows: Mapping[str, RepositoryRow], match: Match) -> DiscoveredRepository:
        """Bring one repository and its source configs up to what was found."""
        row = self._repository_row(rows, match)
        children = {child.reference: child for child in row.source_configs}
        if match.found is None and match.change != "gone":
            left = [_object(child, _standing(child)) for child in children.values()]
            return _repository(row, match.change, left)
        comparison = reconcile(
            [_known(child) for child in children.values()],
            match.found.children if match.found else (),
            self._started,
            "source configs",
        )
        return _repository(row, match.change, [self._apply_child(row, children, one) for one in comparison])

    def _repository_row(self, rows: Mapping[str, RepositoryRow], match: Match) -> RepositoryRow:
        if match.known is not None:
            row = rows[match.known.reference]
            self._update(row, match)
            return row
        row = RepositoryRow(
            environment_id=self._environment,
            plugin_id=self._plugin,
            manual=False,
            **self.columns("repository", match.new),
        )
        self._session.add(row)
        return row

    def _apply_child(
        self, row: RepositoryRow, children: Mapping[str, SourceConfigRow], match: Match
    ) -> DiscoveredObject:
        if match.known is not None:
            child = children[match.known.reference]
            self._update(child, match)
        else:
            child = SourceConfigRow(repository=row, manual=False, **self.columns("source config", match.new))
            self._session.add(child)
        return _object(child, match.change)

    def columns(self, kind: str, found: Found) -> dict[str, Any]:
        """The columns of a new row."""
        number = self._store.next_number(self._session, kind)
        return {
            "reference": f"{kind.upper().replace(' ', '_')}-{number}",
            "identity_digest": digest(found.identity),
            "identity": dict(found.identity),
            "name": storable(found.name),
            "parameters": dict(found.parameters),
            "state": "present",
            "first_seen": self._now,
            "last_seen": self._now,
            "job": self._job,
        }

    def _update(self, row: RepositoryRow | SourceConfigRow, match: Match) -> None:
        """Bring a row up to what was found; a person's entry stays as it is."""
        if match.change == "manual":
            return
        if match.change == "gone":
            row.state = "gone"
            row.job = self._job
        elif match.found is not None:
            row.state = "present"
            row.name = storable(match.found.name)
            row.parameters = dict(match.found.parameters)
            row.last_seen = self._now
            row.job = self._job


def _environment(session: Session, reference: str, *, lock: bool = False) -> EnvironmentRow:
    statement = select(EnvironmentRow).where(EnvironmentRow.reference == reference)
    row = session.scalars(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise unknown_environment(reference, session.scalars(select(EnvironmentRow.reference)).all())
    return row


def _plugin(session: Session, identifier: str) -> PluginRow:
    row = session.scalars(select(PluginRow).where(PluginRow.identifier == identifier)).first()
    if row is None:
        raise not_found("plugin", identifier, session.scalars(select(PluginRow.identifier)).all(), "")
    return row


def _repositories(session: Session, environment: EnvironmentRow, plugin: PluginRow) -> list[RepositoryRow]:
    return list(
        session.scalars(
            select(RepositoryRow)
            .where(RepositoryRow.environment_id == environment.id, RepositoryRow.plugin_id == plugin.id)
            .order_by(RepositoryRow.id)
            .options(selectinload(RepositoryRow.source_configs))
        )
    )


def _by_name(rows: Sequence[RepositoryRow], name: str, environment: str) -> RepositoryRow:
    matching = [row for row in rows if name in (row.name, row.reference)]
    if not matching:
        raise not_found(
            f"repository on {environment}",
            name,
            [row.name for row in rows],
            f"Discover first: dlpx-remote discover {environment}.",
        )
    if len(matching) > 1:
        raise InvalidRequest(
            f"{environment} has {len(matching)} repositories named {name!r}.",
            f"Name one by its reference: {', '.join(row.reference for row in matching)}.",
        )
    if matching[0].state == "gone":
        raise InvalidRequest(
            f"The repository {name!r} is gone from {environment}.",
            "Only a repository that the last discovery found can take a source config.",
        )
    return matching[0]


def _known(row: RepositoryRow | SourceConfigRow) -> Known:
    return Known(
        reference=row.reference,
        name=row.name,
        identity=row.identity,
        parameters=row.parameters,
        present=row.state == "present",
        manual=row.manual,
        last_seen=row.last_seen,
    )


def _standing(row: RepositoryRow | SourceConfigRow) -> Change:
    if row.state == "gone":
        return "gone"
    return "manual" if row.manual else "unchanged"


def _object(row: SourceConfigRow, change: Change) -> DiscoveredObject:
    return DiscoveredObject(row.name, row.identity, row.parameters, change, row.reference)


def _repository(
    row: RepositoryRow, change: Change, children: Sequence[DiscoveredObject]
) -> DiscoveredRepository:
    return DiscoveredRepository(
        row.name, row.identity, row.parameters, change, row.reference, tuple(children)
    )
