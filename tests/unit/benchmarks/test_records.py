"""The benchmarks' arithmetic: medians, ratios, targets, and what a person or a program gets to read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import pytest
from rich.console import Console

from benchmarks.records import Record, Target, all_met, as_json, judge, median, number, ratio_of, write

RATIO = Target("at most", 0.7, "asyncssh")


def record(
    rounds: Mapping[str, Sequence[float]],
    *targets: Target,
    failures: Mapping[str, str] | None = None,
) -> Record:
    return judge(
        measure="warm",
        title="one after another",
        unit="ms",
        ours="ours",
        rounds=rounds,
        targets=targets,
        failures=failures or {},
    )


def shown(records: Sequence[Record], *, as_json_list: bool = False) -> str:
    console = Console(file=io.StringIO(), width=160)
    write(records, console, as_json_list=as_json_list)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_median_of_rounds_is_compared_so_one_bad_round_decides_nothing() -> None:
    made = record({"ours": [1.0, 90.0, 1.2], "asyncssh": [2.0, 2.0, 60.0]}, RATIO)
    assert made.ours == 1.2
    assert made.peers == {"asyncssh": 2.0}
    assert made.ratio == {"asyncssh": 0.6}
    assert made.ok is True


@pytest.mark.parametrize(
    ("target", "ours", "theirs", "met"),
    [
        (Target("at most", 0.7, "peer"), 0.7, 1.0, True),
        (Target("at most", 0.7, "peer"), 0.71, 1.0, False),
        (Target("at least", 1.2, "peer"), 1.2, 1.0, True),
        (Target("at least", 1.2, "peer"), 1.19, 1.0, False),
        (Target("at most", 0.5, "peer", "difference"), 1.5, 1.0, True),
        (Target("at most", 0.5, "peer", "difference"), 1.6, 1.0, False),
        (Target("at most", 1.15, kind="value"), 1.15, None, True),
        (Target("at most", 1.15, kind="value"), 1.16, None, False),
    ],
)
def test_a_target_is_met_up_to_its_bound_and_no_further(
    target: Target, ours: float, theirs: float | None, met: bool
) -> None:
    assert target.met(ours, theirs) is met


@pytest.mark.parametrize(
    "target", [RATIO, Target("at most", 0.5, "asyncssh", "difference"), Target("at most", 1, kind="value")]
)
def test_no_number_of_ours_misses_every_kind_of_target(target: Target) -> None:
    assert not target.met(None, 1.0)


@pytest.mark.parametrize("target", [RATIO, Target("at most", 0.5, "asyncssh", "difference")])
def test_a_failing_peer_cannot_be_beaten(target: Target) -> None:
    assert not target.met(1.0, None)


def test_a_peer_that_took_no_time_gives_no_ratio() -> None:
    assert ratio_of(1.0, 0.0) is None
    assert not RATIO.met(1.0, 0.0)


def test_a_contestant_that_failed_in_one_round_has_no_number_at_all() -> None:
    made = record({"ours": [1.0], "asyncssh": [2.0]}, RATIO, failures={"asyncssh": "It ended."})
    assert made.peers == {"asyncssh": None}
    assert made.ratio == {"asyncssh": None}
    assert made.ok is False
    assert made.failures == {"asyncssh": "It ended."}


def test_a_measure_without_a_target_is_neither_met_nor_missed() -> None:
    made = record({"ours": [1.0], "asyncssh": [2.0]})
    assert made.ok is None
    assert all_met([made])


def test_one_missed_target_of_two_is_a_miss_that_is_named() -> None:
    made = record(
        {"ours": [1.0], "asyncssh": [2.0], "fabric": [5.0]}, RATIO, Target("at most", 0.1, "fabric")
    )
    assert made.ok is False
    assert made.missed == ["≤ 0.1 × fabric"]
    assert not all_met([made])


def test_the_median_of_nothing_is_nothing() -> None:
    assert median([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "failed"),
        (0.0261, "0.0261"),
        (1.2345, "1.23"),
        (99.94, "99.9"),
        (516.4, "516"),
        (1234.0, "1234"),
    ],
)
def test_numbers_have_three_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_table_has_a_line_for_each_peer_with_its_own_target_and_verdict() -> None:
    lines = shown(
        [
            record(
                {"ours": [1.0], "asyncssh": [2.0], "fabric": [5.0]},
                RATIO,
                Target("at most", 0.1, "fabric"),
                Target("at most", 3, kind="value"),
            )
        ]
    ).splitlines()
    cells = [line.split() for line in lines]
    assert cells[0] == ["measure", "unit", "ours", "theirs", "ratio", "peer", "target", "ok"]
    assert cells[1][-8:] == ["2", "0.50", "asyncssh", "≤", "0.7", "×", "asyncssh", "yes"]
    assert cells[2] == ["5", "0.20", "fabric", "≤", "0.1", "×", "fabric", "no"]
    assert cells[3] == ["≤", "3", "ms", "yes"]


def test_the_table_says_who_failed_and_why() -> None:
    made = record({"ours": [1.0], "asyncssh": []}, RATIO, failures={"asyncssh": "ImportError: no [asyncssh]"})
    text = shown([made])
    assert "warm: asyncssh failed: ImportError: no [asyncssh]" in text


def test_json_is_a_list_of_records_with_every_round() -> None:
    made = record({"ours": [1.0, 2.0, 3.0], "asyncssh": [4.0, 4.0, 4.0]}, RATIO)
    (row,) = json.loads(shown([made], as_json_list=True))
    assert row == json.loads(as_json([made]))[0]
    assert row["measure"] == "warm"
    assert row["ours"] == 2.0
    assert row["peers"] == {"asyncssh": 4.0}
    assert row["ratio"] == {"asyncssh": 0.5}
    assert row["target"] == ["≤ 0.7 × asyncssh"]
    assert row["ok"] is True
    assert row["rounds"]["ours"] == [1.0, 2.0, 3.0]
