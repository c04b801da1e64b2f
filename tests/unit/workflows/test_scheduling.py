"""When the next run is, which snapshots may go, and who of several workers takes a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.workflows.scheduling import Retention, ScheduleRecords, next_run, superfluous
from dlpx_remote.workflows.sources import Snapshot

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 2 * * *", "UTC", at(2026, 1, 1, 12), at(2026, 1, 2, 2, 30)),
        ("30 2 * * *", "Europe/Berlin", at(2026, 1, 1, 12), at(2026, 1, 2, 1, 30)),
        ("30 2 * * *", "Europe/Berlin", at(2026, 7, 1, 12), at(2026, 7, 2, 0, 30)),
        # On 29 March 2026 the clock goes from 2:00 to 3:00 in Berlin; on 25 October from 3:00 to 2:00.
        ("30 2 * * *", "Europe/Berlin", at(2026, 3, 28, 12), at(2026, 3, 29, 1, 0)),
        ("30 2 * * *", "Europe/Berlin", at(2026, 10, 24, 12), at(2026, 10, 25, 0, 30)),
        ("30 2 * * *", "Europe/Berlin", at(2026, 10, 25, 0, 30), at(2026, 10, 26, 1, 30)),
        ("0 * * * *", "Europe/Berlin", at(2026, 10, 25, 0, 0), at(2026, 10, 25, 1, 0)),
        ("0 0 29 2 *", "UTC", at(2026, 1, 1), at(2028, 2, 29)),
    ],
)
def test_the_next_run_is_when_the_clock_on_the_wall_says_so(
    cron: str, zone: str, after: datetime, expected: datetime
) -> None:
    assert next_run(cron, zone, after) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "message", "action"),
    [
        ("61 * * * *", "UTC", "no cron expression: Bad minute", "five fields"),
        ("every day", "UTC", "no cron expression", "five fields"),
        ("0 0 30 2 *", "UTC", "never comes|no cron expression", ""),
        ("0 0 * * *", "Europe/Berlni", "no time zone 'Europe/Berlni'", "Europe/Berlin"),
        ("0 0 * * *", "../../etc/passwd", "no time zone", "UTC"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_form(
    cron: str, zone: str, message: str, action: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        next_run(cron, zone, NOW)
    assert action in caught.value.action


def snapshots(*ages: int) -> list[Snapshot]:
    """Snapshots so many days old, given oldest first."""
    return [
        Snapshot(
            reference=f"SNAPSHOT-{number}",
            source="DSOURCE-1",
            source_name="orders",
            source_volume="DSOURCE-1",
            parent=None,
            state="ready",
            parameters=None,
            value={},
            taken=(NOW - timedelta(days=age)).isoformat(),
        )
        for number, age in enumerate(ages, start=1)
    ]


@pytest.mark.parametrize(
    ("ages", "retention", "needed", "going"),
    [
        ((9, 8, 7, 1), Retention(count=2), (), (1, 2)),
        ((9, 8, 7, 1), Retention(days=7), (), (1, 2)),
        ((9, 8, 7, 1), Retention(count=3, days=30), (), ()),
        ((99, 40, 7, 1), Retention(count=3, days=30), (), (1,)),
        ((99, 98), Retention(days=1), (), (1,)),
        ((99,), Retention(days=1), (), ()),
        ((9, 8, 7, 1), Retention(count=1), (2,), (1, 3)),
        ((), Retention(count=1), (), ()),
    ],
)
def test_snapshots_go_that_neither_count_nor_age_keeps_and_nothing_needs(
    ages: tuple[int, ...], retention: Retention, needed: tuple[int, ...], going: tuple[int, ...]
) -> None:
    kept = {f"SNAPSHOT-{number}" for number in needed}

    found = superfluous(snapshots(*ages), kept, retention, NOW)

    assert [one.reference for one in found] == [f"SNAPSHOT-{number}" for number in going]


@given(
    st.lists(st.integers(0, 400), max_size=20).map(lambda ages: sorted(ages, reverse=True)),
    st.one_of(st.none(), st.integers(1, 25)),
    st.one_of(st.none(), st.integers(1, 400)),
)
def test_what_is_promised_to_stay_stays(ages: list[int], count: int | None, days: int | None) -> None:
    all_of_them = snapshots(*ages)
    going = superfluous(all_of_them, (), Retention(count, days), NOW)

    gone = {one.reference for one in going}
    assert not gone & {one.reference for one in all_of_them[-max(count or 0, 1) :]}
    if days is not None:
        young = {one.reference for one, age in zip(all_of_them, ages, strict=True) if age <= days}
        assert not gone & young


@pytest.fixture
def records(tmp_path: Path) -> Iterator[ScheduleRecords]:
    store = Store(tmp_path / "state")
    yield ScheduleRecords(store)
    store.close()


def test_a_turn_is_taken_once_in_its_interval(records: ScheduleRecords) -> None:
    minute = timedelta(minutes=1)

    assert records.take_turn("worker DSOURCE-1", minute, NOW)
    assert not records.take_turn("worker DSOURCE-1", minute, NOW + timedelta(seconds=59))
    assert records.take_turn("worker DSOURCE-2", minute, NOW), "another one has its own"
    assert records.take_turn("worker DSOURCE-1", minute, NOW + minute)


def test_a_clock_that_is_put_back_stops_no_turn(records: ScheduleRecords) -> None:
    minute = timedelta(minutes=1)
    records.take_turn("worker DSOURCE-1", minute, NOW)

    assert records.take_turn("worker DSOURCE-1", minute, NOW - timedelta(days=1))
