"""The ledger: intent before effect, nothing lost between processes, and damage that is noticed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.store import Kind, Ledger, Settings, State, StateError, StillNeeded, Store
from dlpx_remote.store import ledger as ledger_module
from dlpx_remote.store.ledger import MARK


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
    opened = Store(tmp_path / "state", url)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


def test_an_intent_is_committed_when_it_returns(store: Store, ledger: Ledger) -> None:
    entry = ledger.intend(Kind.VOLUME, "data", details={"size": 7, "words": "Grüße \U0001f33f"}, job="JOB-1")
    assert (entry.state, entry.parent, entry.job) == (State.INTENDED, None, "JOB-1")
    assert entry.details == {"size": 7, "words": "Grüße \U0001f33f"}
    assert Ledger(store).get(Kind.VOLUME, "data") == entry


def test_who_checks_all_of_it_sees_one_state_though_others_write_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, reading = Ledger(store), Ledger(store)
    others.intend(Kind.VOLUME, "data")
    verify = ledger_module._Rows.verify

    def verify_later(rows: ledger_module._Rows) -> None:
        others.intend(Kind.VOLUME, "more")  # between the seal, which is read already, and the entries
        verify(rows)

    monkeypatch.setattr(ledger_module._Rows, "verify", verify_later)
    reading.verify()
    assert len(reading.entries()) == 2


def test_an_entry_goes_from_intended_over_present_and_removing_to_gone(ledger: Ledger) -> None:
    intended = ledger.intend(Kind.VOLUME, "data", details={"a": 1, "b": 1})
    present = ledger.present(Kind.VOLUME, "data", {"b": 2, "c": 3})
    assert (present.state, present.details) == (State.PRESENT, {"a": 1, "b": 2, "c": 3})
    assert (present.intended, present.changed >= intended.changed) == (intended.intended, True)
    assert ledger.removing(Kind.VOLUME, "data").state is State.REMOVING
    ledger.gone(Kind.VOLUME, "data")
    assert ledger.get(Kind.VOLUME, "data") is None
    ledger.gone(Kind.VOLUME, "data")
    assert ledger.entries() == []


def test_the_same_name_may_be_used_once_in_each_kind(ledger: Ledger) -> None:
    ledger.intend(Kind.VOLUME, "data")
    for kind in (Kind.EXPORT, Kind.MOUNT):
        ledger.intend(kind, "data", parent="data")
    assert [entry.kind for entry in ledger.entries()] == [Kind.VOLUME, Kind.EXPORT, Kind.MOUNT]


def test_saying_an_intent_again_changes_nothing(ledger: Ledger) -> None:
    first = ledger.intend(Kind.VOLUME, "data", details={"a": 1}, job="JOB-1")
    assert ledger.intend(Kind.VOLUME, "data", details={"a": 1}, job="JOB-2") == first
    present = ledger.present(Kind.VOLUME, "data")
    assert ledger.intend(Kind.VOLUME, "data") == present


def test_an_intent_with_other_details_or_after_a_removal_makes_it_intended_again(ledger: Ledger) -> None:
    ledger.intend(Kind.VOLUME, "data", details={"a": 1}, job="JOB-1")
    ledger.present(Kind.VOLUME, "data")
    other = ledger.intend(Kind.VOLUME, "data", details={"a": 2}, job="JOB-2")
    assert (other.state, other.details, other.job) == (State.INTENDED, {"a": 2}, "JOB-2")
    ledger.removing(Kind.VOLUME, "data")
    again = ledger.intend(Kind.VOLUME, "data")
    assert (again.state, again.details, again.job) == (State.INTENDED, {"a": 2}, "JOB-2")


def test_entries_are_found_by_kind_parent_job_and_state(ledger: Ledger) -> None:
    ledger.intend(Kind.VOLUME, "data", job="JOB-1")
    ledger.present(Kind.VOLUME, "data")
    ledger.intend(Kind.VOLUME, "snapshot", parent="data", job="JOB-2")
    ledger.intend(Kind.EXPORT, "export", parent="snapshot", job="JOB-2")
    assert [entry.name for entry in ledger.entries()] == ["data", "snapshot", "export"]
    assert [entry.name for entry in ledger.entries(kind=Kind.VOLUME)] == ["data", "snapshot"]
    assert [entry.name for entry in ledger.entries(parent="data")] == ["snapshot"]
    assert [entry.name for entry in ledger.entries(job="JOB-2")] == ["snapshot", "export"]
    assert [entry.name for entry in ledger.entries(kind=Kind.VOLUME, state=State.INTENDED)] == ["snapshot"]


def test_a_volume_stays_while_entries_hang_on_it(ledger: Ledger) -> None:
    ledger.intend(Kind.VOLUME, "data")
    ledger.intend(Kind.EXPORT, "first", parent="data")
    ledger.intend(Kind.VOLUME, "copy", parent="data")
    with pytest.raises(StillNeeded, match=r"data is still needed by export first, volume copy") as caught:
        ledger.removing(Kind.VOLUME, "data")
    assert [entry.name for entry in caught.value.dependants] == ["first", "copy"]
    assert ledger.get(Kind.VOLUME, "data").state is State.INTENDED  # type: ignore[union-attr]
    ledger.gone(Kind.EXPORT, "first")
    ledger.gone(Kind.VOLUME, "copy")
    ledger.removing(Kind.VOLUME, "data")


def test_nothing_can_be_hung_on_what_is_not_there_or_going(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match=r"export e cannot be made: the ledger names no volume data"):
        ledger.intend(Kind.EXPORT, "e", parent="data")
    ledger.intend(Kind.VOLUME, "data")
    ledger.removing(Kind.VOLUME, "data")
    with pytest.raises(StillNeeded, match=r"volume data is being removed"):
        ledger.intend(Kind.EXPORT, "e", parent="data")
    assert [entry.name for entry in ledger.entries()] == ["data"]


def test_what_the_ledger_does_not_name_is_refused(ledger: Ledger) -> None:
    for call in (ledger.removing, ledger.present):
        with pytest.raises(NotFound, match=r"names no volume data, so it is left alone") as caught:
            call(Kind.VOLUME, "data")
        assert "storage list" in caught.value.action


def test_an_entry_cannot_move_to_another_parent(ledger: Ledger) -> None:
    ledger.intend(Kind.VOLUME, "one")
    ledger.intend(Kind.VOLUME, "two")
    ledger.intend(Kind.EXPORT, "e", parent="one")
    with pytest.raises(AlreadyExists, match=r"export e is there already, under one instead of under two"):
        ledger.intend(Kind.EXPORT, "e", parent="two")


@pytest.mark.parametrize("name", ["", "x" * 501])
def test_a_name_that_does_not_fit_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"1 to 500 characters, not (0|501)"):
        ledger.intend(Kind.VOLUME, name)


def test_settings_are_kept_and_forgotten(store: Store) -> None:
    settings = Settings(store)
    assert settings.get("storage.pool", "none") == "none"
    settings.set("storage.pool", {"kind": "btrfs", "path": "/srv/pool"})
    settings.set("nfs.server", "ganesha")
    settings.set("nfs.server", "kernel")
    assert Settings(store).get("storage.pool") == {"kind": "btrfs", "path": "/srv/pool"}
    assert settings.all() == {
        "nfs.server": "kernel",
        "storage.pool": {"kind": "btrfs", "path": "/srv/pool"},
    }
    settings.remove("nfs.server")
    settings.remove("nfs.server")
    assert settings.get("nfs.server") is None


def test_a_damaged_setting_is_not_followed(store: Store) -> None:
    settings = Settings(store)
    settings.set("storage.pool", "/srv/pool")
    with store.write() as session:
        session.execute(text("UPDATE settings SET value = '\"/srv/poom\"'"))
    for read in (lambda: settings.get("storage.pool"), settings.all):
        with pytest.raises(StateError, match=r"The setting storage.pool in .* is damaged"):
            read()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE ledger SET state = 'removing' WHERE name = 'copy'", r"entry 2 is not what was written"),
        ("UPDATE ledger SET name = 'capy' WHERE name = 'copy'", r"entry 2 is not what was written"),
        ("UPDATE ledger SET parent = NULL", r"entry 2 is not what was written"),
        ("UPDATE ledger SET details = '{\"path\": \"/\"}' WHERE name = 'copy'", r"entry 2 is not"),
        ("DELETE FROM ledger WHERE name = 'copy'", r"entries are missing"),
        ("UPDATE ledger_seal SET digest = '" + "1" * 64 + "'", r"entries are missing"),
        ("DELETE FROM ledger_seal", r"seal is missing"),
    ],
)
def test_a_damaged_ledger_is_refused(store: Store, damage: str, words: str) -> None:
    ledger = Ledger(store)
    ledger.intend(Kind.VOLUME, "data")
    ledger.intend(Kind.VOLUME, "copy", parent="data")
    with store.write() as session:
        session.execute(text(damage))
    for attempt in (
        lambda: ledger.removing(Kind.VOLUME, "data"),
        lambda: Ledger(store).entries(),
        lambda: Ledger(store).intend(Kind.VOLUME, "new"),
        Ledger(store).verify,
    ):
        with pytest.raises(StateError, match=words) as caught:
            attempt()
        assert "Restore the state from a backup; nothing was made or deleted" in caught.value.action


def test_an_index_that_disagrees_with_the_ledger_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    Ledger(store).intend(Kind.VOLUME, "data-in-the-ledger")
    store.close()
    file = tmp_path / "state" / "state.db"
    content = file.read_bytes()
    assert content.count(b"volumedata-in-the-ledger") == 2  # in the table and in its index
    file.write_bytes(content.replace(b"volumedata-in-the-ledger", b"volumedata-in-the-lodger", 1))
    with pytest.raises(StateError, match=r"damaged"):
        Ledger(Store(tmp_path / "state")).entries()


@pytest.mark.parametrize("mark", [b"00000000000000000003\n", b"garbage", b"0000000000000000000x\n"])
def test_a_state_that_lost_its_last_changes_is_refused(tmp_path: Path, mark: bytes) -> None:
    store = Store(tmp_path / "state")
    ledger = Ledger(store)
    ledger.intend(Kind.VOLUME, "data")
    ledger.present(Kind.VOLUME, "data")
    file = tmp_path / "state" / MARK
    assert file.read_bytes() == b"00000000000000000002\n"
    file.write_bytes(mark)
    with pytest.raises(StateError, match=r"is older than it was: its ledger has come to change 2") as caught:
        ledger.removing(Kind.VOLUME, "data")
    assert f"then remove {file}" in caught.value.action
    file.unlink()
    ledger.removing(Kind.VOLUME, "data")
    assert file.read_bytes() == b"00000000000000000003\n"
    store.close()


def test_a_state_file_that_was_emptied_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    Ledger(store).intend(Kind.VOLUME, "data")
    store.close()
    (tmp_path / "state" / "state.db").write_bytes(b"")
    store = Store(tmp_path / "state")
    with pytest.raises(StateError, match=r"is older than it was"):
        Ledger(store).entries()
    store.close()


def test_what_a_dead_process_had_not_checkpointed_is_missed_when_it_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    ledger = Ledger(store)
    ledger.intend(Kind.VOLUME, "first")
    ledger.intend(Kind.VOLUME, "second")
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for name in ("state.db", "state.db-wal", MARK):
        (copy / name).write_bytes((tmp_path / "state" / name).read_bytes())
    store.close()
    log = copy / "state.db-wal"
    log.write_bytes(log.read_bytes()[:-2000])  # SQLite takes the last change as never committed
    damaged = Store(copy)
    with sqlite3.connect(copy / "state.db") as connection:
        assert connection.execute("SELECT name FROM ledger").fetchall() == [("first",)]
    with pytest.raises(StateError, match=r"is older than it was: its ledger has come to change 1"):
        Ledger(damaged).entries()
    damaged.close()


WRITER = """
import sys
from pathlib import Path
from dlpx_remote.store import Kind, Ledger, Store
store = Store(Path(sys.argv[1]), sys.argv[2] or None)
ledger = Ledger(store)
for number in range(9):
    name = f"{sys.argv[3]}-{number}"
    ledger.intend(Kind.VOLUME, "shared")
    ledger.intend(Kind.EXPORT, name, parent="shared")
    ledger.present(Kind.EXPORT, name, {"number": number})
    ledger.entries(parent="shared")
    if number % 3:
        ledger.removing(Kind.EXPORT, name)
        ledger.gone(Kind.EXPORT, name)
store.close()
"""


def test_several_processes_change_the_ledger_at_once_and_it_stays_whole(store: Store, tmp_path: Path) -> None:
    with store.read() as session:
        url = session.connection().engine.url
    place = "" if store.is_file else url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.directory), place, f"writer-{number}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    ledger = Ledger(store)
    ledger.verify()
    assert sorted(entry.name for entry in ledger.entries(kind=Kind.EXPORT)) == sorted(
        f"writer-{number}-{turn}" for number in range(3) for turn in range(0, 9, 3)
    )
