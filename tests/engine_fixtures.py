"""Fixtures of every test that works with an engine on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, agent, ``known_hosts`` or ``ssh_config`` for the engine's side of a connection."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def engine(tmp_path: Path, clean_home: Path) -> Iterator[Engine]:
    """An engine with a state of its own. What it made on a host is taken away at the end."""
    with Engine(tmp_path / "state") as engine:
        yield engine
        for environment in engine.environments():
            engine.remove_environment(environment.name)
