"""The command ``dlpx-remote discover`` as a person types it: a real process, real hosts, real output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.conftest import HostFactory
from tests.hosts.examples import CLUSTERS, FILES, POSTGRES
from tests.hosts.ssh_host import SshHost
from tests.secret_scan import SCAN, look

COMMAND = Path(sys.executable).parent / "dlpx-remote"
DONE, PART_FAILED, WRONG_USE = 0, 1, 2


class Command:
    """Runs ``dlpx-remote`` with a home and a state of its own; the hosts' keys are known there.

    What it prints holds none of the session's secrets.
    """

    def __init__(self, directory: Path, hosts: list[SshHost]) -> None:
        self.state = directory / "state"
        self.known_hosts = directory / ".ssh" / "known_hosts"
        self.known_hosts.parent.mkdir()
        self.known_hosts.write_text("".join(host.known_hosts_line for host in hosts))
        self._environment = {"HOME": str(directory), "DLPX_REMOTE_STATE": str(self.state), "COLUMNS": "200"}

    def __call__(self, *arguments: object, expected: int = DONE, **environment: str) -> str:
        """Its stdout, or its stderr where it printed nothing else."""
        done = subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, **self._environment, "SSH_AUTH_SOCK": "", **environment},
            stdin=subprocess.DEVNULL,
            timeout=200,
            check=False,
        )
        look(done.stdout + done.stderr, f"what `dlpx-remote {arguments[0]}` printed")
        assert done.returncode == expected, done.stderr
        return done.stdout or done.stderr


@pytest.fixture
def dlpx_remote(tmp_path: Path, ssh_hosts: HostFactory) -> Command:
    """The command, with nothing added yet."""
    return Command(tmp_path, ssh_hosts(3))


@pytest.fixture(scope="class")
def added(tmp_path_factory: pytest.TempPathFactory, ssh_hosts: HostFactory) -> Iterator[Command]:
    """The command, with three environments and both plugins added by it."""
    directory = tmp_path_factory.mktemp("added")
    command = Command(directory, ssh_hosts(3))
    for example in (POSTGRES, FILES):
        command("plugin", "add", example)
    for number, host in enumerate(ssh_hosts(3)):
        login = ("--user", "engine", "--key", host.key)
        command("env", "add", f"db{number}", "--host", host.address, "--port", host.port, *login)
    yield command
    for name in ("db0", "db1", "db2"):
        command("env", "remove", name)
    SCAN.look_at_files(directory)


class TestStored:
    def test_one_command_finds_postgresql_15_and_its_clusters_on_three_hosts(self, added: Command) -> None:
        table = added("discover")
        assert table.count("PostgreSQL 15.") == 3
        for name in ("15/main", "15/archive", "/srv/order data/15"):
            assert table.count(name) == 3, table
        for environment in ("db0", "db1", "db2"):
            assert environment in table

    def test_json_holds_everything_a_program_needs(self, added: Command) -> None:
        document = json.loads(added("discover", "--plugin", "PostgreSQL", "--output", "json"))
        assert document["failed"] is False
        assert [result["environment"] for result in document["results"]] == ["db0", "db1", "db2"]
        for result in document["results"]:
            (repository,) = result["repositories"]
            assert repository["identity"] == {"binDirectory": "/usr/lib/postgresql/15/bin"}
            assert {found["name"] for found in repository["source_configs"]} == {
                "15/main",
                "15/archive",
                "/srv/order data/15",
            }

    def test_a_dead_host_is_named_and_the_exit_code_says_so(self, added: Command, ssh_host: SshHost) -> None:
        added("env", "add", "dead", "--host", "127.0.0.1", "--port", 1, "--key", ssh_host.key)
        printed = added("discover", "--output", "json", expected=PART_FAILED)
        added("env", "remove", "dead")
        document = json.loads(printed)
        assert document["failed"] is True
        failed = {result["environment"] for result in document["results"] if result["failure"]}
        assert failed == {"dead"}
        assert sum(1 for result in document["results"] if result["repositories"]) == 6


class TestStateless:
    def test_a_quick_look_needs_no_state_and_keeps_none(
        self, dlpx_remote: Command, ssh_host: SshHost
    ) -> None:
        table = dlpx_remote(*_look(ssh_host))
        assert "15/main" in table
        assert not dlpx_remote.state.exists()

    def test_as_json(self, dlpx_remote: Command, ssh_host: SshHost) -> None:
        document = json.loads(dlpx_remote(*_look(ssh_host), "--output", "json"))
        (result,) = document["results"]
        (repository,) = result["repositories"]
        assert {found["identity"]["dataDirectory"] for found in repository["source_configs"]} == set(CLUSTERS)

    def test_with_a_password_from_a_file(self, dlpx_remote: Command, ssh_host: SshHost) -> None:
        password = ssh_host.password_files["password"]
        table = dlpx_remote(*_look(ssh_host, "password", "--password-from", f"file:{password}"))
        assert "15/main" in table

    def test_a_wrong_password_is_said_and_never_shown(self, dlpx_remote: Command, ssh_host: SshHost) -> None:
        wrong = ssh_host.passwords["plain"]
        said = dlpx_remote(
            *_look(ssh_host, "password", "--password-from", "env:WRONG"), expected=PART_FAILED, WRONG=wrong
        )
        assert wrong not in said

    def test_an_unknown_host_key_shows_the_fingerprint(self, dlpx_remote: Command, ssh_host: SshHost) -> None:
        dlpx_remote.known_hosts.unlink()
        printed = dlpx_remote(*_look(ssh_host), "--output", "json", expected=PART_FAILED)
        (result,) = json.loads(printed)["results"]
        assert result["failure"]["kind"] == "HostKeyUnknown"
        assert ssh_host.fingerprint in result["failure"]["message"] + result["failure"]["action"]

    def test_a_directory_that_is_no_plugin_is_said(
        self, dlpx_remote: Command, ssh_host: SshHost, tmp_path: Path
    ) -> None:
        arguments = ["discover", "--plugin", tmp_path, "--host", f"engine@127.0.0.1:{ssh_host.port}"]
        said = dlpx_remote(*arguments, expected=PART_FAILED)
        assert "plugin_config.yml" in said


def _look(host: SshHost, user: str = "engine", *login: str) -> list[object]:
    address = f"{user}@{host.address}:{host.port}"
    return ["discover", "--plugin", POSTGRES, "--host", address, *(login or ("--key", host.key))]
