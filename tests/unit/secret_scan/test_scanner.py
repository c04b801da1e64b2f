"""The secret scan finds what it is there to find: a session with a leak fails and names the place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secret_scan import SecretScan

CHECKOUT = Path(__file__).resolve().parents[3]
PYTEST = (sys.executable, "-m", "pytest", "-p", "tests.secret_scan", "-q", "-c", os.devnull)
HEAD = """
import logging, sqlite3, subprocess, sys, time
from pathlib import Path
import pytest
from tests.secret_scan import look, remember
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
    "failure": ("pytest.xfail(VALUE)", "how test_leak.py::test_leak_"),
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


def _value(number: int) -> str:
    return f"correct-horse-{number}-battery-staple"


def _test(number: int, body: str) -> str:
    """A test with a secret of its own; its text is nowhere in the file."""
    return f"""
def test_leak_{number}(tmp_path):
    VALUE = "-".join({_value(number).split("-")})
    remember(VALUE, "password {number}")
    {body}
"""


def _session(
    directory: Path, *bodies: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    tests = [_test(number, body) for number, body in enumerate(bodies)]
    (directory / "test_leak.py").write_text("".join([HEAD, *tests]))
    return subprocess.run(
        [*PYTEST, *options, "test_leak.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


def _findings(session: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in session.stdout.splitlines() if line.startswith("FOUND")]


@pytest.fixture(scope="module")
def session_with_every_leak(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return _session(tmp_path_factory.mktemp("leaks"), *(body for body, _ in LEAKS.values()))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found_and_named_without_the_secret(
    session_with_every_leak: subprocess.CompletedProcess[str], leak: str
) -> None:
    number, (_, place) = list(LEAKS).index(leak), LEAKS[leak]
    findings = _findings(session_with_every_leak)
    assert any(line.startswith(f"FOUND  password {number}: in {place}") for line in findings), findings
    assert not any(_value(number) in line for line in findings)


def test_one_leak_fails_a_session_whose_tests_pass(tmp_path: Path) -> None:
    session = _session(tmp_path, LEAKS["told"][0])
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    assert "1 passed" in session.stdout
    assert len(_findings(session)) == 1


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


def test_a_leak_in_one_of_several_processes_fails_the_session(tmp_path: Path) -> None:
    bodies = ["pass", "pass", LEAKS["told"][0], "pass", LEAKS["arguments"][0]]
    session = _session(tmp_path, *bodies, options=("-n", "2"))
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    assert "5 passed" in session.stdout
    found = {line.split(":")[0] for line in _findings(session)}
    assert found == {"FOUND  password 2", "FOUND  password 4"}


def test_a_process_that_ends_without_a_word_fails_the_session(tmp_path: Path) -> None:
    session = _session(tmp_path, "pass", "pass", "import os; os._exit(3)", options=("-n", "2"))
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    assert "UNKNOWN  what gw" in session.stdout
    assert "none of the session's secrets" not in session.stdout
