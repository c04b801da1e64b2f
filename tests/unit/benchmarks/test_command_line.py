"""``python -m benchmarks``: exit codes, and what a wrong command line gets."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest
from rich.console import Console

import benchmarks.__main__ as command
from benchmarks.records import Record, Target, judge


class Asked(ModuleType):
    """A benchmark that measures nothing, and remembers what it was asked for."""

    MEASURES = ("warm", "cold")

    def __init__(self, ours: float) -> None:
        super().__init__("asked")
        self.ours = ours
        self.only: Sequence[str] = ()
        self.rounds: int | None = None

    def run(self, only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
        self.only, self.rounds = only, rounds
        console.print("progress")
        return [
            judge(
                measure="warm",
                title="warm",
                unit="ms",
                ours="ours",
                rounds={"ours": [self.ours], "peer": [1.0]},
                targets=(Target("at most", 1.0, "peer"),),
                failures={},
            )
        ]


def benchmark(ours: float, monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked(ours)
    monkeypatch.setitem(sys.modules, "asked", asked)
    monkeypatch.setitem(command.NAMES, "ssh", "asked")
    return asked


def test_targets_that_are_met_end_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark(0.5, monkeypatch)
    assert command.main(["ssh"]) == 0


def test_a_missed_target_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark(1.5, monkeypatch)
    assert command.main(["ssh"]) == 1


def test_json_goes_to_stdout_and_progress_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark(0.5, monkeypatch)
    command.main(["ssh", "--json"])
    captured = capsys.readouterr()
    assert json.loads(captured.out)[0]["ok"] is True
    assert "progress" in captured.err


def test_measures_and_rounds_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = benchmark(0.5, monkeypatch)
    command.main(["ssh", "--only", "warm", "--only", "cold", "--rounds", "3"])
    assert (asked.only, asked.rounds) == (["warm", "cold"], 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ssh", "--only", "hot"], "no measure hot; there are warm, cold"),
        (["ssh", "--rounds", "0"], "at least 1"),
        (["ssh", "--rounds", "many"], "invalid"),
        (["telnet"], "invalid choice: 'telnet'"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark(0.5, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
