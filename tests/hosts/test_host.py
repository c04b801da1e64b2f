"""The test hosts are what the tests on them take for granted."""

from __future__ import annotations

import subprocess

from containers.ssh import build
from tests.hosts.conftest import HostFactory
from tests.hosts.ssh_host import SshHost


def test_the_image_is_reused(ssh_image: str) -> None:
    lines: list[str] = []
    assert build.build(lines.append) == ssh_image
    assert lines == []


def test_databases_of_the_host_are_running_and_stopped(ssh_host: SshHost) -> None:
    clusters = ssh_host.root("pg_lsclusters --no-header").splitlines()
    assert [line.split()[:4] for line in clusters] == [
        ["15", "archive", "5433", "down"],
        ["15", "main", "5432", "online"],
    ]


def test_every_host_has_a_host_key_of_its_own(ssh_hosts: HostFactory) -> None:
    assert len({host.host_key for host in ssh_hosts(3)}) == 3


def test_what_is_left_behind_is_named(own_ssh_host: SshHost) -> None:
    before = own_ssh_host.contents()
    own_ssh_host.root("touch '/tmp/a leftover'; runuser -u plain -- sleep 60 > /dev/null 2>&1 &")
    left = own_ssh_host.left_behind(before)
    assert "file /tmp/a leftover" in left
    assert any(line.startswith("process plain") and line.endswith("sleep 60") for line in left)


def test_a_host_ends_at_once_when_asked(own_ssh_host: SshHost) -> None:
    subprocess.run(["docker", "stop", "--time", "30", own_ssh_host.container], check=True)
    code = subprocess.run(
        ["docker", "inspect", "--format", "{{.State.ExitCode}}", own_ssh_host.container],
        capture_output=True,
        text=True,
        check=True,
    )
    assert code.stdout.strip() == "0"
