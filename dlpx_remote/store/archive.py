"""The whole state in one file, and a state made of such a file.

Rows are kept as JSON, so a state that lay in SQLite can be restored to PostgreSQL and the other way round.
Each part carries its digest: a damaged archive is refused before anything is made of it. Data sets are not in
it, nor secrets, of which the state has none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sqlalchemy import Connection, DateTime, Integer, MetaData, Table, func, insert, select, text
from sqlalchemy.orm import Session

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.store.database import DATABASE, REVISION, StateError, Store
from dlpx_remote.store.job_models import JobRow
from dlpx_remote.store.models import Base

_FORMAT = 1
_MANIFEST = "manifest.json"
_ROWS = "rows"
_FILES = "files"
_PARTS = ("plugins", "known_hosts", "ledger.mark")
"""What of the state directory belongs to the state; logs and locks do not."""
_PASSING = frozenset({"alembic_version", "executors"})
"""Tables whose rows mean nothing to another process."""


class ArchiveUnusable(StateError):
    """A file is no archive of a state, or a damaged one, or it cannot be written."""


@dataclass(frozen=True)
class Archive:
    """What is in an archive.

    Attributes:
        file: where it is.
        made: when.
        revision: the migration that the state had.
        rows: number of rows by table.
        files: number of files of the state directory.
        size: bytes.
    """

    file: Path
    made: datetime
    revision: str
    rows: Mapping[str, int]
    files: int
    size: int


def write_archive(store: Store, file: Path) -> Archive:
    """Keep the state in ``file``, as it is at one moment, whole or not at all; readable by its owner only.

    Nothing is written to the state while this runs.

    Raises:
        ArchiveUnusable: the file is there already, or cannot be written.
        InvalidRequest: a job has not ended; its journal could not go on after a restore.
        StateError: the state cannot be read.
    """
    if file.exists():
        raise ArchiveUnusable(f"There is a file {file} already.", "Name another one; nothing is overwritten.")
    made = datetime.now(UTC)
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as raw, store.write() as session:
                _refuse_unfinished_jobs(session)
                contents = dict(_contents(session.connection(), store.directory))
                manifest = {
                    "format": _FORMAT,
                    "made": made.isoformat(),
                    "revision": REVISION,
                    "digests": {name: _digest(content) for name, content in contents.items()},
                    "modes": {
                        name: stat.S_IMODE(_place(store.directory, name).stat().st_mode)
                        for name in contents
                        if name.startswith(f"{_FILES}/")
                    },
                }
                with tarfile.open(fileobj=raw, mode="w:gz") as archive:
                    for name, content in ((_MANIFEST, _json(manifest)), *contents.items()):
                        member = tarfile.TarInfo(name)
                        member.size, member.mode, member.mtime = len(content), 0o600, int(made.timestamp())
                        archive.addfile(member, io.BytesIO(content))
                raw.flush()
                os.fsync(raw.fileno())
            os.link(beside, file)  # unlike a rename, never over a file that came in between
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveUnusable(
            f"The backup {file} cannot be written: {error.strerror or error}.",
            "Name a file in a directory where you may write, on a file system with room.",
        ) from error
    return read_archive(file)


def read_archive(file: Path) -> Archive:
    """What is in ``file``, once all of it has been read and found whole.

    Raises:
        ArchiveUnusable: it is no archive of a state, or a damaged one.
    """
    return _described(file, *_read(file))


def _described(file: Path, manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> Archive:
    rows = {
        PurePosixPath(name).stem: content.count(b"\n")
        for name, content in contents.items()
        if name.startswith(f"{_ROWS}/")
    }
    return Archive(
        file,
        datetime.fromisoformat(manifest["made"]),
        manifest["revision"],
        rows,
        len(contents) - len(rows),
        file.stat().st_size,
    )


def restore_archive(file: Path, directory: Path, url: str | None = None) -> Archive:
    """Make a state of ``file``, of the present version whatever version it was written by.

    Args:
        file: what :func:`write_archive` wrote.
        directory: the state directory, which has no state yet.
        url: SQLAlchemy URL of an empty database; None means SQLite in ``directory``.

    Raises:
        ArchiveUnusable: the file is no archive, or a damaged one, or of a newer version. Nothing was made.
        InvalidRequest: there is a state already. It was left as it is.
        StateError: the directory or database cannot be used.
    """
    manifest, contents = _read(file)
    _refuse_what_is_there(directory, url)
    store = Store.at_revision(directory, url, manifest["revision"])
    try:
        with store.write() as session:
            connection = session.connection()
            _refuse_rows(connection, store.place)
            _load(connection, contents)
            _move_plugins(connection, directory / "plugins")
            _write_files(contents, manifest["modes"], directory)
    except BaseException:
        store.close()
        _take_away(directory, contents, url)
        raise
    store.close()
    Store(directory, url).close()  # brings it to the present version
    return _described(file, manifest, contents)


def _refuse_unfinished_jobs(session: Session) -> None:
    unfinished = session.scalars(
        select(JobRow.reference).where(JobRow.finished.is_(None)).order_by(JobRow.id)
    ).all()
    if unfinished:
        raise InvalidRequest(
            f"There are jobs that have not ended: {', '.join(unfinished)}.",
            "Wait for them (dlpx-remote job follow JOB) or cancel them, then make the backup again.",
        )


def _contents(connection: Connection, directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every part of the state by its name in the archive."""
    for table in _tables(connection):
        rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        lines = [json.dumps(dict(row), default=_moment, sort_keys=True) + "\n" for row in rows]
        yield f"{_ROWS}/{table.name}.jsonl", "".join(lines).encode()
    for part in _PARTS:
        place = directory / part
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{_FILES}/{path.relative_to(directory).as_posix()}", path.read_bytes()


def _tables(connection: Connection) -> list[Table]:
    """Our tables as they are in the database, those that others refer to first."""
    present = MetaData()
    names = set(Base.metadata.tables) - _PASSING
    present.reflect(connection, only=lambda name, _: name in names)
    return present.sorted_tables


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _load(connection: Connection, contents: Mapping[str, bytes]) -> None:
    for table in _tables(connection):
        lines = contents.get(f"{_ROWS}/{table.name}.jsonl", b"").splitlines()
        moments = [column.name for column in table.columns if isinstance(column.type, DateTime)]
        connection.execute(table.delete())  # what the migrations themselves put there
        rows = []
        for line in lines:
            row = json.loads(line)
            row |= {name: datetime.fromisoformat(row[name]) for name in moments if row.get(name)}
            rows.append(row)
        if rows:
            connection.execute(insert(table), rows)
        if connection.dialect.name == "postgresql":
            _continue_numbers(connection, table)


def _continue_numbers(connection: Connection, table: Table) -> None:
    """PostgreSQL gives out ids by itself; it must not give out one that came from the archive."""
    for column in table.primary_key.columns:
        if isinstance(column.type, Integer):
            last = connection.execute(select(func.max(column))).scalar()
            if last is not None:
                statement = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
                connection.execute(statement, {"table": table.name, "column": column.name, "last": last})


def _move_plugins(connection: Connection, place: Path) -> None:
    """The copies of plugins lie below the state directory, wherever that is now."""
    for table in _tables(connection):
        if table.name != "plugins":
            continue
        for row in connection.execute(select(table.c.id, table.c.directory)).all():
            there = str(place / PurePosixPath(row.directory).name)
            connection.execute(table.update().where(table.c.id == row.id).values(directory=there))


def _write_files(contents: Mapping[str, bytes], modes: Mapping[str, int], directory: Path) -> None:
    for name, content in contents.items():
        if not name.startswith(f"{_FILES}/"):
            continue
        path = _place(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)
        path.chmod(modes.get(name, 0o600))


def _refuse_what_is_there(directory: Path, url: str | None) -> None:
    found = [directory / part for part in _PARTS if (directory / part).exists()]
    if url is None and (directory / DATABASE).exists():
        found.append(directory / DATABASE)
    if found:
        raise InvalidRequest(
            f"There is a state in {directory} already: {found[-1].name}.",
            "Restore into another directory (--state), or move this one away first.",
        )


def _refuse_rows(connection: Connection, place: str) -> None:
    for table in _tables(connection):
        keys = list(table.primary_key.columns)
        known = table.name in ("counters", "ledger_seal")  # the migrations put rows there
        if not known and connection.execute(select(*keys).limit(1)).first() is not None:
            raise InvalidRequest(
                f"The database {place} has a state already: there are {table.name} in it.",
                "Restore into an empty database.",
            )


def _take_away(directory: Path, contents: Mapping[str, bytes], url: str | None) -> None:
    """What a restore that failed has made in the directory; the transaction took care of a database."""
    for name in contents:
        if name.startswith(f"{_FILES}/"):
            _place(directory, name).unlink(missing_ok=True)
    for left in sorted((directory / "plugins").rglob("*"), reverse=True):
        if left.is_dir():
            left.rmdir()
    if (directory / "plugins").is_dir():
        (directory / "plugins").rmdir()
    if url is None:
        for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
            (directory / name).unlink(missing_ok=True)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    with _damage(file):
        with tarfile.open(file, mode="r:gz") as archive:
            contents = {member.name: _member(archive, member) for member in archive}
        manifest = json.loads(contents.pop(_MANIFEST))
        if manifest["format"] != _FORMAT:
            raise ArchiveUnusable(
                f"{file} was written by a newer dlpx-remote (format {manifest['format']}).",
                "Upgrade dlpx-remote.",
            )
        digests = {name: _digest(content) for name, content in contents.items()}
        if digests != manifest["digests"]:
            raise ValueError("its parts are not those that it lists")
        datetime.fromisoformat(manifest["made"])
        if any(".." in PurePosixPath(name).parts or name.startswith("/") for name in contents):
            raise ValueError("it holds a path that leads out of it")
        dict(manifest["modes"])
        str(manifest["revision"])
    return manifest, contents


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened: IO[bytes] | None = archive.extractfile(member) if member.isreg() else None
    if opened is None:
        raise ValueError("it holds something that is no file")
    return opened.read()


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArchiveUnusable(f"There is no file {file}.", "Name a backup.") from None
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ArchiveUnusable(
            f"{file} is no backup of dlpx-remote, or a damaged one: {words}.",
            "Use another backup; nothing was made of this one.",
        ) from error


def _place(directory: Path, name: str) -> Path:
    """Where a file of the archive lies in a state directory."""
    return directory / PurePosixPath(name).relative_to(_FILES)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
