"""What the PostgreSQL example writes into files and makes of PostgreSQL's words, without a host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.examples.modules import EXAMPLES, module


@pytest.fixture
def configuration() -> Iterator[ModuleType]:
    yield from module("postgres/src/postgres/configuration.py")


@pytest.fixture
def failures() -> Iterator[ModuleType]:
    yield from module("postgres/src/postgres/failures.py")


@pytest.fixture
def state() -> Iterator[ModuleType]:
    yield from module("postgres/src/postgres/state.py")


def test_later_settings_win_and_values_cannot_leave_their_line(configuration: ModuleType) -> None:
    text = configuration.settings_file({"work_mem": "1MB", "wal_recycle": True}, {"work_mem": "it's \\ 2MB"})
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("work_mem")] == [r"work_mem = 'it\'s \\ 2MB'"]
    assert "wal_recycle = 'on'" in lines


def test_a_connection_string_quotes_every_value_and_leaves_out_what_is_not_given(
    configuration: ModuleType,
) -> None:
    assert configuration.connection_string(host="a b", user="o'hara", port=5432, sslmode=None) == (
        r"host='a b' user='o\'hara' port='5432'"
    )


def test_colons_and_backslashes_of_a_password_are_its_own(configuration: ModuleType) -> None:
    assert configuration.password_line(r"a:b\c") == r"*:*:*:*:a\:b\\c"


def test_clients_log_in_with_a_password_and_the_owner_without(configuration: ModuleType) -> None:
    assert configuration.access_file(["10.0.0.0/8"]).splitlines() == [
        "local all all peer map=dlpx",
        "host all all 10.0.0.0/8 scram-sha-256",
    ]


@pytest.mark.parametrize(
    ("said", "meaning", "action"),
    [
        ('FATAL:  password authentication failed for user "r"', "the password", "~/.pgpass of ann"),
        (
            'FATAL:  no pg_hba.conf entry for replication connection from host "::1"',
            "let this host in",
            "once",
        ),
        ('FATAL:  role "r" does not exist', "no such role", "CREATE ROLE"),
        (
            'connection to server at "10.0.0.1", port 1 failed: Connection refused',
            "does not answer",
            "'sourcePort'",
        ),
        ('connection to server on socket "/tmp/.s" failed: Connection refused', "", "own words below"),
        ('could not translate host name "x" to address', "does not answer", "'sourceHost'"),
        ("FATAL:  could not create any TCP/IP sockets", "listens on the port", "'port'"),
        ("FATAL:  database files are incompatible with server", "major version", "repository"),
        ("could not write file: No space left on device", "full", "Make room"),
        ("FATAL:  database locale is incompatible with operating system", "locale", "locales"),
        ("PostgreSQL cannot be run as root", "as root", "other than root"),
        ("/x/postgres has not told its version within 60 s", "is not known", "discover again"),
        ("FATAL:  something new", "", "own words below"),
    ],
)
def test_what_postgresql_says_becomes_something_to_do(
    failures: ModuleType, said: str, meaning: str, action: str
) -> None:
    error = failures.explain("could not be started on db2", f"first line\n{said}\n", "ann")
    assert error.message.startswith("PostgreSQL could not be started on db2.")
    assert meaning in error.message
    assert action in error.action
    assert said in error.output


def test_of_long_output_the_end_is_shown(failures: ModuleType) -> None:
    assert failures.explain("could not be started", "x" * 10_000 + "the end", "ann").output.endswith(
        "x the end"[2:]
    )


def test_the_state_of_a_stopped_cluster_comes_from_its_control_file(state: ModuleType) -> None:
    control = """\
postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
pg_control version number:            1300
Database system identifier:           7576000000000000001
Latest checkpoint location:           0/5000028
Latest checkpoint's TimeLineID:       2
Time of latest checkpoint:            Wed Nov 25 03:01:02 2026
"""
    assert state.stopped(control) == {
        "lsn": "0/5000028",
        "time": "2026-11-25T03:01:02.000Z",
        "timeline": 2,
        "system_identifier": "7576000000000000001",
        "version": "15.18",
    }


@pytest.mark.parametrize(
    ("program", "exit_code", "said"),
    [
        ("echo 'postgres (PostgreSQL) 17.1'", 0, ""),
        ("exit 1", 0, "does not run here (exit code 1), and is left out"),
        ("sleep 30", 1, "has not told its version within 0.5 s"),
        ("kill -KILL $$", 1, "could not be asked for its version (exit code 137)"),
    ],
)
def test_an_installation_that_could_not_be_asked_is_not_taken_for_none(
    tmp_path: Path, program: str, exit_code: int, said: str
) -> None:
    postgres = tmp_path / "postgres"
    postgres.write_text(f"#!/bin/sh\n{program}\n")
    postgres.chmod(0o755)
    script = (EXAMPLES / "postgres/src/postgres/scripts/installations.sh").read_text()
    if program.startswith("sleep"):
        assert "PATIENCE=60\n" in script
        script = script.replace("PATIENCE=60\n", "PATIENCE=0.5\n")

    ran = subprocess.run(
        ["bash"],
        input=script,
        env={"PATH": f"/usr/bin:/bin:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == exit_code, ran.stderr
    assert said in ran.stderr
    found = f"{tmp_path}\0postgres (PostgreSQL) 17.1\0" in ran.stdout
    assert found == program.startswith("echo")


@pytest.mark.parametrize("is_cluster", [True, False])
def test_what_goes_by_a_servers_name_is_one_only_where_it_works_in_a_cluster(
    tmp_path: Path, is_cluster: bool
) -> None:
    """Such as a ``postgres --version`` of somebody else, who may well be at home."""
    if is_cluster:
        (tmp_path / "PG_VERSION").write_text("15\n")
    script = (EXAMPLES / "postgres/src/postgres/scripts/clusters.sh").read_text()
    with subprocess.Popen(["postgres", "60"], executable="/bin/sleep", cwd=tmp_path) as process:
        try:
            ran = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=False)
        finally:
            process.kill()

    assert ran.returncode == 0, ran.stderr
    assert (f"data={tmp_path.resolve()}\0" in ran.stdout) == is_cluster
