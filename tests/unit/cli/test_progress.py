"""The line of progress, and questions that must not be drawn over."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from dlpx_remote.cli import progress as room
from dlpx_remote.cli.progress import DiscoveryProgress, hidden_progress
from dlpx_remote.engine import DiscoveryEvent


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _run(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    monkeypatch.setattr(room, "_PATIENCE", patience)
    monkeypatch.setattr("sys.stderr", stream)
    with DiscoveryProgress() as progress:
        if stream.isatty() and not patience:
            progress._timer.join()
        progress(DiscoveryEvent("db1", "", "connecting"))
        progress(DiscoveryEvent("db1", "[red]", "finished"))
        progress(DiscoveryEvent("db2", "", "failed"))
        for name in ("a", "b", "c", "d"):
            progress(DiscoveryEvent(name, "files", "discovering"))


def test_whoever_waits_at_a_terminal_sees_what_is_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()

    _run(terminal, monkeypatch, patience=0)

    assert "Discovering:" in terminal.getvalue()


def test_the_line_counts_and_names_a_few() -> None:
    progress = DiscoveryProgress()
    for event in (
        DiscoveryEvent("db1", "files", "finished"),
        DiscoveryEvent("db2", "", "failed"),
        *(DiscoveryEvent(name, "files", "discovering") for name in ("a", "b", "c", "d")),
    ):
        progress(event)

    line = progress.line()

    assert line == "Discovering: 1 finished, 1 failed. a: files, b: files, c: files and 1 more"


def test_nothing_is_drawn_for_those_who_need_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()

    _run(terminal, monkeypatch, patience=3600)

    assert terminal.getvalue() == ""


def test_nothing_is_drawn_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()

    _run(stream, monkeypatch, patience=0)

    assert stream.getvalue() == ""


def test_nothing_is_drawn_while_somebody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    with DiscoveryProgress() as progress:
        with hidden_progress():
            progress._appear()
            drawn_meanwhile = terminal.getvalue()
        assert progress._status is not None

    assert drawn_meanwhile == ""
    assert "Discovering:" in terminal.getvalue()


def test_a_secret_is_asked_at_the_terminal_and_not_shown() -> None:
    program = (
        "from dlpx_remote.cli.session import ask_secret; print('got', len(ask_secret('Password of anna')))"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {program}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while b"Password of anna: " not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, b"not-to-be-echoed\n")
        try:
            while more := os.read(ours, 1000):
                seen += more
        except OSError:
            pass  # how Linux says that the other end is closed
        os.close(ours)

    assert process.returncode == 0
    assert b"got 16" in seen
    assert b"not-to-be-echoed" not in seen
