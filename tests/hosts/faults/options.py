"""How much of the sweeps runs: a pytest plugin that adds the options."""

from __future__ import annotations

import random

import pytest

SAMPLE = 150


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fault tests."""
    group = parser.getgroup("faults")
    group.addoption("--all-faults", action="store_true", help="every point of the sweeps, which takes long")
    group.addoption("--fault-points", type=int, default=SAMPLE, help="size of the sample [%(default)s]")
    group.addoption("--fault-seed", type=int, default=None, help="of the sample; a random one else")
    group.addoption("--fault-point", action="append", default=[], help="only this one, as a failure names it")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed."""
    if config.option.fault_seed is None:
        config.option.fault_seed = random.SystemRandom().randrange(1_000_000)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the sample."""
    return f"faults: --fault-seed {config.option.fault_seed}"
