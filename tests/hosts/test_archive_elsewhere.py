"""A state that moves from a file to PostgreSQL and back by way of a backup."""

from __future__ import annotations

from pathlib import Path

from dlpx_remote.engine import Engine, EnvironmentSpec
from dlpx_remote.engine_backup import back_up, restore


def test_a_state_moves_to_postgresql_and_back(tmp_path: Path, postgresql_url: str) -> None:
    with Engine(tmp_path / "first") as engine:
        engine.add_environment(EnvironmentSpec(name="db1", host="db1.example.com", user="anna"))
        first = engine.environments()
    back_up(tmp_path / "first", None, tmp_path / "one")

    restore(tmp_path / "one", tmp_path / "second", postgresql_url)
    with Engine(tmp_path / "second", postgresql_url) as engine:
        assert engine.environments() == first
        engine.add_environment(EnvironmentSpec(name="db2", host="db2.example.com", user="anna"))
        second = engine.environments()
    back_up(tmp_path / "second", postgresql_url, tmp_path / "two")

    restore(tmp_path / "two", tmp_path / "third")
    with Engine(tmp_path / "third") as engine:
        assert engine.environments() == second
        assert [one.reference for one in second] == ["UNIX_HOST_ENVIRONMENT-1", "UNIX_HOST_ENVIRONMENT-2"]
