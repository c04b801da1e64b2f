"""The command line of the benchmarks: finds the benchmark by its name, runs it, prints its records."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from benchmarks.records import Record, all_met, write

NAMES = {
    "lifecycle": "benchmarks.lifecycle",
    "ssh": "benchmarks.ssh",
    "storage": "benchmarks.storage",
    "winrm": "benchmarks.winrm",
}
"""Module of each benchmark by its name; it has ``MEASURES`` and ``run``. Imported only when asked for."""

WIDTH_OF_A_PIPE = 160


class Benchmark(Protocol):
    """What a benchmark's module has."""

    MEASURES: Sequence[str]

    def run(self, only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
        """Take the measures named (all when none), and say on ``console`` what is being done.

        Args:
            only: short names of measures.
            rounds: how often each is taken; None leaves it to the measure.
            console: where progress goes.
        """
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark.

    Returns:
        0 when every target is met, 1 when one is missed, 2 for a wrong command line.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure us and our peers.")
    parser.add_argument("name", choices=sorted(NAMES), help="what to measure")
    parser.add_argument("--only", action="append", default=[], metavar="MEASURE", help="may be repeated")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="how often each measure is taken")
    parser.add_argument("--json", action="store_true", help="print a list of records instead of a table")
    options = parser.parse_args(arguments)
    benchmark: Benchmark = importlib.import_module(NAMES[options.name])
    unknown = sorted(set(options.only) - set(benchmark.MEASURES))
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(benchmark.MEASURES)}")
    records = benchmark.run(options.only, options.rounds, Console(stderr=True))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_OF_A_PIPE)
    write(records, console, as_json_list=options.json)
    return 0 if all_met(records) else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    # An orderly end for whoever stops it: servers that it started must not stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
