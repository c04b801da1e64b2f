"""A state kept in a file and brought back: the same rows, files and ledger, or nothing at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import stat
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.store import Kind, Ledger, StateError, Store
from dlpx_remote.store.archive import ArchiveUnusable, _contents, read_archive, restore_archive, write_archive
from dlpx_remote.store.job_models import JobRow
from dlpx_remote.store.models import EnvironmentRow, PluginRow

SECRETS = 'sk-"quoted"\n\t \u2028 \U0001f511'


def environment(name: str, number: int) -> EnvironmentRow:
    return EnvironmentRow(
        reference=f"UNIX_HOST_ENVIRONMENT-{number}",
        host_reference=f"UNIX_HOST-{number}",
        name=name,
        host="db1.example.com",
        port=None,
        host_type="UNIX",
        jump=["a@b", SECRETS],
        host_key="strict",
        made_on_host=[],
        added=datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A state with an environment, a plugin, a ledger and a host key."""
    store = Store(tmp_path / "state")
    copy = tmp_path / "state" / "plugins" / "id-1.0" / "src"
    copy.mkdir(parents=True)
    (copy / "boil.sh").write_text("#!/bin/sh\n")
    (copy / "boil.sh").chmod(0o700)
    (tmp_path / "state" / "known_hosts").write_text("db1 ssh-ed25519 AAAA\n")
    with store.write() as session:
        number = store.next_number(session, "environment")
        session.add(environment("db1", number))
        session.add(
            PluginRow(
                identifier="id",
                name="Kettle",
                plugin_type="DIRECT",
                host_types=["UNIX"],
                build_number="1.0",
                external_version="",
                manual_discovery=True,
                directory=str(copy.parent),
                operations=[{"name": "discovery.repository"}],
                added=datetime.now(UTC),
            )
        )
    ledger = Ledger(store)
    ledger.intend(Kind.VOLUME, "DATA_SET-1", details={"path": "/pool/é"})
    ledger.present(Kind.VOLUME, "DATA_SET-1")
    return store


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    from dlpx_remote.store.models import Base

    with store.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table)).all()), key=repr)
            for table in Base.metadata.sorted_tables
            if table.name not in ("executors", "plugins")
        }


def test_a_restored_state_is_the_same_state(store: Store, tmp_path: Path) -> None:
    kept = write_archive(store, tmp_path / "monday.tar.gz")

    restored = restore_archive(kept.file, tmp_path / "elsewhere")

    again = Store(tmp_path / "elsewhere")
    assert rows_of(again) == rows_of(store)
    assert restored.rows == kept.rows
    assert [entry.name for entry in Ledger(again).entries()] == ["DATA_SET-1"]
    with again.read() as session:
        moved = Path(session.scalars(select(PluginRow.directory)).one())
    assert moved == tmp_path / "elsewhere" / "plugins" / "id-1.0"
    assert (moved / "src" / "boil.sh").read_text() == "#!/bin/sh\n"
    assert os.access(moved / "src" / "boil.sh", os.X_OK)
    assert (tmp_path / "elsewhere" / "known_hosts").read_text() == "db1 ssh-ed25519 AAAA\n"
    again.close()


def test_numbers_go_on_and_the_ledger_can_be_changed_after_a_restore(store: Store, tmp_path: Path) -> None:
    write_archive(store, tmp_path / "kept")
    restore_archive(tmp_path / "kept", tmp_path / "elsewhere")

    again = Store(tmp_path / "elsewhere")
    with again.write() as session:
        assert again.next_number(session, "environment") == 2
        session.add(environment("db2", 2))
    ledger = Ledger(again)
    ledger.removing(Kind.VOLUME, "DATA_SET-1")
    ledger.gone(Kind.VOLUME, "DATA_SET-1")
    assert ledger.entries() == []
    again.close()


def test_the_file_is_for_its_owner_only_and_replaces_nothing(store: Store, tmp_path: Path) -> None:
    file = write_archive(store, tmp_path / "kept").file

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ArchiveUnusable, match=r"There is a file .*kept already"):
        write_archive(store, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "state"]


def test_a_place_that_cannot_be_written_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnusable, match="cannot be written: No such file") as caught:
        write_archive(store, tmp_path / "missing" / "kept")
    assert "where you may write" in caught.value.action


def test_a_job_that_has_not_ended_is_waited_for(store: Store, tmp_path: Path) -> None:
    with store.write() as session:
        session.add(
            JobRow(
                reference="JOB-7",
                workflow_id="w",
                operation="o",
                object="",
                title="t",
                request={},
                locks=[],
                hosts=[],
                state="running",
                attempt=1,
                version="1",
                output_bytes=0,
                created=datetime.now(UTC),
            )
        )

    with pytest.raises(InvalidRequest, match="have not ended: JOB-7") as caught:
        write_archive(store, tmp_path / "kept")
    assert "job follow" in caught.value.action
    assert not (tmp_path / "kept").exists()


def test_a_state_that_is_there_is_left_as_it_is(store: Store, tmp_path: Path) -> None:
    file = write_archive(store, tmp_path / "kept").file
    before = rows_of(store)

    with pytest.raises(InvalidRequest, match=r"There is a state in .* already") as caught:
        restore_archive(file, tmp_path / "state")

    assert "--state" in caught.value.action
    assert rows_of(store) == before
    assert (tmp_path / "state" / "known_hosts").exists()


def test_a_database_with_rows_is_left_as_it_is(store: Store, tmp_path: Path) -> None:
    file = write_archive(store, tmp_path / "kept").file
    other = tmp_path / "other.db"
    occupied = Store(tmp_path / "third", f"sqlite:///{other}")
    with occupied.write() as session:
        session.add(environment("mine", 9))
    occupied.close()

    with pytest.raises(InvalidRequest, match="has a state already: there are environments"):
        restore_archive(file, tmp_path / "fourth", f"sqlite:///{other}")

    again = Store(tmp_path / "third", f"sqlite:///{other}")
    with again.read() as session:
        assert session.scalars(select(EnvironmentRow.name)).all() == ["mine"]
    again.close()
    assert not (tmp_path / "fourth" / "known_hosts").exists()


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no backup")
    with pytest.raises(ArchiveUnusable, match="is no backup"):
        restore_archive(tmp_path / "notes", tmp_path / "elsewhere")
    with pytest.raises(ArchiveUnusable, match="There is no file"):
        restore_archive(tmp_path / "none", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_backup_that_is_cut_or_flipped_anywhere_is_refused_and_nothing_is_made(
    store: Store, tmp_path: Path
) -> None:
    content = write_archive(store, tmp_path / "kept").file.read_bytes()
    damaged, chosen = tmp_path / "damaged", random.Random(20261125)
    for _ in range(150):
        at = chosen.randrange(10, len(content))  # the first bytes hold a time and a name, which nobody reads
        if chosen.random() < 0.5:
            damaged.write_bytes(content[:at])
        else:
            spoilt = bytearray(content)
            spoilt[at] ^= 1 << chosen.randrange(8)
            damaged.write_bytes(spoilt)
        try:
            read_archive(damaged)
        except ArchiveUnusable:
            with pytest.raises(ArchiveUnusable):
                restore_archive(damaged, tmp_path / "elsewhere")
            assert not (tmp_path / "elsewhere").exists()
        else:  # the end of a gzip file can be spoilt without any of its content being so
            assert read_archive(damaged).rows == read_archive(tmp_path / "kept").rows


def rewritten(file: Path, target: Path, **changes: object) -> Path:
    """The archive with another manifest."""
    with tarfile.open(file) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            opened = old.extractfile(member)
            assert opened is not None
            content = opened.read()
            if member.name == "manifest.json":
                content = json.dumps(json.loads(content) | changes).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target


@pytest.mark.parametrize("changes", [{"format": 99}, {"revision": "9999"}])
def test_a_backup_of_a_newer_version_is_refused(
    store: Store, tmp_path: Path, changes: dict[str, object]
) -> None:
    file = write_archive(store, tmp_path / "kept").file

    with pytest.raises(StateError, match="newer dlpx-remote") as caught:
        restore_archive(rewritten(file, tmp_path / "newer", **changes), tmp_path / "elsewhere")
    assert "Upgrade" in caught.value.action


def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    old = Store.at_revision(tmp_path / "old", None, "0001")
    with old.write() as session:
        session.execute(text("UPDATE counters SET last = 41 WHERE kind = 'environment'"))
        columns = {row[1] for row in session.execute(text("PRAGMA table_info(environments)"))}
    assert "privilege" not in columns, "a column of a later migration"
    with old.read() as session:
        contents = dict(_contents(session.connection(), tmp_path / "old"))
    old.close()
    manifest = {
        "format": 1,
        "made": "2026-01-01T00:00:00+00:00",
        "revision": "0001",
        "digests": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "modes": {},
    }
    with tarfile.open(tmp_path / "dated", "w:gz") as archive:
        for name, content in {**contents, "manifest.json": json.dumps(manifest).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    restore_archive(tmp_path / "dated", tmp_path / "elsewhere")

    again = Store(tmp_path / "elsewhere")
    with again.write() as session:
        assert again.next_number(session, "environment") == 42
        session.add(environment("db1", 42))
    again.close()
