"""What holds for all tests: the secret scan, and a state directory of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.secret_scan", "tests.hosts.faults.options"]


@pytest.fixture(autouse=True)
def state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or touches the state of the person who runs it."""
    monkeypatch.setenv("DLPX_REMOTE_STATE", str(tmp_path / "default-state"))
