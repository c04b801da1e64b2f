"""How errors are said, and the exit code of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound, RemoteError
from dlpx_remote.jobs.base import Busy, JobFailed
from dlpx_remote.plugins.problems import PluginInvalid, Problem
from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports import base
from tests.secret_scan import secret as new_secret
from tests.unit.cli.conftest import CommandLine, StubEngine, environment


def test_an_error_is_said_in_three_parts_on_stderr_without_a_stack_trace(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["environments"] = RemoteError("The disk is full.", "Make room.", "one\ntwo\n")

    outcome = command("env", "list")

    assert outcome.out == ""
    assert outcome.err == "Error: The disk is full.\n  Action: Make room.\n  Output:\n    one\n    two\n"


def test_parts_that_are_empty_are_left_out(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["environments"] = RemoteError("The disk is full.")

    assert command("env", "list").err == "Error: The disk is full.\n"


def test_verbose_adds_the_stack_trace(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["environments"] = RemoteError("The disk is full.")

    outcome = command("--verbose", "env", "list")

    assert "Traceback (most recent call last)" in outcome.err
    assert outcome.err.endswith("Error: The disk is full.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("no"), 2),
        (JobFailed("no"), 224),
        (Busy("no"), 225),
        (NotFound("no"), 2),
        (AlreadyExists("no"), 2),
        (base.InvalidCommand("no"), 2),
        (base.NameNotResolved("no"), 220),
        (base.AuthenticationFailed("no"), 220),
        (base.HostKeyChanged("no"), 220),
        (base.SessionRefused("no"), 220),
        (base.CommandTimeout("no"), 221),
        (base.OutputTooLarge("no"), 221),
        (base.OutcomeUnknown("no"), 222),
        (base.ShellUnavailable("no"), 223),
        (base.HomeDirectoryMissing("no"), 223),
        (base.TransferFailed("no"), 229),
        (RemoteError("no"), 229),
        (PluginInvalid("p", [Problem("error", "f", 1, "", "broken")]), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_kind_of_error_has_its_exit_code(
    error: RemoteError, code: int, command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["run"] = error

    assert command("run", "db1", "true").code == code


def test_what_nobody_foresaw_is_called_a_defect(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["environments"] = KeyError("table")

    outcome = command("env", "list")

    assert outcome.code == 230
    assert "Unexpected KeyError: 'table'" in outcome.err
    assert "defect of dlpx-remote" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_stack_trace_holds_no_secret(command: CommandLine, stub: StubEngine) -> None:
    secret = new_secret("a value in a stack trace")
    with REDACTOR.variables([secret]):
        stub.answers["environments"] = ValueError(f"cannot use {secret}")

        outcome = command("--verbose", "env", "list")

    assert "Traceback" in outcome.err
    assert secret not in outcome.err


@pytest.mark.parametrize("form", ["table", "json"])
def test_results_hold_no_secret(form: str, command: CommandLine, stub: StubEngine) -> None:
    secret = new_secret("a value in a result")
    with REDACTOR.variables([secret]):
        stub.answers["environments"] = [environment(host=f"{secret}.example.com")]

        outcome = command("env", "list", "--output", form)

    assert outcome.code == 0
    assert "********.example.com" in outcome.out
    assert secret not in outcome.out


def test_control_characters_from_elsewhere_do_not_reach_the_terminal(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["environments"] = RemoteError("It said:", output="\x1b]0;owned\x07 \x1b[2J")

    outcome = command("env", "list")

    assert "\x1b" not in outcome.err
    assert "\\x1b[2J" in outcome.err


def test_interrupting_ends_quietly_with_130(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["environments"] = KeyboardInterrupt()

    outcome = command("env", "list")

    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")
    assert ("close", (), {}) in stub.calls


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from dlpx_remote.cli import main; raise SystemExit(main(['--help']))"],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            cwd=tmp_path,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")


def test_names_that_the_terminal_cannot_show_do_not_end_the_command() -> None:
    program = (
        "from dlpx_remote.cli.application import _print_whatever_comes as prepare\n"
        "from dlpx_remote.cli.output import say\n"
        "prepare(); say('caf\\u00e9')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
    )

    assert (done.returncode, done.stdout) == (0, b"caf\\xe9\n")


def test_a_question_without_a_terminal_says_what_to_do_instead() -> None:
    program = (
        "from dlpx_remote.cli.session import ask_secret\n"
        "from dlpx_remote.errors import InvalidRequest\n"
        "try: ask_secret('Password of anna')\n"
        "except InvalidRequest as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # no terminal to ask at
    )

    assert "There is no terminal to ask at: Password of anna" in done.stdout
    assert "env:VARIABLE, file:PATH or command:COMMAND" in done.stdout
