"""The SSH benchmark: us against six other ways to run commands over SSH, on real servers on loopback."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.records import Record, judge
from benchmarks.ssh.contestant import Contestant, ContestantFailed
from benchmarks.ssh.delay import delayed
from benchmarks.ssh.hosts import Host, Servers
from benchmarks.ssh.measures import BULK, FLEET, REACHABLE, ROUND_TRIP, START_UP, TRIALS, Trial

MEASURES = [measure.name for trial in TRIALS for measure in trial.measures]

Values = dict[str, list[dict[str, float]]]


class Places:
    """The hosts, each started when a trial first needs it.

    Args:
        directory: an empty directory of ours.
        stack: ends what was started.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._directory = directory
        self._servers = Servers(directory)
        stack.callback(self._servers.close)

    @cached_property
    def plain(self) -> Host:
        """An account without start-up files."""
        return self._servers.host()

    @cached_property
    def far(self) -> Host:
        """The same, a long way off."""
        port = self._stack.enter_context(delayed(self.plain.host, self.plain.port, ROUND_TRIP))
        return self._servers.moved(self.plain, port)

    @cached_property
    def slow(self) -> Host:
        """An account whose start-up files take their time."""
        return self._servers.host(start_up=f"sleep {START_UP}\n")

    @cached_property
    def fleet(self) -> list[Host]:
        """Many hosts."""
        return self._servers.fleet(FLEET)

    @cached_property
    def hundred(self) -> list[Host]:
        """Those of a hundred that answer; whoever works on them adds the dead ones."""
        return self._servers.fleet(REACHABLE)

    @cached_property
    def file(self) -> Path:
        """A big file that does not compress."""
        path = self._directory / "file"
        with path.open("wb") as stream:
            for _ in range(BULK // 1_000_000):
                stream.write(os.urandom(1_000_000))
        return path

    @property
    def copy(self) -> Path:
        """Where a copy of it goes; nothing is there."""
        path = self._directory / "copy"
        path.unlink(missing_ok=True)
        return path


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named (all when none); see :mod:`benchmarks.__main__`."""
    records: list[Record] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        places = Places(directory, stack)
        for trial in TRIALS:
            measures = [measure for measure in trial.measures if not only or measure.name in only]
            if not measures:
                continue
            names = ", ".join(measure.name for measure in measures)
            values, failures = _take(trial, places, rounds or trial.rounds, _teller(console, names))
            records += [
                judge(
                    measure=measure.name,
                    title=measure.title,
                    unit=measure.unit,
                    ours=trial.contestants[0],
                    rounds={
                        name: [measure.convert(answer[measure.value]) for answer in answers]
                        for name, answers in values.items()
                    },
                    targets=measure.targets,
                    failures=failures,
                )
                for measure in measures
            ]
    return records


def _teller(console: Console, names: str) -> Callable[[int, str], None]:
    def tell(number: int, contestant: str) -> None:
        console.print(f"{names}: round {number}, {contestant}", highlight=False)

    return tell


def _take(
    trial: Trial, places: Places, rounds: int, tell: Callable[[int, str], None]
) -> tuple[Values, Mapping[str, str]]:
    """Ask every contestant once a round; one that failed is not asked again."""
    values: Values = {name: [] for name in trial.contestants}
    failures: dict[str, str] = {}
    request = _request(trial, places)
    with ExitStack() as kept:
        running: dict[str, Contestant] = {}
        for number in range(rounds):
            # Whoever comes first in a round comes last in the next: what drifts hits all of them.
            turn = number % len(trial.contestants)
            for name in (*trial.contestants[turn:], *trial.contestants[:turn]):
                if name in failures:
                    continue
                tell(number + 1, name)
                request |= {key: str(getattr(places, place)) for key, place in trial.arguments.items()}
                try:
                    if trial.fresh:
                        with Contestant(name) as contestant:
                            answer = contestant.ask(request, trial.limit)
                    else:
                        if name not in running:
                            running[name] = kept.enter_context(Contestant(name))
                        answer = running[name].ask(request, trial.limit)
                    _check_copy(request)
                except ContestantFailed as error:
                    failures[name] = str(error)
                else:
                    values[name].append(answer)
    return values, failures


def _request(trial: Trial, places: Places) -> dict[str, Any]:
    if trial.place in ("fleet", "hundred"):
        return {**trial.ask, "hosts": [asdict(host) for host in getattr(places, trial.place)]}
    return {**trial.ask, "host": asdict(getattr(places, trial.place))}


def _check_copy(request: Mapping[str, Any]) -> None:
    if "destination" not in request:
        return
    source, destination = request["source"], request["destination"]
    if not Path(destination).exists() or not filecmp.cmp(source, destination, shallow=False):
        raise ContestantFailed("The copy is not like the file.")
