"""The state: opening, migrating, refusing, sharing between processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table, create_engine, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from dlpx_remote.store import Ledger, StateError, Store
from dlpx_remote.store.database import REVISION
from dlpx_remote.store.models import Base, CounterRow, EnvironmentRow, RepositoryRow, UserRow

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


def environment_row(number: int) -> EnvironmentRow:
    return EnvironmentRow(
        reference=f"UNIX_HOST_ENVIRONMENT-{number}",
        host_reference=f"UNIX_HOST-{number}",
        name=f"host{number}",
        host="localhost",
        host_type="UNIX",
        jump=[],
        host_key="strict",
        made_on_host=[],
        added=datetime.now(UTC),
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_new_state_is_private_and_durable(state: Path) -> None:
    old = os.umask(0o022)
    try:
        store = Store(state)
        with store.write() as session:
            session.add(environment_row(1))
    finally:
        os.umask(old)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
        "state.db-shm": 0o600,
        "open.lock": 0o600,
    }
    with store.read() as session:
        connection = session.connection()
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    store.close()


def test_the_migrations_make_exactly_the_tables_of_the_models(state: Path) -> None:
    store = Store(state)
    with create_engine(f"sqlite:///{state / 'state.db'}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    store.close()


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "dlpx_remote.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_what_an_older_version_wrote_is_kept_and_means_what_it_meant(state: Path) -> None:
    store = Store(state)
    with store.write() as session:
        row = environment_row(1)
        row.users.append(UserRow(reference="HOST_USER-1", name="anna", is_primary=True, agent=False))
        session.add(row)
        session.flush()
        windows = environment_row(2)
        windows.host_type = "WINDOWS"
        session.add(windows)
        session.flush()
        added_since = ("privilege", "privilege_password_from", "scheme", "login", "ca_file", "unencrypted")
        for column in added_since:
            session.execute(text(f"ALTER TABLE environments DROP COLUMN {column}"))
        for column in ("certificate_path", "key_from"):
            session.execute(text(f"ALTER TABLE environment_users DROP COLUMN {column}"))
        for table in ("outbox", "credentials", "status_history", "boots", "turns", "schedules"):
            session.execute(text(f"DROP TABLE {table}"))
        for table in ("hook_templates", "hooks", "snapshots", "sources"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("DELETE FROM counters WHERE kind IN ('dsource', 'vdb', 'snapshot', 'schedule')"))
        for table in ("job_shares", "job_locks", "job_events", "job_steps", "jobs", "executors"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("DELETE FROM counters WHERE kind = 'job'"))
        for table in ("settings", "ledger", "ledger_seal"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    store.close()
    store = Store(state)
    assert Ledger(store).entries() == []
    with store.read() as session:
        found, windows = session.scalars(select(EnvironmentRow).order_by(EnvironmentRow.id)).all()
        assert (found.privilege, found.privilege_password_from) == ("sudo", None)
        assert (found.scheme, found.login, found.unencrypted) == (None, None, None)
        assert (windows.scheme, windows.login, windows.unencrypted) == ("https", "ntlm", False)
        assert [user.name for user in found.users] == ["anna"]
    store.close()


def test_several_states_are_made_at_once_in_one_process(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda number: Store(tmp_path / str(number)), range(4)))
    for store in stores:
        with store.read() as session:
            assert session.scalars(select(EnvironmentRow)).all() == []
        store.close()


def test_what_was_written_is_there_after_opening_again(state: Path) -> None:
    store = Store(state)
    with store.write() as session:
        session.add(environment_row(1))
    store.close()
    with Store(state).read() as session:
        assert session.scalars(select(EnvironmentRow.name)).all() == ["host1"]


def test_an_error_inside_a_write_leaves_nothing(state: Path) -> None:
    store = Store(state)

    def fail_after_adding() -> None:
        with store.write() as session:
            session.add(environment_row(1))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_adding()
    with store.read() as session:
        assert session.scalars(select(EnvironmentRow)).all() == []
    store.close()


def test_numbers_are_never_given_out_twice(state: Path) -> None:
    store = Store(state)
    with store.write() as session:
        assert [store.next_number(session, "environment") for _ in range(3)] == [1, 2, 3]
        assert store.next_number(session, "user") == 1
    with store.write() as session:
        assert store.next_number(session, "environment") == 4
    store.close()


def test_removing_an_environment_takes_its_users_along(state: Path) -> None:
    store = Store(state)
    with store.write() as session:
        row = environment_row(1)
        row.users.append(UserRow(reference="HOST_USER-1", name="anna", is_primary=True, agent=False))
        session.add(row)
    with store.write() as session:
        session.execute(text("DELETE FROM environments"))
    with store.read() as session:
        assert session.scalars(select(UserRow)).all() == []
        assert session.scalars(select(RepositoryRow)).all() == []
    store.close()


def test_times_come_back_in_utc(state: Path) -> None:
    store = Store(state)
    moment = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with store.write() as session:
        row = environment_row(1)
        row.added = moment
        session.add(row)
    with store.read() as session:
        added = session.scalars(select(EnvironmentRow.added)).one()
    assert added == moment
    assert added.tzinfo is UTC
    store.close()


def test_a_newer_state_is_refused_and_left_alone(state: Path) -> None:
    Store(state).close()
    with sqlite3.connect(state / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (state / "state.db").read_bytes()
    with pytest.raises(StateError, match=r"written by a newer dlpx-remote \(revision 9999") as caught:
        Store(state)
    assert "Upgrade dlpx-remote" in caught.value.action
    assert (state / "state.db").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database at all" * 400, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_damaged_state_is_refused_and_left_alone(state: Path, content: bytes) -> None:
    state.mkdir(mode=0o700)
    (state / "state.db").write_bytes(content)
    with pytest.raises(StateError, match="is damaged, or is not a database") as caught:
        Store(state)
    assert "backup" in caught.value.action
    assert (state / "state.db").read_bytes() == content


def test_a_state_that_is_damaged_in_the_middle_is_refused(state: Path) -> None:
    store = Store(state)
    with store.write() as session:
        session.add_all([environment_row(number) for number in range(400)])
    with store.write() as session:
        session.execute(text("UPDATE counters SET last = 1"))
    store.close()
    file = state / "state.db"
    content = bytearray(file.read_bytes())
    content[8192:20480] = b"\xa5" * (20480 - 8192)
    file.write_bytes(content)
    with pytest.raises(StateError, match="is damaged"):
        Store(state)
    assert file.read_bytes() == bytes(content)


def test_the_database_of_another_program_is_refused(state: Path) -> None:
    state.mkdir(mode=0o700)
    with sqlite3.connect(state / "state.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StateError, match="not one of dlpx-remote's"):
        Store(state)
    with sqlite3.connect(state / "state.db") as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert names == [("bookmarks",)]


def test_a_directory_of_others_is_not_taken_over(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "letter.txt").write_text("mine")
    with pytest.raises(StateError, match="holds other files and can be read by others") as caught:
        Store(shared)
    assert "a directory of its own" in caught.value.action
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StateError, match="cannot be used") as caught:
        Store(file)
    assert "--state" in caught.value.action


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "URL of the database cannot be read"),
        ("sqlite://", "cannot be kept in memory"),
        ("mysql://localhost/x", "cannot be kept in mysql"),
        ("postgresql+nosuch://localhost/x", "No database is known by the name"),
        (
            "postgresql+pg8000://anna:hunter2secret@localhost/x",
            "driver of 'postgresql\\+pg8000' is not installed",
        ),
    ],
)
def test_a_url_that_cannot_be_used_is_explained(state: Path, url: str, message: str) -> None:
    with pytest.raises(StateError, match=message) as caught:
        Store(state, url)
    assert "hunter2secret" not in str(caught.value)


WRITER = """
import sys
from pathlib import Path
from dlpx_remote.store import Store
from sqlalchemy import select
from dlpx_remote.store.models import CounterRow
store = Store(Path(sys.argv[1]))
for _ in range(25):
    with store.write() as session:
        last = session.scalars(select(CounterRow.last).where(CounterRow.kind == "host")).one()
        print(store.next_number(session, "host"), flush=True)
store.close()
"""


def test_several_processes_open_and_write_at_once_and_lose_nothing(state: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    numbers: list[int] = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        numbers += [int(line) for line in output.split()]
    assert sorted(numbers) == list(range(1, 101))
    store = Store(state)
    with store.read() as session:
        assert session.get_one(CounterRow, "host").last == 100
    store.close()


@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=lambda table: str(table.name))
def test_every_table_can_be_made_on_postgresql(table: Table) -> None:
    assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=POSTGRESQL))


def test_no_column_can_hold_a_secret() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if any(word in column.name for word in ("password", "secret", "passphrase", "key", "token"))
    }
    assert columns == {
        "credentials.secret_from",
        "environment_users.key_from",
        "environment_users.key_path",
        "environment_users.passphrase_from",
        "environment_users.password_from",
        "environments.host_key",
        "environments.privilege_password_from",
    }


def test_a_second_opening_in_a_process_takes_no_lock_from_the_first(state: Path) -> None:
    """POSIX locks of a process end when it closes any descriptor of the file; SQLite's keep its WAL alive."""
    first = Store(state)
    with first.write() as session:
        session.add(environment_row(1))
    Store(state).close()
    program = (
        "import sys; from pathlib import Path; from dlpx_remote.store import Store; "
        "from dlpx_remote.store.models import EnvironmentRow; from sqlalchemy import select\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.read() as session: print(*session.scalars(select(EnvironmentRow.name)))\n"
        "store.close()"
    )
    command = [sys.executable, "-c", program, str(state)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "host1\n"

    with first.write() as session:
        session.add(environment_row(2))

    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "host1 host2\n"
    first.close()
