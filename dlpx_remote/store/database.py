"""Opening the state, and transactions on it.

SQLite in WAL mode by default, another database by URL. A transaction that writes takes the write lock when it
begins: one that reads first and writes later would fail at once under SQLite when another process wrote in
between, however long the busy time-out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import REDACTOR, redact
from dlpx_remote.store.models import CounterRow

DATABASE = "state.db"
REVISION = "0009"
"""The newest migration. Kept here so that opening an up-to-date state need not load the migrations."""

_BUSY_TIMEOUT = 60.0  # seconds; a write takes milliseconds, so this is for a machine that is badly overloaded
_PATIENCE = {  # libpq's, so that nobody waits for a server that vanished; seconds, the last one milliseconds
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_MIGRATING = threading.Lock()  # Alembic knows one migration at a time in a process
_POSTGRESQL_LOCK = 0x646C7078  # any number that is ours: held while one process migrates


class StateError(RemoteError):
    """The engine's state cannot be opened, read or written."""


class Store:
    """The opened state. Safe for use from several threads and beside other processes.

    Args:
        directory: the state directory; made with mode 0700 when it is missing.
        url: SQLAlchemy URL of the database; None means SQLite in ``directory``.

    Raises:
        StateError: the directory or database cannot be used; nothing was changed in it.
    """

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self._wanted = REVISION
        self._begin(directory, url)

    @classmethod
    def at_revision(cls, directory: Path, url: str | None, revision: str) -> Self:
        """The state at an older revision, for rows of that time; see :class:`Store`.

        Raises:
            StateError: as for :class:`Store`, or nobody knows that revision.
        """
        store = cls.__new__(cls)
        store._wanted = revision
        store._begin(directory, url)
        return store

    def _begin(self, directory: Path, url: str | None) -> None:
        self.directory = directory
        _prepare_directory(directory)
        self._place = _parse_url(url) if url else URL.create("sqlite", database=str(directory / DATABASE))
        engine = _create_engine(self._place)
        self._reader = engine if self.is_file else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = engine.execution_options(writes=True)
        try:
            with _lock(directory / "open.lock"), self._errors("opened"):
                self._open()
        except BaseException:
            self.close()
            raise

    @property
    def place(self) -> str:
        """The database, for people: a path, or a URL without its password."""
        if self._place.get_backend_name() == "sqlite":
            return str(self._place.database)
        return self._place.render_as_string(hide_password=True)

    @property
    def is_file(self) -> bool:
        """Whether the database is a file on this machine, which nobody but us looks after."""
        return self._place.get_backend_name() == "sqlite"

    @property
    def url(self) -> URL:
        """The database, with its password where it has one: not for printing."""
        return self._place

    def close(self) -> None:
        """Close every connection to the database. Idempotent."""
        self._reader.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and writes nothing."""
        with self._errors("read"), Session(self._reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock from the start; committed at the end unless an error passes."""
        with self._errors("written"), Session(self._writer) as session, session.begin():
            session.connection()  # begin now, with the write lock, whatever the first statement is
            yield session

    def next_number(self, session: Session, kind: str) -> int:
        """The next number for references of ``kind``; never given out again, whatever is removed."""
        statement = (
            update(CounterRow)
            .where(CounterRow.kind == kind)
            .values(last=CounterRow.last + 1)
            .returning(CounterRow.last)
        )
        return session.execute(statement, execution_options={"synchronize_session": False}).scalar_one()

    def _open(self) -> None:
        if self._place.get_backend_name() == "sqlite":
            self._check_sqlite()
        with self._reader.connect() as connection:
            current = _revision(connection)
        if current != self._wanted:
            self._migrate()

    def _check_sqlite(self) -> None:
        database = Path(str(self._place.database))
        try:
            make_private(database)
        except OSError as error:
            raise StateError(
                f"The state {database} cannot be opened: {error.strerror}.",
                "Choose another state directory, or give yourself access to this one.",
            ) from error
        if stat.S_IMODE(database.stat().st_mode) & 0o077 and database.stat().st_uid == os.geteuid():
            database.chmod(0o600)
        with self._reader.connect() as connection:
            answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            connection.rollback()
            if answer != "ok":
                raise _corrupt(self.place, str(answer))
            raw = connection.connection.cursor()
            if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                raw.execute("PRAGMA journal_mode = WAL")
            raw.close()

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", "dlpx_remote.store:migrations")
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
            current = _revision(connection)
            if current is None and inspect(connection).get_table_names():
                raise StateError(
                    f"{self.place} is a database, but not one of dlpx-remote's.",
                    "Choose another state directory or database; this one was left as it is.",
                )
            if current is not None:
                try:
                    ScriptDirectory.from_config(config).get_revision(current)
                except CommandError:
                    raise StateError(
                        f"The state {self.place} was written by a newer dlpx-remote (revision {current}; "
                        f"this one knows up to {REVISION}).",
                        "Upgrade dlpx-remote, or use another state directory; this one was left as it is.",
                    ) from None
            config.attributes["connection"] = connection
            try:
                with _MIGRATING:
                    command.upgrade(config, "head" if self._wanted == REVISION else self._wanted)
            except CommandError:
                raise StateError(
                    f"What is to be restored was written by a newer dlpx-remote (revision {self._wanted}; "
                    f"this one knows up to {REVISION}).",
                    "Upgrade dlpx-remote.",
                ) from None

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Foreign errors of the database become :class:`StateError`."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            words = redact(str(cause))
            if _means_corrupt(cause):
                raise _corrupt(self.place, words) from error
            raise StateError(
                f"The state {self.place} could not be {done}: {words}.", _advice(words)
            ) from error
        except UnicodeDecodeError as error:  # the driver, of what SQLite quotes from a damaged schema
            raise _corrupt(self.place, str(error)) from error
        except SQLAlchemyError as error:
            raise StateError(f"The state {self.place} could not be {done}: {redact(str(error))}") from error


def make_private(database: Path) -> None:
    """Make the file of a SQLite database before SQLite does, which would take its mode from the umask.

    A file that is there is never opened: closing it would end the locks that another engine of this process
    has on it (POSIX ends a process's locks with any of its descriptors), and the next process to leave would
    take its WAL away under it. Source: https://sqlite.org/howtocorrupt.html, section 2.2.

    Raises:
        OSError: it cannot be made, read or written.
    """
    if not os.access(database, os.F_OK):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(database, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    if not os.access(database, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _prepare_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if stat.S_IMODE(status.st_mode) & 0o077:
            if not (directory / DATABASE).exists() and any(directory.iterdir()):
                raise StateError(
                    f"The directory {directory} holds other files and can be read by others.",
                    "Give the state a directory of its own, or run chmod 700 on this one.",
                )
            directory.chmod(0o700)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise StateError(
            f"The state directory {directory} cannot be used: {error.strerror}.",
            "Choose another one (--state, or the variable DLPX_REMOTE_STATE).",
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Only one process at a time opens and migrates a state."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parse_url(text_of_url: str) -> URL:
    try:
        url = make_url(text_of_url)
    except ArgumentError:
        raise StateError(
            "The URL of the database cannot be read.",
            "It looks like postgresql+psycopg://user@host/database, or sqlite:////absolute/path.",
        ) from None
    if url.password:
        REDACTOR.register(str(url.password))
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StateError(
            f"The state cannot be kept in {url.get_backend_name()}.",
            "Use PostgreSQL (postgresql://user@host/database), or leave it out for SQLite.",
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StateError(
            "The state cannot be kept in memory.", "Give a path: sqlite:////absolute/path, or leave it out."
        )
    return url


def _create_engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return _create_server_engine(url)
        engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT})
    except NoSuchModuleError:
        raise StateError(
            f"No database is known by the name {url.drivername!r}.", "Use sqlite or postgresql+psycopg."
        ) from None
    except ModuleNotFoundError as error:
        raise StateError(
            f"The driver of {url.drivername!r} is not installed.",
            f"Install the Python package {error.name!r} beside dlpx-remote.",
        ) from None

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin when we say so, not when the driver guesses
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_server_engine(url: URL) -> Engine:
    if url.get_backend_name() != "postgresql":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, pool_pre_ping=True, connect_args=_PATIENCE)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:  # a process that was stopped must not hold its locks for ever
            cursor.execute("SET idle_in_transaction_session_timeout = '20s'")
        connection.commit()

    return engine


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _means_corrupt(error: BaseException | None) -> bool:
    words = str(error)
    if "Could not decode to UTF-8" in words or words.startswith(("no such column", "no such table")):
        return True  # a text, or the schema, is not what we wrote
    code: Any = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _corrupt(place: str, words: str) -> StateError:
    return StateError(
        f"The state {place} is damaged, or is not a database: {words}.",
        "Restore it from a backup, or move it away to begin anew; it was left as it is.",
    )


def _advice(words: str) -> str:
    if "locked" in words:
        return "Another process has kept it busy for a minute; see which one, and try again."
    if "full" in words:
        return "Free some space on the file system, and try again."
    if "readonly" in words:
        return "Give yourself write access to the state directory and the files in it."
    return "See what the database itself says; if it is damaged, restore it from a backup."
