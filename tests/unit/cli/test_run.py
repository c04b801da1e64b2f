"""``run``: the script's own output and exit code. The engine is a stub here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlpx_remote.engine import CommandResult
from dlpx_remote.transports.base import CommandTimeout
from tests.secret_scan import secret
from tests.unit.cli.conftest import CommandLine, StubEngine


def test_output_passes_byte_for_byte_and_the_exit_code_is_the_scripts(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["run"] = CommandResult(7, b"\xff\x00out\r\n", b"no newline")

    outcome = command("run", "db1", "anything")

    assert (outcome.code, outcome.raw_out, outcome.err) == (7, b"\xff\x00out\r\n", "no newline")
    arguments, options = stub.called("run")
    assert arguments == ("db1", "anything")
    assert options == {"user": None, "variables": {}, "login_shell": False, "timeout": None}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_larger_than_a_pipe_arrives_whole(unbuffered: str) -> None:
    program = "from dlpx_remote.cli.output import raw; raw(b'12345678' * 1_000_000, b'')"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        received = len(process.stdout.read())

    assert (process.returncode, received) == (0, 8_000_000)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough_is_no_error(unbuffered: str) -> None:
    program = (
        "from dlpx_remote import engine; from dlpx_remote.cli import main\n"
        "class Stub:\n"
        "    def __init__(self, *_, **__): pass\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): pass\n"
        "    def run(self, *_, **__): return engine.CommandResult(0, b'line' * 1_000_000, b'')\n"
        "engine.Engine = Stub\n"
        "raise SystemExit(main(['run', 'db1', 'anything']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(4)
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (141, b"")


def test_options_reach_the_engine(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["run"] = CommandResult(0, b"", b"")

    command("run", "db1", "id", "--user", "postgres", "--login-shell", "--timeout", "2.5")

    assert stub.called("run")[1] == {
        "user": "postgres",
        "variables": {},
        "login_shell": True,
        "timeout": 2.5,
    }


def test_json_holds_both_streams_and_the_exit_code_stays(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["run"] = CommandResult(143, b"caf\xc3\xa9", b"\xff", "TERM", 0.5)

    outcome = command("run", "db1", "id", "--output", "json")

    assert outcome.code == 143
    assert json.loads(outcome.out) == {
        "exit_code": 143,
        "stdout": "café",
        "stderr": "\ufffd",
        "signal": "TERM",
        "duration": 0.5,
    }


def test_an_exit_code_that_does_not_fit_is_never_success(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["run"] = CommandResult(256, b"", b"")

    outcome = command("run", "db1", "exit")

    assert outcome.code == 255
    assert "256" in outcome.err


def test_the_script_comes_from_a_file_as_bytes(command: CommandLine, stub: StubEngine, files: Path) -> None:
    stub.answers["run"] = CommandResult(0, b"", b"")
    script = files / "script.sh"
    script.write_bytes(b"echo \xff\r\n")

    command("run", "db1", "--file", str(script))

    assert stub.called("run")[0] == ("db1", b"echo \xff\r\n")


def test_the_script_comes_from_stdin_as_bytes(
    command: CommandLine, stub: StubEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.answers["run"] = CommandResult(0, b"", b"")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"exit 3 # \xff\n")))

    command("run", "db1", "-")

    assert stub.called("run")[0] == ("db1", b"exit 3 # \xff\n")


def test_variables_come_from_where_the_person_says(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["run"] = CommandResult(0, b"", b"")
    found = {"env:FROM_HERE": secret("variable from the environment"), "file:/b": secret("from a file")}
    stub.answers["secret"] = lambda reference, purpose: f"{purpose}: {found[str(reference)]}"

    command("run", "db1", "id", "--variable-from", "A=env:FROM_HERE", "--variable-from", "B=file:/b")

    assert stub.called("run")[1]["variables"] == {
        "A": f"value of A: {found['env:FROM_HERE']}",
        "B": f"value of B: {found['file:/b']}",
    }


def test_what_came_before_a_timeout_is_shown(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["run"] = CommandTimeout("Out of time.", "Give it more.", stdout=b"half", stderr=b"why\n")

    outcome = command("run", "db1", "sleep 9", "--timeout", "1")

    assert (outcome.code, outcome.out) == (221, "half")
    assert outcome.err == "why\nError: Out of time.\n  Action: Give it more.\n"


@pytest.mark.parametrize("given", ["A", "A-B=env:X", "=env:X", "A=hunter22", "A=env:"])
def test_a_variable_that_cannot_be_is_refused_without_repeating_it(
    given: str, command: CommandLine, stub: StubEngine
) -> None:
    outcome = command("run", "db1", "id", "--variable-from", given)

    assert outcome.code == 2
    assert "env:" in outcome.err
    assert "hunter22" not in outcome.err
    assert stub.calls == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "There is no script to run."),
        (("id", "--file", "x"), "There are two scripts to run."),
        (("--file", "/nowhere/script"), "/nowhere/script cannot be read: No such file or directory."),
    ],
)
def test_a_script_that_is_missing_or_there_twice_is_refused(
    words: tuple[str, ...], message: str, command: CommandLine, stub: StubEngine
) -> None:
    outcome = command("run", "db1", *words)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Action:" in outcome.err
    assert stub.calls == []


def test_a_timeout_must_be_positive(command: CommandLine, stub: StubEngine) -> None:
    outcome = command("run", "db1", "id", "--timeout", "0")

    assert outcome.code == 2
    assert "--timeout" in outcome.err
