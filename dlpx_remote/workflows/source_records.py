"""The dSources, VDBs and their snapshots in the state: making, finding, changing and removing them.

Every change says what is to be, not what is to change, so that a step that is run again ends the same.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dlpx_remote.environments.registry import not_found
from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.store.models import (
    EnvironmentRow,
    PluginRow,
    RepositoryRow,
    SourceConfigRow,
    UserRow,
)
from dlpx_remote.store.source_models import SnapshotRow, SourceRow
from dlpx_remote.workflows.sources import (
    CREATING,
    INTERVAL,
    Footing,
    Kind,
    Snapshot,
    Source,
    moment,
)

TAKING = "taking"
READY = "ready"
DELETING = "deleting"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_REFERENCE = re.compile(r"(DSOURCE|VDB|SNAPSHOT)-[0-9]+", re.IGNORECASE)
_WORDS = {"dsource": "dSource", "vdb": "VDB"}


class SourceRecords:
    """What the state says of dSources, VDBs and snapshots."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # sources

    def all(self, kind: Kind | None = None) -> list[Source]:
        """Every one, or every one of a kind, by name."""
        with self._store.read() as session:
            statement = select(SourceRow).order_by(SourceRow.name)
            if kind is not None:
                statement = statement.where(SourceRow.kind == kind)
            return [_source(session, row) for row in session.scalars(statement)]

    def get(self, name: str, kind: Kind | None = None) -> Source:
        """By name or reference.

        Raises:
            NotFound: with the nearest known name; also when it is of the other kind.
        """
        with self._store.read() as session:
            return _source(session, _row(session, name, kind))

    def require_free(self, name: str) -> None:
        """Raise unless a new dSource or VDB may have this name."""
        check_name(name)
        with self._store.read() as session:
            _require_free(session, name)

    def create(self, request: Mapping[str, Any], job: str) -> Source:
        """Record a source that is about to be made; again for the same job, what was recorded then.

        Args:
            request: ``kind``, ``name``, the references ``plugin``, ``repository``, ``environment``, ``user``
                and, where there are such, ``source_config``, ``staging_environment``, ``staging_user``,
                ``origin``; ``parameters``, ``interval``.
            job: reference of the job.

        Raises:
            AlreadyExists: another one has that name.
            NotFound: something it names has been removed meanwhile.
        """
        kind, name = request["kind"], request["name"]
        with self._store.write() as session:
            known = session.scalars(select(SourceRow).where(SourceRow.name == name)).first()
            if known is not None and known.job == job:
                return _source(session, known)
            _require_free(session, name)
            if request.get("origin") is not None:
                _lock_snapshot(session, request["origin"])
            reference = f"{kind.upper()}-{self._store.next_number(session, kind)}"
            now = datetime.now(UTC)
            row = SourceRow(
                reference=reference,
                guid=str(uuid.uuid4()),
                kind=kind,
                name=name,
                plugin_id=_id(session, PluginRow, request["plugin"], PluginRow.identifier),
                repository_id=_id(session, RepositoryRow, request["repository"]),
                environment_id=_id(session, EnvironmentRow, request["environment"]),
                user_id=_id(session, UserRow, request["user"]),
                source_config_id=_optional(session, SourceConfigRow, request.get("source_config")),
                staging_environment_id=_optional(session, EnvironmentRow, request.get("staging_environment")),
                staging_user_id=_optional(session, UserRow, request.get("staging_user")),
                parameters=dict(request.get("parameters") or {}),
                state=CREATING,
                active=False,
                current=Footing(reference, request.get("origin")).to_json(),
                previous=None,
                retired=[],
                generation=1,
                interval=request.get("interval") or INTERVAL,
                status="",
                status_time=None,
                size=None,
                size_time=None,
                job=job,
                added=now,
                changed=now,
            )
            session.add(row)
            session.flush()
            return _source(session, row)

    def update(self, reference: str, **values: Any) -> None:
        """Set columns of a source; a :class:`Footing` is given as such. One that is gone is no error.

        Args:
            reference: of the source.
            values: by the names of :class:`Source`.
        """
        with self._store.write() as session:
            row = session.scalars(select(SourceRow).where(SourceRow.reference == reference)).first()
            if row is None:
                return
            for name, value in values.items():
                setattr(row, name, _column(value))
            row.changed = datetime.now(UTC)

    def note_status(self, reference: str, status: str) -> None:
        """Remember what a plugin said of a source just now."""
        self.update(reference, status=status, status_time=datetime.now(UTC))

    def note_size(self, reference: str, size: int) -> None:
        """Remember how many bytes a plugin said just now that a source has."""
        self.update(reference, size=size, size_time=datetime.now(UTC))

    def remove(self, reference: str) -> None:
        """Forget a source with its snapshots and hooks; one that is gone is no error."""
        with self._store.write() as session:
            row = session.scalars(select(SourceRow).where(SourceRow.reference == reference)).first()
            if row is not None:
                session.delete(row)

    def using_environment(self, reference: str, user: str | None = None) -> list[Source]:
        """The sources that lie on an environment, or belong to a user of it."""
        return [
            source
            for source in self.all()
            if (reference, user or source.user) == (source.environment, source.user)
            or (reference, user or source.staging_user) == (source.staging_environment, source.staging_user)
        ]

    def children(self, snapshot: str) -> list[Source]:
        """The VDBs that have a state, present or earlier, that came from a snapshot."""
        return [
            source
            for source in self.all("vdb")
            if any(footing.origin == snapshot for footing in source.footings)
        ]

    # snapshots

    def snapshots(self, source: str | None = None) -> list[Snapshot]:
        """Every snapshot, or those of one source by reference, oldest first."""
        with self._store.read() as session:
            statement = select(SnapshotRow).order_by(SnapshotRow.id)
            if source is not None:
                statement = statement.join(SourceRow).where(SourceRow.reference == source)
            return [_snapshot(row) for row in session.scalars(statement)]

    def snapshot(self, name: str) -> Snapshot:
        """By its reference, or the newest of a source by that one's name.

        Raises:
            NotFound: there is none.
        """
        with self._store.read() as session:
            row = session.scalars(select(SnapshotRow).where(SnapshotRow.reference == name.upper())).first()
            if row is None:
                row = self._newest(session, name)
            return _snapshot(row)

    def ready(self, reference: str) -> Snapshot:
        """A snapshot that is whole, by its reference.

        Raises:
            NotFound: there is none.
            InvalidRequest: it is not whole yet, or about to go.
        """
        found = self.snapshot(reference)
        if found.state != READY:
            raise InvalidRequest(f"{reference} is {found.state}.", "Choose another snapshot.")
        return found

    def _newest(self, session: Session, name: str) -> SnapshotRow:
        source = session.scalars(
            select(SourceRow).where(or_(SourceRow.name == name, SourceRow.reference == name.upper()))
        ).first()
        if source is None:
            known = [
                *session.scalars(select(SourceRow.name)),
                *session.scalars(select(SnapshotRow.reference)),
            ]
            raise not_found("snapshot or source", name, known, "Take one: dlpx-remote dsource sync NAME.")
        ready = [row for row in source.snapshots if row.state == READY]
        if not ready:
            how = "dsource sync" if source.kind == "dsource" else "vdb snapshot"
            raise InvalidRequest(
                f"The {_WORDS[source.kind]} {name} has no snapshot yet.",
                f"Take one first: dlpx-remote {how} {name}.",
            )
        return ready[-1]

    def new_snapshot(self, source: Source, parameters: Mapping[str, Any] | None, job: str) -> Snapshot:
        """Record a snapshot that is about to be taken; again for the same job, what was recorded then."""
        with self._store.write() as session:
            row = _row(session, source.reference)
            for known in row.snapshots:
                if known.job == job:
                    return _snapshot(known)
            taken = SnapshotRow(
                reference=f"SNAPSHOT-{self._store.next_number(session, 'snapshot')}",
                source=row,
                source_volume=source.current.volume,
                parent=source.current.origin,
                state=TAKING,
                parameters=None if parameters is None else dict(parameters),
                value=None,
                job=job,
                taken=datetime.now(UTC),
            )
            session.add(taken)
            session.flush()
            return _snapshot(taken)

    def unfinished(self, source: str, job: str) -> list[Snapshot]:
        """What a job has begun to take of a source and not finished."""
        with self._store.read() as session:
            statement = (
                select(SnapshotRow)
                .join(SourceRow)
                .where(SourceRow.reference == source, SnapshotRow.job == job, SnapshotRow.state == TAKING)
            )
            return [_snapshot(row) for row in session.scalars(statement)]

    def keep_snapshot(self, reference: str, value: Mapping[str, Any]) -> None:
        """The snapshot is whole: the plugin has said what it is of."""
        self._set_snapshot(reference, state=READY, value=dict(value))

    def deleting_snapshot(self, reference: str) -> None:
        """The snapshot is about to go, and nothing may be made from it any more.

        Raises:
            InvalidRequest: something has been made from it meanwhile.
        """
        with self._store.write() as session:
            row = session.scalars(
                select(SnapshotRow).where(SnapshotRow.reference == reference).with_for_update()
            ).first()
            if row is None:
                return
            for source in session.scalars(select(SourceRow).where(SourceRow.kind == "vdb")):
                footings = (source.current, source.previous or {}, *source.retired)
                if any(footing.get("origin") == reference for footing in footings):
                    raise InvalidRequest(
                        f"{reference} is needed by the VDB {source.name} meanwhile.",
                        "See what there is: dlpx-remote vdb list.",
                    )
            row.state = DELETING

    def remove_snapshot(self, reference: str) -> None:
        """Forget a snapshot; one that is gone is no error."""
        with self._store.write() as session:
            row = session.scalars(select(SnapshotRow).where(SnapshotRow.reference == reference)).first()
            if row is not None:
                session.delete(row)

    def _set_snapshot(self, reference: str, **values: Any) -> None:
        with self._store.write() as session:
            row = session.scalars(select(SnapshotRow).where(SnapshotRow.reference == reference)).first()
            if row is not None:
                for name, value in values.items():
                    setattr(row, name, value)


def _column(value: Any) -> Any:
    if isinstance(value, Footing):
        return value.to_json()
    return [_column(each) for each in value] if isinstance(value, tuple) else value


def check_name(name: str) -> None:
    """Raise unless a dSource or VDB may be called so."""
    if not _NAME.fullmatch(name) or _REFERENCE.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of a dSource or VDB.",
            "Names have letters, digits, '_', '.' and '-', at most 100 of them, and are no references "
            "such as VDB-3.",
        )


def _require_free(session: Session, name: str) -> None:
    known = session.scalars(select(SourceRow).where(SourceRow.name == name)).first()
    if known is not None:
        raise AlreadyExists(
            f"There is a {_WORDS[known.kind]} named {name!r} already ({known.reference}).",
            f"Choose another name, or delete it first: dlpx-remote {known.kind} delete {name}.",
        )


def _lock_snapshot(session: Session, reference: str) -> None:
    row = session.scalars(
        select(SnapshotRow).where(SnapshotRow.reference == reference).with_for_update()
    ).first()
    if row is None or row.state != READY:
        raise InvalidRequest(f"{reference} is no longer there.", "Choose another snapshot.")


def _row(session: Session, name: str, kind: Kind | None = None) -> SourceRow:
    found = session.scalars(
        select(SourceRow).where(or_(SourceRow.name == name, SourceRow.reference == name.upper()))
    ).first()
    if found is not None and kind in (None, found.kind):
        return found
    word = _WORDS[kind] if kind else "dSource or VDB"
    if found is not None:
        raise InvalidRequest(
            f"{name} is a {_WORDS[found.kind]}, not a {word}.",
            f"Use dlpx-remote {found.kind} instead.",
        )
    how = {
        "dsource": "Link one: dlpx-remote dsource link NAME …",
        "vdb": "Make one: dlpx-remote vdb provision NAME …",
    }
    statement = select(SourceRow.name)
    if kind is not None:
        statement = statement.where(SourceRow.kind == kind)
    raise not_found(word, name, session.scalars(statement).all(), how.get(kind or "", how["dsource"]))


def _id(session: Session, model: Any, reference: str, column: Any = None) -> int:
    found = session.scalars(
        select(model.id).where((model.reference if column is None else column) == reference)
    ).first()
    if found is None:
        raise not_found("object", reference, (), "It has been removed meanwhile.")
    return int(found)


def _optional(session: Session, model: Any, reference: str | None) -> int | None:
    return None if reference is None else _id(session, model, reference)


def _source(session: Session, row: SourceRow) -> Source:
    def reference(model: Any, key: int | None, column: Any = None) -> Any:
        return None if key is None else getattr(session.get_one(model, key), column or "reference")

    plugin = session.get_one(PluginRow, row.plugin_id)
    return Source(
        reference=row.reference,
        guid=row.guid,
        kind=row.kind,  # type: ignore[arg-type]  # written by this module only
        name=row.name,
        plugin=plugin.identifier,
        plugin_name=plugin.name,
        repository=reference(RepositoryRow, row.repository_id),
        environment=reference(EnvironmentRow, row.environment_id),
        user=reference(UserRow, row.user_id),
        source_config=reference(SourceConfigRow, row.source_config_id),
        staging_environment=reference(EnvironmentRow, row.staging_environment_id),
        staging_user=reference(UserRow, row.staging_user_id),
        parameters=dict(row.parameters),
        state=row.state,
        active=row.active,
        current=Footing.from_json(row.current),
        previous=None if row.previous is None else Footing.from_json(row.previous),
        retired=tuple(Footing.from_json(each) for each in row.retired),
        generation=row.generation,
        interval=row.interval,
        status=row.status,
        status_time=moment(row.status_time),
        size=row.size,
        size_time=moment(row.size_time),
        added=moment(row.added),
        changed=moment(row.changed),
    )


def _snapshot(row: SnapshotRow) -> Snapshot:
    return Snapshot(
        reference=row.reference,
        source=row.source.reference,
        source_name=row.source.name,
        source_volume=row.source_volume,
        parent=row.parent,
        state=row.state,
        parameters=row.parameters,
        value=row.value,
        taken=moment(row.taken),
    )


def newest_of(snapshots: Sequence[Snapshot], volume: str) -> Snapshot | None:
    """The newest whole snapshot of a volume."""
    ready = [each for each in snapshots if each.state == READY and each.source_volume == volume]
    return ready[-1] if ready else None
