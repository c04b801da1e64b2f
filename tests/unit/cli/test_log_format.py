"""The log as JSON: the file, stderr, and what is said there, redacted like everything else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine
from dlpx_remote.redaction import MASK, REDACTOR
from tests.unit.cli.conftest import CommandLine


def test_each_line_on_stderr_is_an_object(command: CommandLine, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))

    failed = command("--log-format", "json", "--verbose", *state, "env", "show", "nothing")
    plain = command(*state, "env", "show", "nothing")

    lines = [json.loads(line) for line in failed.err.splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    said = lines[-1]
    assert said["level"] == "error"
    assert "no environment named 'nothing'" in said["message"]
    assert plain.err.startswith("Error: "), "the next command speaks as usual"
    assert plain.code == failed.code


def test_the_variable_says_it_too(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLPX_REMOTE_LOG_FORMAT", "json")

    failed = command("--state", str(tmp_path / "state"), "env", "show", "nothing")

    assert json.loads(failed.err)["level"] == "error"


def test_the_file_has_an_object_a_line_without_secrets(tmp_path: Path) -> None:
    REDACTOR.register("open-fonio-in-the-log")
    with Engine(tmp_path / "state", json_log=True):
        logger = logging.getLogger("dlpx_remote.test")
        logger.warning("it said %s\nand more", "open-fonio-in-the-log")
        try:
            raise ValueError("open-fonio-in-the-log")
        except ValueError:
            logger.exception("it broke")

    log = tmp_path / "state" / "log"
    first, second = [json.loads(line) for line in (log / "engine.jsonl").read_text().splitlines()[-2:]]
    assert (first["level"], first["message"]) == ("warning", f"it said {MASK}\nand more")
    assert f"ValueError: {MASK}" in second["trace"]
    assert not (log / "engine.log").exists()
