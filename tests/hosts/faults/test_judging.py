"""A sweep must notice a broken promise, and must not forget one: its judgements, and its journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.faults import journal as journals
from tests.hosts.faults.journal import Journal
from tests.hosts.faults.points import Lengths, Outcome, Point, all_points, mixed, sample
from tests.hosts.faults.sweep import NEW, OLD, Played, judge

POINT = Point("run-first", "cut", "up", 7)
LENGTHS: Lengths = {("connect", "up"): 4096 + 2 * 97, ("close", "down"): 0}
TWICE = "begin\nend\nbegin\nend\n"


@pytest.fixture
def played(tmp_path: Path) -> Played:
    """A point that was struck and about which nothing was claimed."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "witness").touch()
    for name in ("there", "here"):
        (place / name).write_bytes(OLD)
    return Played(Outcome(POINT, {"next": "success"}, struck=True), place, set())


def _judged(played: Played, **said: str) -> list[str]:
    played.outcome.said |= said
    judge(played)
    return played.outcome.broken


@pytest.mark.parametrize(
    ("said", "witness"),
    [
        ("NotSent", ""),
        ("OutputLost 0", "begin\nend\n"),
        ("OutputLost 141", "begin\n"),
        ("CommandTimeout", "begin\n"),
        ("success", "begin\nend\n"),
    ],
)
def test_a_claim_that_the_witness_bears_out_breaks_nothing(played: Played, said: str, witness: str) -> None:
    (played.place / "witness").write_text(witness)
    assert _judged(played, run=said) == []


@pytest.mark.parametrize(
    ("said", "witness"),
    [
        ("success", ""),
        ("success", "begin\n"),
        ("success", TWICE),
        ("NotSent", "begin\n"),
        ("LoginLost", "begin\n"),
        ("OutputLost 0", "begin\n"),
        ("OutputLost 141", ""),
        ("CommandTimeout", "begin\nbegin\n"),
    ],
)
def test_a_lie_about_a_command_and_a_second_run_are_noticed(played: Played, said: str, witness: str) -> None:
    (played.place / "witness").write_text(witness)
    assert _judged(played, run=said) == [f"run said {said}, but the script left {witness!r}"]


def test_a_command_of_which_the_host_was_not_asked_is_noticed(played: Played) -> None:
    assert _judged(played, run="OutcomeUnknown") == [
        "its outcome stayed unknown, although the host could be asked"
    ]


@pytest.mark.parametrize(
    ("step", "file", "said", "content", "word"),
    [
        ("put", "there", "success", OLD, "old"),
        ("put", "there", "TransferFailed", NEW, "new"),
        ("put", "there", "OutcomeUnknown", NEW[:700], "neither old nor new (700 bytes)"),
        ("get", "here", "success", NEW + b"x", "neither old nor new (1501 bytes)"),
        ("get", "here", "TransferFailed", NEW, "new"),
    ],
)
def test_a_lie_about_a_file_is_noticed(
    played: Played, step: str, file: str, said: str, content: bytes, word: str
) -> None:
    (played.place / file).write_bytes(content)
    assert _judged(played, **{step: said}) == [f"{step} said {said}, but the file is {word}"]


def test_a_file_left_beside_the_copy_is_noticed(played: Played) -> None:
    (played.place / ".part").touch()
    assert _judged(played) == ["left behind: .part"]


def test_a_next_command_that_fails_is_noticed(played: Played) -> None:
    assert _judged(played, next="NotSent") == ["the next command on a new connection: NotSent"]


def test_a_failure_without_a_fault_is_noticed(played: Played) -> None:
    played.outcome.struck = False
    assert _judged(played, run="NotSent") == [
        "nothing was done to it, but: {'next': 'success', 'run': 'NotSent'}"
    ]


def test_every_byte_of_the_first_4_kib_and_then_every_97th_is_a_point() -> None:
    points = all_points(LENGTHS)
    assert [point.offset for point in points if (point.phase, point.kind) == ("connect", "cut")] == [
        *range(4096),
        4096,
        4096 + 97,
    ]
    assert [point.offset for point in points if (point.phase, point.kind) == ("close", "stall")] == [0]
    assert len(points) == len(set(points)) == 4 * (4098 + 1)


def test_a_sample_and_an_order_come_again_with_their_seed() -> None:
    points = all_points(LENGTHS)
    assert sample(points, 40, 7) == sample(points, 40, 7) != sample(points, 40, 8)
    assert mixed(points, 7) == mixed(points, 7) != mixed(points, 8)
    assert sorted(mixed(points, 7)) == sorted(points)


def test_a_point_is_named_so_that_it_can_be_played_again() -> None:
    assert Point.parse(str(POINT)) == POINT


def test_a_journal_knows_after_an_interruption_what_was_done(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(LENGTHS)
    broken = Outcome(POINT, {"run": "success"}, struck=True, broken=["it lied"])
    left = Outcome(None, broken=["somebody left a file"])
    journal.add([broken, left])
    with (tmp_path / "journal").open("a") as file:
        file.write('{"point": "run-later/cut/up/8", "sa')  # the machine lost its power here
    again = Journal(tmp_path / "journal")
    assert (again.lengths, again.done, again.unassigned) == (LENGTHS, {POINT: broken}, [left])
    again.add([Outcome(Point("close", "cut", "up", 0), {"close": "success"}, struck=True)])
    assert len(Journal(tmp_path / "journal").done) == 2


def test_a_journal_of_other_code_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(LENGTHS)
    journal.add([Outcome(POINT)])
    monkeypatch.setattr(journals, "code_under_test", lambda of: "changed")
    again = Journal(tmp_path / "journal")
    assert (again.lengths, again.done) == (None, {})
    again.begin(LENGTHS)
    assert Journal(tmp_path / "journal").done == {}
    assert (tmp_path / "journal.before").exists()
