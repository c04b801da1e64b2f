"""``backup`` and ``restore`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import CommandLine


def test_a_state_is_kept_and_restored_elsewhere(command: CommandLine, tmp_path: Path) -> None:
    state, other, file = (str(tmp_path / name) for name in ("state", "other", "kept.tar.gz"))
    command("--state", state, "env", "add", "db1", "--host", "db1.example.com", "--user", "anna")

    kept = command("--state", state, "backup", file)
    restored = command("--state", other, "restore", file)

    assert (kept.code, restored.code) == (0, 0), kept.err + restored.err
    assert kept.out.startswith(f"Kept in {file}: ")
    assert restored.out.startswith(f"Restored into {other}: ")
    assert "dlpx-remote doctor" in restored.out
    assert "db1.example.com" in command("--state", other, "env", "list").out


def test_both_give_json(command: CommandLine, tmp_path: Path) -> None:
    state, other, file = (str(tmp_path / name) for name in ("state", "other", "kept.tar.gz"))
    command("--state", state, "env", "add", "db1", "--host", "db1.example.com", "--user", "anna")

    kept = json.loads(command("--state", state, "backup", file, "--output", "json").out)
    restored = json.loads(command("--state", other, "restore", file, "--output", "json").out)

    assert kept == restored
    assert kept["rows"]["environments"] == 1


def test_wrong_use_says_what_to_do(command: CommandLine, tmp_path: Path) -> None:
    nothing = command("--state", str(tmp_path / "none"), "backup", str(tmp_path / "kept"))
    no_file = command("--state", str(tmp_path / "none"), "restore", str(tmp_path / "kept"))

    assert nothing.code != 0
    assert "There is no state in" in nothing.err
    assert "--state" in nothing.err
    assert no_file.code != 0
    assert "There is no file" in no_file.err
    assert not (tmp_path / "none").exists()
