"""The ledger: what the engine has made, or is about to make or take away, outside its database.

The intent is committed before the effect, so that after a crash everything that may be there is named here.
Only what the ledger names is ever deleted, which makes a damaged ledger dangerous: every row carries a
digest, one seal holds for all rows, and beside a SQLite file lies a mark of how far the ledger had come.
Whatever does not agree is a :class:`~dlpx_remote.store.StateError`, and nothing is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.store.database import StateError, Store
from dlpx_remote.store.digests import EMPTY, combined, digest
from dlpx_remote.store.models import LedgerRow, LedgerSealRow

MARK = "ledger.mark"
"""Name of the file in the state directory that holds the ledger's sequence number."""

_SEAL = 1
_LONGEST = 500  # characters of a name


class Kind(StrEnum):
    """What an entry stands for."""

    VOLUME = "volume"
    """A data set, a snapshot or a clone, in the pool."""
    PRESENTATION = "presentation"
    """A mount on the engine's machine, in which a volume's ownership is mapped."""
    EXPORT = "export"
    """A directory that an NFS server serves."""
    MOUNT = "mount"
    """A mount on a host."""
    LEFT = "left"
    """A mount that had to be left on a host that did not answer; its volume may be gone by now."""
    DIRECTORY = "directory"
    """A directory that was made on a host to mount on."""


class State(StrEnum):
    """How far it has come."""

    INTENDED = "intended"
    """It may be there, whole or in part."""
    PRESENT = "present"
    REMOVING = "removing"
    """It may still be there, whole or in part, and is to go."""


@dataclass(frozen=True)
class Entry:
    """One thing outside the database.

    Attributes:
        kind: what it is.
        name: unique within its kind.
        state: how far it has come.
        parent: name of the volume that it hangs on; that volume cannot go before it.
        details: what is needed to finish or undo it, plain JSON; no secret.
        job: reference of the job that asked for it, if one did.
        intended: when it was first asked for.
        changed: when the entry was last changed.
    """

    kind: Kind
    name: str
    state: State
    parent: str | None
    details: dict[str, Any]
    job: str | None
    intended: datetime
    changed: datetime


class StillNeeded(InvalidRequest):
    """Other entries hang on the volume that is to go."""

    def __init__(self, message: str, action: str = "", *, dependants: tuple[Entry, ...] = ()) -> None:
        super().__init__(message, action)
        self.dependants = dependants


class Ledger:
    """What exists outside the database. Safe for use from several threads, and beside other processes.

    Every method raises :class:`StateError` when the ledger is damaged.

    Args:
        store: the opened state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mark = store.directory / MARK if store.is_file else None
        self._verified = False

    def intend(
        self,
        kind: Kind,
        name: str,
        *,
        parent: str | None = None,
        details: dict[str, Any] | None = None,
        job: str | None = None,
    ) -> Entry:
        """Say what is about to be made; committed when this returns.

        An entry that is there already is given back: as it is when nothing new is said about it, ``intended``
        again when other details are given or it was being taken away.

        Args:
            kind: what it is.
            name: unique within its kind; at most 500 characters.
            parent: name of the volume that it hangs on.
            details: what is needed to finish or undo it, plain JSON.
            job: reference of the job that asks for it.

        Raises:
            NotFound: the ledger names no such parent.
            StillNeeded: the parent is being taken away.
            AlreadyExists: the entry is there, under another parent.
        """
        if not 0 < len(name) <= _LONGEST:
            raise InvalidRequest(f"A name in the ledger has 1 to {_LONGEST} characters, not {len(name)}.")
        with self._change() as rows:
            now = datetime.now(UTC)
            row = rows.find(kind, name)
            if parent is not None:
                _check_parent(rows, kind, name, parent)
            if row is None:
                row = LedgerRow(kind=kind, name=name, parent=parent, details=details or {}, intended=now)
                rows.add(row)
            elif row.parent != parent:
                raise AlreadyExists(
                    f"The {kind} {name} is there already, {_under(row.parent)} instead of {_under(parent)}.",
                    "Choose another name.",
                )
            elif row.state != State.REMOVING and (details is None or details == row.details):
                return _entry(row)
            row.state = State.INTENDED
            if details is not None:
                row.details = details
            row.job = job if job is not None else row.job
            return rows.seal(row, now)

    def present(self, kind: Kind, name: str, details: dict[str, Any] | None = None) -> Entry:
        """Say that it has been made.

        Args:
            kind: what it is.
            name: as it was intended.
            details: added to those of the entry, in place of those of the same name.

        Raises:
            NotFound: the ledger names no such thing.
        """
        with self._change() as rows:
            row = rows.get(kind, name)
            row.state = State.PRESENT
            row.details = {**row.details, **(details or {})}
            return rows.seal(row, datetime.now(UTC))

    def removing(self, kind: Kind, name: str) -> Entry:
        """Say that it is about to be taken away. Nothing is deleted without this; it checks all entries.

        Raises:
            NotFound: the ledger names no such thing, so it must not be touched.
            StillNeeded: it is a volume, and other entries hang on it.
        """
        with self._change() as rows:
            rows.verify()
            row = rows.get(kind, name)
            dependants = rows.matching({"parent": name}) if kind is Kind.VOLUME else []
            if dependants:
                names = ", ".join(f"{entry.kind} {entry.name}" for entry in dependants)
                raise StillNeeded(
                    f"The volume {name} is still needed by {names}.",
                    "Remove those first.",
                    dependants=tuple(dependants),
                )
            row.state = State.REMOVING
            return rows.seal(row, datetime.now(UTC))

    def gone(self, kind: Kind, name: str) -> None:
        """Say that it is no longer there; an entry that is not there is no error."""
        with self._change() as rows:
            row = rows.find(kind, name)
            if row is not None:
                rows.remove(row)

    def get(self, kind: Kind, name: str) -> Entry | None:
        """What is known of one thing."""
        with self._store.read() as session:
            with _readable(self._store.place):
                row = self._open(session).find(kind, name)
            return None if row is None else _entry(row)

    def entries(
        self,
        *,
        kind: Kind | None = None,
        parent: str | None = None,
        job: str | None = None,
        state: State | None = None,
    ) -> list[Entry]:
        """Everything that fits, in the order in which it was first intended.

        Args:
            kind: only these; None for all, here and below.
            parent: only what hangs on this volume.
            job: only what this job asked for.
            state: only what has come this far.
        """
        wanted = {"kind": kind, "parent": parent, "job": job, "state": state}
        with self._store.read() as session, _readable(self._store.place):
            return self._open(session).matching(
                {column: value for column, value in wanted.items() if value is not None}
            )

    def verify(self) -> None:
        """Check the whole ledger against its seal, as :meth:`removing` does by itself."""
        with self._store.read() as session, _readable(self._store.place):
            self._open(session).verify()

    @contextlib.contextmanager
    def _change(self) -> Iterator[_Rows]:
        """The rows, under a lock that keeps every other writer out until they are sealed again."""
        with self._store.write() as session:
            with _readable(self._store.place):
                rows = self._open(session, lock=True)
            yield rows
            session.flush()
            reached = rows.sequence
        if rows.changed and self._mark is not None:
            _write_mark(self._mark, reached)

    def _open(self, session: Session, lock: bool = False) -> _Rows:
        # before the session sees a state of the database: another process may change both at any time
        reached = _read_mark(self._mark) if self._mark is not None else 0
        statement = select(LedgerSealRow).where(LedgerSealRow.id == _SEAL)
        seal = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
        if seal is None:
            raise _damaged(self._store.place, "its seal is missing")
        if reached is None or reached > seal.sequence:
            raise self._outdated(seal.sequence, reached)
        rows = _Rows(session, seal, self._store.place)
        if not self._verified:
            rows.verify_structure()
            rows.verify()
            self._verified = True
        return rows

    def _outdated(self, sequence: int, reached: int | None) -> StateError:
        words = "something unreadable" if reached is None else str(reached)
        return StateError(
            f"The state {self._store.place} is older than it was: its ledger has come to change {sequence}, "
            f"but {self._mark} says {words}.",
            "Restore the newest backup. If this is the newest there is, compare it with what really is there "
            f"(dlpx-remote doctor), then remove {self._mark}. Until then nothing is made or deleted.",
        )


class _Rows:
    """The rows of the ledger in one transaction; none is handed out unchecked."""

    def __init__(self, session: Session, seal: LedgerSealRow, place: str) -> None:
        self.changed = False
        self._session = session
        self._seal = seal
        self._place = place

    @property
    def sequence(self) -> int:
        return self._seal.sequence

    def find(self, kind: Kind, name: str) -> LedgerRow | None:
        wanted = select(LedgerRow).where(LedgerRow.kind == kind, LedgerRow.name == name)
        with _readable(self._place):
            found = self._session.scalars(wanted).one_or_none()
            if found is not None:
                self._verify_row(found)
        return found

    def get(self, kind: Kind, name: str) -> LedgerRow:
        row = self.find(kind, name)
        if row is None:
            raise NotFound(
                f"The ledger names no {kind} {name}, so it is left alone.",
                "See what there is with `dlpx-remote storage list`.",
            )
        return row

    def matching(self, wanted: dict[str, str]) -> list[Entry]:
        statement = select(LedgerRow).filter_by(**wanted).order_by(LedgerRow.id)
        with _readable(self._place):
            rows = self._session.scalars(statement).all()
            for row in rows:
                self._verify_row(row)
        return [_entry(row) for row in rows]

    def add(self, row: LedgerRow) -> None:
        row.digest = EMPTY
        self._session.add(row)

    def seal(self, row: LedgerRow, now: datetime) -> Entry:
        before = row.digest
        row.changed = now
        row.digest = _digest(row)
        self._replace(before, row.digest)
        return _entry(row)

    def remove(self, row: LedgerRow) -> None:
        self._session.delete(row)
        self._replace(row.digest, EMPTY)

    def verify(self) -> None:
        """Every row, and that none is missing."""
        digests = []
        with _readable(self._place):
            for row in self._session.execute(select(*LedgerRow.__table__.columns)):
                self._verify_row(row)
                digests.append(row.digest)
        if combined(*digests) != self._seal.digest:
            raise _damaged(self._place, "entries are missing, or are there that were never written")

    def verify_structure(self) -> None:
        """That the indexes agree with the table, which SQLite does not check when it opens a database."""
        connection = self._session.connection()
        if connection.dialect.name == "sqlite":
            answer = connection.exec_driver_sql(f"PRAGMA integrity_check({LedgerRow.__tablename__})").scalar()
            if answer != "ok":
                raise _damaged(self._place, str(answer))

    def _verify_row(self, row: LedgerRow | Row[Any]) -> None:
        if _digest(row) != row.digest:
            raise _damaged(self._place, f"entry {row.id} is not what was written")

    def _replace(self, before: str, after: str) -> None:
        self._seal.digest = combined(self._seal.digest, before, after)
        self._seal.sequence += 1
        self.changed = True


@contextlib.contextmanager
def _readable(place: str) -> Iterator[None]:
    """What cannot even be turned into a value, a JSON text or a time for example, is damaged too."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise _damaged(place, f"a value cannot be read ({error})") from error


def _damaged(place: str, words: str) -> StateError:
    return StateError(
        f"The ledger in {place} is damaged: {words}.",
        "Restore the state from a backup; nothing was made or deleted, and the state was left as it is.",
    )


def _check_parent(rows: _Rows, kind: Kind, name: str, parent: str) -> None:
    found = rows.find(Kind.VOLUME, parent)
    if found is None:
        raise NotFound(
            f"The {kind} {name} cannot be made: the ledger names no volume {parent}.",
            "See what there is with `dlpx-remote storage list`.",
        )
    if found.state == State.REMOVING:
        raise StillNeeded(
            f"The {kind} {name} cannot be made: the volume {parent} is being removed.",
            "Choose another volume.",
        )


def _under(parent: str | None) -> str:
    return "on its own" if parent is None else f"under {parent}"


def _digest(row: LedgerRow | Row[Any]) -> str:
    return digest(
        row.kind,
        row.name,
        row.state,
        row.parent,
        row.details,
        row.job,
        row.intended.isoformat(),
        row.changed.isoformat(),
    )


def _entry(row: LedgerRow) -> Entry:
    return Entry(
        kind=Kind(row.kind),
        name=row.name,
        state=State(row.state),
        parent=row.parent,
        details=dict(row.details),
        job=row.job,
        intended=row.intended,
        changed=row.changed,
    )


def _write_mark(mark: Path, sequence: int) -> None:
    """Not forced to the disk: after a loss of power a mark that is behind does no harm."""
    descriptor = os.open(mark, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        reached = _number(os.pread(descriptor, 100, 0))
        if reached is not None and reached < sequence:
            os.pwrite(descriptor, f"{sequence:020d}\n".encode("ascii"), 0)
    finally:
        os.close(descriptor)


def _read_mark(mark: Path) -> int | None:
    """The number in it; zero where there is no mark, None where it cannot be read."""
    try:
        descriptor = os.open(mark, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return _number(os.pread(descriptor, 100, 0))
    finally:
        os.close(descriptor)


def _number(words: bytes) -> int | None:
    if not words:
        return 0  # made by a process that has not written yet
    return int(words) if len(words) == 21 and words[:20].isdigit() else None
