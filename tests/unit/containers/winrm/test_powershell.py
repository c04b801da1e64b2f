"""Where PowerShell is on PATH, commands without a rule really run; here a stand-in for it does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.winrm.responder import Reply, WinRMHost
from tests.unit.containers.winrm.conftest import USER, Client

PROGRAM = """#!/bin/sh
# Says how it was called and what it read, and ends with the code that it read first.
printf '%s|' "$@"
read code
cat >&2
exit "$code"
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str) -> Iterator[WinRMHost]:
    """A host with the stand-in as its PowerShell."""
    program = tmp_path / "pwsh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with WinRMHost({USER: password}) as host:
        yield host


def test_a_script_over_stdin_runs(client: Client) -> None:
    assert client.run("powershell.exe", "-NoProfile", "-", stdin=b"7\nrest") == (b"-NoProfile|-|", b"rest", 7)


def test_a_bootstrap_that_reads_stdin_runs(client: Client) -> None:
    bootstrap = base64.b64encode("[Console]::In.ReadToEnd() | iex".encode("utf-16-le")).decode()
    out, err, code = client.run("powershell", "-EncodedCommand", bootstrap, stdin=b"0\nhello")
    assert (out, err, code) == (f"-EncodedCommand|{bootstrap}|".encode(), b"hello", 0)


def test_rules_come_first(host: WinRMHost, client: Client) -> None:
    host.when("^Get-Date$", Reply(stdout="today"))
    assert client.run("powershell", "-", stdin=b"Get-Date") == (b"today", b"", 0)


def test_a_program_ends_with_its_command(host: WinRMHost, client: Client) -> None:
    command = client.start("powershell", "-NoProfile", "-Command", "sleep")
    assert client.receive(command) == (b"-NoProfile|-Command|sleep|", b"", -1, False)
    assert host.counts.commands_running == 1
    client.signal(command)
    assert host.counts.commands_running == 0
