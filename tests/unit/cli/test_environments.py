"""``env`` and ``env user``: on the real engine, which asks nothing of a host for these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlpx_remote.engine import DiscoveryReport, HostFacts, RemovedEnvironment, TestStep
from tests.unit.cli.conftest import CommandLine, StubEngine, environment


def test_an_environment_is_added_listed_shown_and_removed(command: CommandLine) -> None:
    added = command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle", "--port", "2222")
    listed = command("env", "list")
    shown = command("env", "show", "UNIX_HOST_ENVIRONMENT-1")
    removed = command("env", "remove", "db1")
    after = command("env", "list")

    assert added.out.splitlines() == [
        "Added environment db1 (UNIX_HOST_ENVIRONMENT-1).",
        "See what works there: dlpx-remote env test db1",
    ]
    assert "db1.invalid:2222" in listed.out
    assert "not asked yet" in listed.out
    assert "address:           db1.invalid:2222" in shown.out
    assert "agent, then default keys" in shown.out
    assert removed.out.startswith("Removed environment db1")
    assert after.out.startswith("No environment yet.")
    assert {added.code, listed.code, shown.code, removed.code, after.code} == {0}


def test_what_was_said_is_what_is_stored(command: CommandLine, files: Path) -> None:
    command(
        *("env", "add", "db1", "--host", "oracle@db1.invalid:2222", "--key", "/keys/id", "--agent"),
        *("--passphrase-from", "command:pass show key", "--password-from", "file:/run/secrets/oracle"),
        *("--jump", "me@gate.invalid:22", "--jump", "inner.invalid", "--host-key", "accept-new"),
        *("--fingerprint", "SHA256:" + "A" * 43, "--directory", "/var/opt/dlpx-remote"),
        *("--privilege", "sudo", "--privilege-password-from", "file:/run/secrets/sudo"),
    )

    shown = json.loads(command("env", "show", "db1", "--output", "json").out)

    assert (shown["host"], shown["port"], shown["host_type"]) == ("db1.invalid", 2222, "UNIX")
    assert shown["jump"] == ["me@gate.invalid:22", "inner.invalid"]
    assert (shown["host_key"], shown["fingerprint"]) == ("accept-new", "SHA256:" + "A" * 43)
    assert shown["directory"] == "/var/opt/dlpx-remote"
    assert (shown["privilege"], shown["privilege_password_from"]) == ("sudo", "file:/run/secrets/sudo")
    [user] = shown["users"]
    assert (user["name"], user["primary"]) == ("oracle", True)
    assert user["authentication"] == {
        "agent": True,
        "key": "/keys/id",
        "passphrase_from": "command:pass show key",
        "password_from": "file:/run/secrets/oracle",
        "certificate": None,
        "key_from": None,
    }


def test_how_users_become_root_is_shown_and_can_be_changed(command: CommandLine) -> None:
    command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle", "--privilege", "doas")
    assert "becomes root by:   doas" in command("env", "show", "db1").out

    changed = command("env", "privilege", "db1", "sudo", "--privilege-password-from", "env:SUDO")

    assert changed.out == "Users of db1 become root by sudo, password from env:SUDO.\n"
    assert "becomes root by:   sudo, password from env:SUDO" in command("env", "show", "db1").out
    command("env", "privilege", "db1", "command:/opt/become {user}")
    assert "becomes root by:   command:/opt/become {user}" in command("env", "show", "db1").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("su",), "'su' is no way to other privileges"),
        (("doas", "--privilege-password-from", "env:SUDO"), "A password can be given to sudo only"),
        (("sudo", "--privilege-password-from", "hunter2"), "must be a reference to where the secret is"),
    ],
)
def test_a_way_to_root_that_cannot_be_is_refused(
    arguments: tuple[str, ...], said: str, command: CommandLine
) -> None:
    command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle")

    refused = command("env", "privilege", "db1", *arguments)

    assert refused.code == 2
    assert said in refused.err
    assert "hunter2" not in refused.err


def test_state_is_where_the_option_says(command: CommandLine, files: Path) -> None:
    state = files / "state"

    command("--state", str(state), "env", "add", "db1", "--host", "db1.invalid", "--user", "oracle")

    assert state.is_dir()
    assert "db1" in command("--state", str(state), "env", "list").out
    assert "No environment yet." in command("env", "list").out


def test_users_are_added_made_primary_and_removed(command: CommandLine) -> None:
    command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle")

    added = command("env", "user", "add", "db1", "postgres", "--password-from", "env:PG")
    primary = command("env", "user", "primary", "db1", "postgres")
    removed = command("env", "user", "remove", "db1", "oracle")

    assert [line.split()[:2] for line in added.out.splitlines()[3:]] == [
        ["oracle", "yes"],
        ["postgres", "no"],
    ]
    assert "password from env:PG" in added.out
    assert [line.split()[:2] for line in primary.out.splitlines()[3:]] == [
        ["oracle", "no"],
        ["postgres", "yes"],
    ]
    assert [line.split()[:2] for line in removed.out.splitlines()[3:]] == [["postgres", "yes"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("db1", "--host", "db1.invalid"), "db1"),  # the name is taken
        (("db 2", "--host", "db2.invalid"), "'db 2' cannot be the name of an environment."),
        (("db2", "--host", "not a host"), "'not a host' is neither a host name nor an address."),
        (("db2", "--host", "a@db2.invalid", "--user", "b"), "--user says b, but --host says a."),
        (("db2", "--host", "db2.invalid:1", "--port", "2"), "--port says 2, but --host says 1."),
        (("db2", "--host", "db2.invalid", "--port", "70000"), "70000 is not a port."),
        (("db2", "--host", "db2.invalid", "--fingerprint", "abc"), "is not a host key's fingerprint."),
        (
            ("db2", "--host", "db2.invalid", "--passphrase-from", "prompt"),
            "A passphrase was given without a key.",
        ),
        (
            ("db2", "--host", "db2.invalid", "--password-from", "hunter22"),
            "a reference to where the secret is",
        ),
        (("db2", "--host", "db2.invalid", "--os", "vms"), "vms"),
        (("db2",), "--host"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    words: tuple[str, ...], message: str, command: CommandLine
) -> None:
    command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle")

    outcome = command("env", "add", *words)

    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert "hunter22" not in outcome.err
    assert [entry["name"] for entry in json.loads(command("env", "list", "--output", "json").out)] == ["db1"]


@pytest.mark.parametrize(
    "words",
    [
        ("env", "show", "dbx"),
        ("env", "test", "dbx"),
        ("env", "refresh", "dbx"),
        ("env", "remove", "dbx"),
        ("env", "user", "add", "dbx", "u"),
        ("run", "dbx", "true"),
        ("discover", "dbx"),
    ],
    ids=" ".join,
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    words: tuple[str, ...], command: CommandLine
) -> None:
    command("env", "add", "db1", "--host", "db1.invalid", "--user", "oracle")

    outcome = command(*words)

    assert outcome.code == 2
    assert "dbx" in outcome.err
    assert "db1" in outcome.err


STEPS = [
    TestStep("name resolves", "ok", "10.0.0.1"),
    TestStep("privileges", "warning", "asks for a password", "Allow it in sudoers."),
]


def test_the_steps_of_a_test_are_said_as_they_come(command: CommandLine, stub: StubEngine) -> None:
    def play(_name: str, _user: str | None, on_step: object) -> list[TestStep]:
        assert callable(on_step)
        for step in STEPS:
            on_step(step)
        return STEPS

    stub.answers["test_environment"] = play

    outcome = command("env", "test", "db1")

    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "ok       name resolves                10.0.0.1",
        "warning  privileges                   asks for a password",
        "         Action: Allow it in sudoers.",
        "",
        "2 steps: 1 ok, 1 warning, 0 failed.",
    ]


def test_a_failed_step_makes_the_exit_code_1(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["test_environment"] = [*STEPS, TestStep("login", "failed", "refused", "Check the key.")]

    outcome = command("env", "test", "db1", "--output", "json")

    document = json.loads(outcome.out)
    assert outcome.code == 1
    assert document["ok"] is False
    assert [step["outcome"] for step in document["steps"]] == ["ok", "warning", "failed"]


def test_refresh_shows_the_facts_and_what_was_found(command: CommandLine, stub: StubEngine) -> None:
    facts = HostFacts(operating_system="Debian GNU/Linux 12", uid=1000, gid=1000, tools={"jq": "/usr/bin/jq"})
    stub.answers["refresh_environment"] = (environment(facts=facts), DiscoveryReport("JOB-1", ()))

    outcome = command("env", "refresh", "db1")

    assert outcome.code == 0
    assert "operating system:  Debian GNU/Linux 12" in outcome.out
    assert "uid, gid:          1000, 1000" in outcome.out
    assert "0 repositories" in outcome.out


def test_what_may_be_left_on_a_removed_host_is_said(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["remove_environment"] = RemovedEnvironment(
        environment(), "/home/oracle/.dlpx-remote", False, "Host db1 refused the connection."
    )

    outcome = command("env", "remove", "db1")

    assert outcome.code == 0
    assert "Warning: /home/oracle/.dlpx-remote may be left on the host: Host db1 refused" in outcome.err
