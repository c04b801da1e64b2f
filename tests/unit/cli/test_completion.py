"""Names completed in a real bash, and as zsh asks for them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine, EnvironmentSpec
from dlpx_remote.engine_credentials import Credential
from dlpx_remote.environments.model import SecretReference


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two environments, a credential and a job."""
    place = tmp_path_factory.mktemp("completion") / "state"
    with Engine(place) as engine:
        for name in ("db1", "db2"):
            engine.add_environment(EnvironmentSpec(name, f"{name}.invalid", "anna"))
        engine.credentials.add(Credential("shop", "password", SecretReference("env", "SHOP")))
        engine.jobs.submit("fine", {}, "do it", detach=True)
    return place


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH with the command in it."""
    place = tmp_path_factory.mktemp("bin")
    script = place / "dlpx-remote"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dlpx_remote "$@"\n')
    script.chmod(0o755)
    return place


def in_bash(program: Path, line: str) -> list[str]:
    """What bash offers when Tab is pressed at the end of ``line``."""
    words = shlex.split(line)
    if line.endswith(" "):
        words.append("")
    script = (
        'eval "$(dlpx-remote --show-completion bash)"\n'
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}\n"
        "_dlpx_remote_completion dlpx-remote\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{program}:{os.environ['PATH']}"},
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("env show d", ["db1", "db2"]),
        ("env add d", []),
        ("credential remove ", ["shop"]),
        ("job show ", ["JOB-1"]),
        ("vdb provision new -e db", ["db1", "db2"]),
    ],
)
def test_bash_completes_what_the_state_knows(
    program: Path, state: Path, line: str, offered: list[str]
) -> None:
    assert in_bash(program, f"dlpx-remote --state {state} {line}") == offered


def test_where_there_is_no_state_none_is_made_and_nothing_said(program: Path, tmp_path: Path) -> None:
    assert in_bash(program, f"dlpx-remote --state {tmp_path / 'none'} env show ") == []
    assert not (tmp_path / "none").exists()


def test_zsh_is_answered_in_its_form(state: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlpx_remote"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "_DLPX_REMOTE_COMPLETE": "complete_zsh",
            "_TYPER_COMPLETE_ARGS": f"dlpx-remote --state {state} env show d",
        },
    )
    assert '"db1"' in done.stdout
    assert '"db2"' in done.stdout
