"""The secret scan finds what it is there to find: a session with a leak fails and names the place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secret_scan import SecretScan

CHECKOUT = Path(__file__).resolve().parents[3]
VALUE = "correct-horse-battery-staple"
HEAD = f"""
import logging, sqlite3, subprocess, sys, time
from pathlib import Path
import pytest
from tests.secret_scan import look, remember
VALUE = "-".join({VALUE.split("-")})
remember(VALUE, "the password")
"""

LEAKS = {
    "arguments": (
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(1.5)', VALUE])",
        "the arguments of a process",
    ),
    "log": ("logging.getLogger('dlpx_remote.x').debug('with %s', VALUE)", "a log record of dlpx_remote.x"),
    "caught error": (
        "from dlpx_remote.errors import NotFound\n    with pytest.raises(NotFound): raise NotFound(VALUE)",
        "the text of a NotFound",
    ),
    "output of an error": (
        "from dlpx_remote.errors import RemoteError\n    RemoteError('a', 'b', f'said {VALUE}')",
        "the text of a RemoteError",
    ),
    "stdout": ("print(VALUE)", "Captured stdout call"),
    "failure": ("pytest.xfail(VALUE)", "how test_leak.py::test_leak failed"),
    "log file": ("Path(tmp_path, 'engine.log').write_text(VALUE)", "the file engine.log"),
    "database": (
        "d = sqlite3.connect(tmp_path / 'state'); d.execute('create table t (v)'); "
        "d.execute('insert into t values (?)', (VALUE,)); d.commit(); d.close()",
        "the file state",
    ),
    "file beside a database": (
        "sqlite3.connect(tmp_path / 'state').execute('create table t (v)'); "
        "Path(tmp_path, 'notes').write_text(VALUE)",
        "the file notes",
    ),
    "told": ("look(VALUE, 'what a command printed')", "what a command printed"),
}


def _session(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_leak.py").write_text(f"{HEAD}\ndef test_leak(tmp_path):\n    {body}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.secret_scan", "-q", "-c", os.devnull, "test_leak.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("body", "place"), LEAKS.values(), ids=LEAKS)
def test_a_leak_fails_the_session_and_is_named_without_the_secret(
    tmp_path: Path, body: str, place: str
) -> None:
    session = _session(tmp_path, body)
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    findings = [line for line in session.stdout.splitlines() if line.startswith("FOUND")]
    assert any(line.startswith(f"FOUND  the password: in {place}") for line in findings), session.stdout
    assert not any(VALUE in line for line in findings)


def test_a_session_without_a_leak_passes(tmp_path: Path) -> None:
    body = "Path(tmp_path, 'key').write_text(VALUE)"  # a secret's own file is no leak
    session = _session(tmp_path, body)
    assert session.returncode == pytest.ExitCode.OK, session.stdout
    assert "none of the session's secrets was seen" in session.stdout


def test_each_line_of_a_private_key_is_looked_for() -> None:
    scan = SecretScan()
    scan.remember("-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIIfZ\nsecond-line-of-the-key==\n", "a key")
    scan.look("-----BEGIN KEY-----", "an innocent place")
    assert not scan.findings
    scan.look("x MC4CAQAwBQYDK2VwBCIEIIfZ x", "a place")
    assert list(scan.findings) == ["a key: in a place"]


def test_a_secret_that_would_be_found_by_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 8 bytes"):
        SecretScan().remember("abc", "a password")
