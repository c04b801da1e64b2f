"""The examples' own tests, which use the fixtures as any plugin's tests would; in a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.hosts.examples import EXAMPLES
from tests.hosts.sshd import sshd_binary
from tests.hosts.test_plugin_authors import run_pytest


def _passes(example: str, directory: Path, *options: str) -> None:
    sshd_binary()
    shutil.copytree(EXAMPLES / example, directory / example)

    done = run_pytest(directory / example, *options)

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("example", "options"),
    [
        ("files", ("tests/test_operations.py",)),
        ("windows_files", ()),
        ("postgres", ("--dlpx-recording", "play")),
    ],
)
def test_the_tests_of_an_example_pass(example: str, options: tuple[str, ...], tmp_path: Path) -> None:
    _passes(example, tmp_path, *options)


def test_the_recordings_of_an_example_are_what_a_container_answers(ssh_image: str, tmp_path: Path) -> None:
    _passes("postgres", tmp_path, "--dlpx-host", "container", "--dlpx-recording", "live")
