"""Tests in several processes: what one of them has to tell arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = """
from tests.side_by_side import say

def test_that_says_something(pytestconfig, capsys):
    with capsys.disabled():
        say(pytestconfig, "said by a test")

def test_that_fails_with_text_that_is_no_unicode():
    print("a name \\udcff")
    assert "x" == "\\udcff"
"""


def test_what_tests_say_and_text_that_is_no_unicode_arrive(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    plugin = ("-p", "tests.side_by_side", "-c", os.devnull, "-n", "2")
    # Not the engine of the session: there is nothing here that needs one.
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "DOCKER_HOST": "unix:///nowhere"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "test_them.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said by a test" in run.stdout, run.stdout + run.stderr
    assert "1 failed, 1 passed" in run.stdout
    assert r"a name \udcff" in run.stdout
