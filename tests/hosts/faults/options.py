"""How much of the sweeps runs: a pytest plugin that adds the options."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.side_by_side import is_worker

SAMPLE = 150
_SEED = "fault seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fault tests."""
    cores = len(os.sched_getaffinity(0))
    group = parser.getgroup("faults")
    group.addoption("--all-faults", action="store_true", help="every point of the sweeps, which takes long")
    group.addoption("--fault-points", type=int, default=SAMPLE, help="size of the sample [%(default)s]")
    group.addoption(
        "--soak-minutes", type=float, default=None, help="of random kills under jobs; some seconds else"
    )
    group.addoption("--fault-seed", type=int, default=None, help="of the sample; a random one else")
    group.addoption("--fault-point", action="append", default=[], help="only this one, as a failure names it")
    group.addoption(
        "--fault-phase", action="append", default=[], help="with --all-faults: only points of this phase"
    )
    group.addoption("--fault-processes", type=int, default=cores, help="that play points [%(default)s]")
    group.addoption(
        "--fault-journal",
        type=Path,
        default=None,
        help="with --all-faults: where the points done are kept, to go on after an interruption",
    )
    group.addoption(
        "--fault-minutes",
        type=float,
        default=None,
        help="with --all-faults: stop then, to go on another time",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed; in each process of a run the same."""
    if is_worker(config):
        config.option.fault_seed = config.workerinput[_SEED]  # type: ignore[attr-defined]
    if config.option.fault_seed is None:
        config.option.fault_seed = random.SystemRandom().randrange(1_000_000)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed to a process of the run."""
    node.workerinput[_SEED] = node.config.option.fault_seed


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the sample."""
    return f"faults: --fault-seed {config.option.fault_seed}"
