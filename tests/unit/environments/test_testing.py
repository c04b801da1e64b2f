"""``env test``: what each step says, with a host that fails to order."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.model import TestStep
from dlpx_remote.environments.testing import STEPS, Trial, try_environment
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CredentialUnusable,
    HomeDirectoryMissing,
    HostKeyUnknown,
    OutcomeUnknown,
    ShellFacts,
    ShellUnavailable,
)
from tests.unit.environments.local import LocalConnection
from tests.unit.environments.test_connections import Host, environment, make


@pytest.fixture
def port() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


FACTS = ShellFacts(
    user="anna",
    uid=1000,
    gid=1000,
    home="/home/anna",
    shell="/usr/bin/fish",
    tools={"rsync": "/usr/bin/rsync", "jq": "/usr/bin/jq"},
    operating_system="Debian",
)


def trial(host: Host, port: int, at: str = "127.0.0.1", **changes: Any) -> tuple[Trial, dict[str, TestStep]]:
    entry = environment(1, host=at, port=port, **changes)
    seen: list[TestStep] = []
    with make(host, entry) as connections:
        done = try_environment(connections, entry, entry.primary_user, seen.append)
    assert seen == list(done.steps)
    assert [step.name for step in done.steps] == list(STEPS)
    return done, {step.name: step for step in done.steps}


def outcomes(steps: dict[str, TestStep]) -> dict[str, str]:
    return {name: step.outcome for name, step in steps.items()}


def test_a_host_where_all_goes_well(host: Host, port: int, tmp_path: Path) -> None:
    host.local = lambda home: LocalConnection(home, FACTS)
    done, steps = trial(host, port)
    for name in ("name resolves", "port answers", "host key", "login", "shell", "home", "rsync", "jq"):
        assert steps[name].outcome == "ok", steps[name]
    assert "the login shell is /usr/bin/fish" in steps["shell"].detail
    assert steps["rsync"].detail == "/usr/bin/rsync"
    assert steps["expect"].outcome == steps["NFS client"].outcome == "warning"
    assert steps["expect"].action == "Install the package expect."
    assert "nfs-common" in steps["NFS client"].action
    assert steps["toolkit directory"].detail == f"{tmp_path}/.dlpx-remote/toolkit"
    assert steps["scratch directory"].outcome == "ok"
    assert done.facts is not None
    assert (done.facts.operating_system, done.facts.uid, done.facts.shell) == (
        "Debian",
        1000,
        "/usr/bin/fish",
    )
    assert done.made[0] == f"{tmp_path}/.dlpx-remote"


def test_a_name_without_an_address(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # asks no name server in the world
    done, steps = trial(host, 22, at="no-such-host.invalid")
    assert steps["name resolves"].outcome == "failed"
    assert "no-such-host.invalid has no address" in steps["name resolves"].detail
    assert "typing error" in steps["name resolves"].action
    assert set(outcomes(steps).values()) == {"failed", "skipped"}
    assert done.facts is None
    assert host.targets == []


def test_a_port_that_nobody_listens_on(host: Host) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        _, steps = trial(host, closed.getsockname()[1])
    assert steps["name resolves"].outcome == "ok"
    assert steps["port answers"].outcome == "failed"
    assert "connection refused" in steps["port answers"].detail
    assert steps["host key"].outcome == "skipped"


def test_a_jump_host_is_left_to_find_the_host(host: Host) -> None:
    host.error = AuthenticationFailed("no")
    _, steps = trial(host, 22, at="inside.invalid", jump=("bob@gate.invalid:22",))
    assert steps["name resolves"].outcome == steps["port answers"].outcome == "skipped"
    assert steps["port answers"].detail == "left to the jump host gate.invalid"


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (HostKeyUnknown("The key is unknown.", "Use accept-new."), "host key"),
        (AuthenticationFailed("Refused.", "Check the key."), "login"),
        (CredentialUnusable("No such key.", "Check the path."), "login"),
        (ShellUnavailable("No shell.", "Give it one."), "shell"),
        (HomeDirectoryMissing("No home.", "Make it."), "home"),
    ],
)
def test_a_login_that_fails_says_at_which_step(host: Host, port: int, error: Any, step: str) -> None:
    host.error = error
    _, steps = trial(host, port)
    place = STEPS.index(step)
    assert [steps[name].outcome for name in STEPS[:place]] == ["ok"] * place
    assert (steps[step].outcome, steps[step].detail, steps[step].action) == (
        "failed",
        error.message,
        error.action,
    )
    assert {steps[name].outcome for name in STEPS[place + 1 :]} == {"skipped"}


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (ShellUnavailable("No bash.", "Install it."), "shell"),
        (HomeDirectoryMissing("No home.", "Make it."), "home"),
        (OutcomeUnknown("Cut."), "shell"),
    ],
)
def test_a_shell_that_fails_says_at_which_step(
    host: Host, port: int, tmp_path: Path, error: Any, step: str
) -> None:
    class Broken(LocalConnection):
        def run(self, script, **options):  # type: ignore[no-untyped-def]
            raise error

    host.local = lambda home: Broken(home, FACTS)
    done, steps = trial(host, port)
    assert (steps[step].outcome, steps[step].detail) == ("failed", error.message)
    assert steps["login"].outcome == "ok"
    assert steps["rsync"].outcome == "skipped"
    assert done.facts is not None  # what was learned is kept


def test_an_unchecked_host_key_is_a_warning(host: Host, port: int) -> None:
    _, steps = trial(host, port, host_key="off")
    assert steps["host key"].outcome == "warning"
    assert "accept-new" in steps["host key"].action


def test_a_directory_that_cannot_be_used_fails_its_step_only(host: Host, port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, steps = trial(host, port, directory=str(tmp_path / "file" / "root"))
    assert steps["toolkit directory"].outcome == "failed"
    assert "--directory" in steps["toolkit directory"].action
    assert steps["scratch directory"].outcome == "skipped"
    assert steps["home"].outcome == "ok"


SUDO = """#!/bin/sh
case "$*" in
  "-n mount --version") {mount} ;;
  "-n -l") echo "(root) NOPASSWD: {rule}" ;;
esac
"""


@pytest.mark.parametrize(
    ("mount", "rule", "outcome", "detail"),
    [
        ("exit 0", "ALL", "ok", "allowed"),
        ("exit 1", "/usr/bin/mount -o * /mnt/*", "ok", "allowed for certain mounts"),
        ("echo 'sudo: a password is required' >&2; exit 1", "/bin/ls", "warning", "a password is required"),
    ],
)
def test_sudo_is_tried_without_a_password(
    host: Host,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mount: str,
    rule: str,
    outcome: str,
    detail: str,
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "sudo").write_text(SUDO.format(mount=mount, rule=rule))
    (binaries / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
    host.local = lambda home: LocalConnection(home, FACTS)
    _, steps = trial(host, port)
    assert steps["sudo -n mount"].outcome == outcome
    assert detail in steps["sudo -n mount"].detail
    if outcome == "warning":
        assert "anna ALL=(root) NOPASSWD: /usr/bin/mount" in steps["sudo -n mount"].action


def test_root_needs_no_sudo(host: Host, port: int, tmp_path: Path) -> None:
    facts = ShellFacts("root", 0, 0, str(tmp_path), "/bin/bash")
    host.local = lambda home: LocalConnection(home, facts)
    _, steps = trial(host, port)
    assert (steps["sudo -n mount"].outcome, steps["sudo -n mount"].detail) == (
        "ok",
        "not needed: the user is root",
    )
