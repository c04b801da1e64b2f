"""``env`` for Windows hosts: what is said, stored, shown and refused."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import CommandLine

ADD = ("env", "add", "win1", "--os", "windows", "--host", "win1.invalid", "--user", r"EXAMPLE\anna")
PASSWORD = ("--password-from", "env:WIN1_PASSWORD")


def test_a_windows_environment_is_added_and_shown(command: CommandLine) -> None:
    added = command(*ADD, *PASSWORD)
    shown = command("env", "show", "win1")
    assert added.out.startswith("Added environment win1 (WINDOWS_HOST_ENVIRONMENT-1).")
    assert "reached by:        WinRM over HTTPS with ntlm" in shown.out
    assert "certificate:       strict" in shown.out
    assert "password from env:WIN1_PASSWORD" in shown.out


def test_what_was_said_is_what_is_stored(command: CommandLine) -> None:
    command(
        *(*ADD, "--port", "15986", "--authentication", "certificate", "--fingerprint", "A" * 40),
        *("--certificate", "/keys/client.pem", "--key", "/keys/client.key", "--ca-file", "/keys/ca.pem"),
        *("--directory", r"D:\engine\dlpx-remote"),
    )
    command("env", "user", "add", "win1", "other", "--certificate", "/keys/o.pem", "--key", "/keys/o.key")
    shown = json.loads(command("env", "show", "win1", "--output", "json").out)
    assert shown["windows"] == {
        "scheme": "https",
        "login": "certificate",
        "ca_file": "/keys/ca.pem",
        "unencrypted": False,
    }
    assert (shown["port"], shown["fingerprint"]) == (15986, "A" * 40)
    assert shown["directory"] == r"D:\engine\dlpx-remote"
    certificates = [user["authentication"]["certificate"] for user in shown["users"]]
    assert certificates == ["/keys/client.pem", "/keys/o.pem"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ((), "NTLM needs a password"),
        ((*PASSWORD, "--scheme", "http", "--authentication", "basic"), "everybody on the network can read"),
        ((*PASSWORD, "--host-key", "accept-new"), "not a way to check the certificate"),
        ((*PASSWORD, "--jump", "me@gate.invalid"), "reached directly"),
        ((*PASSWORD, "--agent"), "neither an SSH agent nor a passphrase"),
        ((*PASSWORD, "--directory", "/tmp/engine"), "not an absolute path on a Windows host"),
        ((*PASSWORD, "--os", "unix", "--scheme", "http"), "about Windows hosts"),
    ],
)
def test_what_cannot_be_is_refused(command: CommandLine, options: tuple[str, ...], part: str) -> None:
    refused = command(*ADD, *options)
    assert refused.code != 0
    assert part in " ".join(refused.err.split())
    assert command("env", "list").out.startswith("No environment yet.")


def test_basic_over_http_can_be_meant(command: CommandLine) -> None:
    words = (*ADD, *PASSWORD, "--scheme", "http", "--authentication", "basic", "--allow-unencrypted")
    assert command(*words).code == 0
    assert "WinRM over HTTP with basic" in command("env", "show", "win1").out


def test_how_to_log_in_belongs_to_hosts_that_were_not_added(command: CommandLine) -> None:
    refused = command("discover", "--scheme", "http")
    assert refused.code != 0
    assert "--scheme belongs to --host" in " ".join(refused.err.split())
