"""Looks for every secret of the test session where none may ever be; a pytest plugin.

Fixtures make secrets with :func:`secret` or report them with :func:`remember`. From then on they are looked
for in the argument list of every process on the machine (containers included), in every log record, in the
text of every error of ours, in what tests print, and in the databases and logs below the tests' temporary
directories. A finding fails the session and names the place and what kind of secret it was, never the secret.

Where several processes run the tests (pytest-xdist), each looks for the secrets that it made, and tells the
one that hands the tests out what it found.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import threading
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from tests.side_by_side import hands_out, is_worker

_INTERVAL = 0.2
_ALL_EVERY = 5  # intervals
_SQLITE = b"SQLite format 3\0"
_SHORTEST = 8
_FOUND = "secrets found"


class SecretScan:
    """The secrets of a session and where they were found. Thread-safe.

    Attributes:
        findings: kinds of secrets and places.
        unheard: processes of the session that ended without a word of what they had found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[bytes, str] = {}
        self.findings: dict[str, None] = {}
        self.unheard: list[str] = []

    def remember(self, value: str | bytes, kind: str) -> None:
        """Look for ``value`` from now on, and for each longer line of it.

        Raises:
            ValueError: too short to be looked for; it would be found by chance.
        """
        data = value.encode() if isinstance(value, str) else value
        if len(data.strip()) < _SHORTEST:
            raise ValueError(f"A secret of fewer than {_SHORTEST} bytes would be found everywhere: {kind}.")
        lines = {line.strip() for line in data.splitlines()} - {b""}
        forms = {data.strip(), *(line for line in lines if len(line) >= 16 and not line.startswith(b"-----"))}
        with self._lock:
            self._secrets.update(dict.fromkeys(forms, kind))

    def look(self, text: str | bytes, place: str) -> None:
        """Note a finding for each secret in ``text``."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        with self._lock:
            for value, kind in self._secrets.items():
                if value in data:
                    self.findings[f"{kind}: in {place}"] = None

    def look_at_processes(self, but: AbstractSet[str] = frozenset()) -> set[str]:
        """Look at the arguments of every process there is now; their numbers.

        Args:
            but: numbers of those that are not looked at.
        """
        there = {entry.name for entry in os.scandir("/proc") if entry.name.isdigit()}
        found = {arguments for number in there - but if (arguments := _arguments(number))}
        # Nearly always nothing is found: one search in all of them is much cheaper than one in each.
        if self._is_in(b"\n".join(found)):
            for arguments in found:
                self.look(arguments, f"the arguments of a process ({_program(arguments)})")
        return there

    def _is_in(self, data: bytes) -> bool:
        with self._lock:
            return any(value in data for value in self._secrets)

    def look_at_files(self, directory: Path) -> None:
        """Look at every database and log below ``directory``, and at all files beside a database."""
        for folder, _, names in os.walk(directory):
            paths = [Path(folder, name) for name in names]
            state = any(_is_database(path) for path in paths)
            for path in paths:
                if (state or ".log" in path.name or "known_hosts" in path.name) and path.is_file():
                    self.look(path.read_bytes(), f"the file {path.relative_to(directory)}")


def _arguments(number: str) -> bytes:
    """Of a process; empty where it has ended, or is the kernel's."""
    try:
        descriptor = os.open(f"/proc/{number}/cmdline", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65536), b""))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _program(arguments: bytes) -> str:
    return Path(arguments.split(b"\0")[0].split(b" ")[0].decode(errors="replace")).name


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False  # opening a pipe would wait for a writer for ever
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


SCAN = SecretScan()


def remember(value: str | bytes, kind: str) -> None:
    """Look for ``value`` during the rest of the session; ``kind`` names it in a finding."""
    SCAN.remember(value, kind)


def secret(kind: str) -> str:
    """A new random secret that is looked for; ``kind`` names it in a finding."""
    value = secrets.token_urlsafe(18)
    remember(value, kind)
    return value


def look(text: str | bytes, place: str) -> None:
    """Look for secrets in something that only the test can see, such as what a command printed."""
    SCAN.look(text, place)


class _LogScan(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        SCAN.look(self.format(record), f"a log record of {record.name} ({record.filename}:{record.lineno})")


class _Sampler:
    """A thread that looks at processes about five times a second.

    At new ones twice, since a process begins with the arguments of the one that made it; at all of them once
    a second.
    """

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="secret-scan", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        last, looked_at_twice = set[str](), set[str]()
        for number in itertools.count():
            if self._end.wait(_INTERVAL):
                return
            there = SCAN.look_at_processes(looked_at_twice if number % _ALL_EVERY else frozenset())
            last, looked_at_twice = there, there & last


_sampler = _Sampler()
_log_scan = _LogScan(logging.DEBUG)
_log_scan.setFormatter(logging.Formatter("%(message)s"))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to look."""
    if hands_out(config):
        return  # it makes no secrets
    logging.getLogger().addHandler(_log_scan)
    for name in ("dlpx_remote", "paramiko"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    _look_at_errors()
    _sampler.start()


def _look_at_errors() -> None:
    """Every error of ours is looked at when it is made, also one that a test expects and catches."""
    from dlpx_remote.errors import RemoteError

    original = RemoteError.__init__

    def looked_at(self: RemoteError, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        text = "\n".join([str(self), self.output])
        SCAN.look(text, f"the text of a {type(self).__name__}")

    RemoteError.__init__ = looked_at  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at what a test printed and how it failed."""
    report = yield
    SCAN.look(report.longreprtext, f"how {item.nodeid} failed")
    for title, text in report.sections:
        SCAN.look(text, f"{title} of {item.nodeid}")
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Look at the files of a test before its directory is removed."""
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if directory is not None:
        SCAN.look_at_files(directory)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at what is left below the temporary directories, and fail the session when anything was found."""
    if hands_out(session.config):
        if SCAN.findings or SCAN.unheard:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return
    _sampler.stop()
    logging.getLogger().removeHandler(_log_scan)
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None:
        SCAN.look_at_files(factory.getbasetemp())
    if SCAN.findings:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if is_worker(session.config):
        session.config.workeroutput[_FOUND] = list(SCAN.findings)  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Hear what a process of the session found."""
    found = getattr(node, "workeroutput", {}).get(_FOUND)
    if found is None:
        SCAN.unheard.append(node.gateway.id)
    else:
        SCAN.findings.update(dict.fromkeys(found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was found, or that nothing was."""
    terminalreporter.section("secrets")
    for finding in SCAN.findings:
        terminalreporter.write_line(f"FOUND  {finding}", red=True)
    for process in SCAN.unheard:
        terminalreporter.write_line(f"UNKNOWN  what {process} has found: it ended without a word", red=True)
    if not SCAN.findings and not SCAN.unheard:
        terminalreporter.write_line("none of the session's secrets was seen where it must not be")
