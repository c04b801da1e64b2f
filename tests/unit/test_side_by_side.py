"""Tests in several processes: what one of them has to tell arrives, and what belongs together stays so."""

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

TOGETHER = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(9))
def test_where(number):
    with Path("processes").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""
GROUPS = """
from pathlib import Path
from tests import side_by_side

side_by_side._TOGETHER = ((Path(__file__).parent / "test_together.py",),)
"""


def test_what_tests_say_and_text_that_is_no_unicode_arrive_and_groups_stay_together(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(GROUPS)
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "test_together.py").write_text(TOGETHER)
    plugin = (
        "-p",
        "tests.side_by_side",
        "--rootdir",
        ".",
        "-c",
        os.devnull,
        "-n",
        "2",
        "--dist",
        "loadgroup",
    )
    # Not the engine of the session: there is nothing here that needs one.
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "DOCKER_HOST": "unix:///nowhere"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "test_them.py", "test_together.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said by a test" in run.stdout, run.stdout + run.stderr
    assert "1 failed, 10 passed" in run.stdout
    assert r"a name \udcff" in run.stdout
    processes = (tmp_path / "processes").read_text().splitlines()
    assert len(processes) == 9
    assert len(set(processes)) == 1, processes
