"""What holds for all tests: the secret scan, a state directory of their own, and an end that cleans up."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

# How long one example takes says something about the machine only.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest_plugins = [
    "tests.side_by_side",
    "tests.secret_scan",
    "tests.engine_fixtures",
    "tests.postgresql",
    "tests.hosts.faults.options",
    "tests.hosts.old_system",
    "tests.unit.specification.told",
]


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or touches the state of the person who runs it."""
    monkeypatch.setenv("DLPX_REMOTE_STATE", str(tmp_path / "default-state"))


def pytest_configure() -> None:
    """Asked to end, a run still ends what it has started: servers, containers, an engine."""

    def end(_signal: int, _frame: object) -> NoReturn:
        pytest.exit("ended by SIGTERM", returncode=143)

    signal.signal(signal.SIGTERM, end)
    # A run that a script starts in the background ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
