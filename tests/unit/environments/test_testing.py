"""``env test``: what each step says, with a host that fails to order."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.model import SecretReference, TestStep
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.environments.testing import STEPS, try_environment
from dlpx_remote.environments.trial import Trial
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CredentialUnusable,
    HomeDirectoryMissing,
    HostKeyUnknown,
    OutcomeUnknown,
    ShellFacts,
    ShellUnavailable,
)
from tests.secret_scan import secret
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
    secrets = changes.pop("secrets", Secrets())
    entry = environment(1, host=at, port=port, **changes)
    seen: list[TestStep] = []
    with make(host, entry, secrets=secrets) as connections:
        done = try_environment(connections, entry, entry.primary_user, seen.append)
    assert seen == list(done.steps)
    assert [step.name for step in done.steps] == list(STEPS)
    return done, {step.name: step for step in done.steps}


def outcomes(steps: dict[str, TestStep]) -> dict[str, str]:
    return {name: step.outcome for name, step in steps.items()}


def test_a_host_where_all_goes_well(host: Host, port: int, tmp_path: Path) -> None:
    host.local = lambda home: LocalConnection(home, FACTS)
    done, steps = trial(host, port)
    for name in (
        "ssh configuration",
        "name resolves",
        "port answers",
        "host key",
        "login",
        "shell",
        "home",
        "rsync",
        "jq",
    ):
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
    assert set(list(outcomes(steps).values())[1:]) == {"failed", "skipped"}
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


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's own ``ssh_config``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


def test_a_proxy_command_is_left_to_find_the_host(host: Host, configuration: Path) -> None:
    configuration.write_text("ProxyCommand nc %h %p\n")
    host.error = AuthenticationFailed("no")
    _, steps = trial(host, 22, at="inside.invalid")
    assert steps["name resolves"].detail == steps["port answers"].detail == "left to its ProxyCommand"


def test_what_of_the_ssh_configuration_is_not_honoured(host: Host, configuration: Path) -> None:
    host.error = AuthenticationFailed("no")
    configuration.write_text("Ciphers aes256-ctr\n")
    _, steps = trial(host, 22)
    assert steps["ssh configuration"].outcome == "ok"
    assert steps["ssh configuration"].detail.endswith("; not honoured: ciphers for 127.0.0.1")
    configuration.write_text("BindAddress 10.0.0.1\n")
    _, steps = trial(host, 22)
    assert steps["ssh configuration"].outcome == "warning"
    assert steps["ssh configuration"].detail == "not honoured: bindaddress for 127.0.0.1"
    assert "docs/environments.md" in steps["ssh configuration"].action


def test_an_ssh_configuration_that_cannot_be_understood(host: Host, configuration: Path) -> None:
    configuration.write_text("nonsense\n")
    _, steps = trial(host, 22)
    assert steps["ssh configuration"].outcome == "failed"
    assert "cannot be understood" in steps["ssh configuration"].detail
    assert steps["login"].outcome == "skipped"


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
  "-n -- mkdir --version") {mkdir} ;;
  "-n -- "*) echo "sudo: a password is required" >&2; exit 1 ;;
  "-n -l") echo "(root) NOPASSWD: {rule}" ;;
  "-S "*) printf '%s' "$3" >&2; read -r answer; [ "$answer" = {secret} ] && exit 0
          printf '%s' "$3" >&2; echo "sudo: no password was provided" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a sudo on PATH that does as it is told."""

    def put(mkdir: str = "exit 1", rule: str = "/bin/ls", secret: str = "") -> Path:
        binaries = tmp_path / "bin"
        binaries.mkdir()
        (binaries / "sudo").write_text(SUDO.format(mkdir=mkdir, rule=rule, secret=secret or "nobody"))
        (binaries / "sudo").chmod(0o755)
        monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
        return binaries / "sudo"

    return put


def with_sudo(home: Path) -> LocalConnection:
    return LocalConnection(home, replace(FACTS, tools={**FACTS.tools, "sudo": "/usr/bin/sudo"}))


def test_what_sudoers_lack_is_said_in_one_line_of_theirs(
    host: Host, port: int, sudo: Callable[..., Path]
) -> None:
    sudo(mkdir="exit 0", rule="/usr/bin/umount /mnt/*")
    host.local = with_sudo
    _, steps = trial(host, port)
    step = steps["privileges"]
    assert (step.outcome, step.detail) == (
        "warning",
        "anna may not run mount, rmdir as root by sudo without a password; "
        "allowed: umount (with certain arguments), mkdir",
    )
    assert "anna ALL=(root) NOPASSWD: /usr/bin/mount, /usr/bin/rmdir" in step.action


def test_a_password_for_sudo_is_used(host: Host, port: int, sudo: Callable[..., Path]) -> None:
    password = secret("password for sudo")
    sudo(secret=password)
    host.local = with_sudo
    _, steps = trial(
        host,
        port,
        secrets=Secrets(environment={"SUDO": password}),
        privilege_password_from=SecretReference("env", "SUDO"),
    )
    step = steps["privileges"]
    assert (step.outcome, step.detail) == ("ok", "by sudo: mount, umount, mkdir, rmdir")


def test_a_password_that_sudo_refuses_is_offered_once(
    host: Host, port: int, sudo: Callable[..., Path], tmp_path: Path
) -> None:
    sudo(secret="another")
    host.local = with_sudo
    password = secret("wrong password for sudo")
    _, steps = trial(
        host,
        port,
        secrets=Secrets(environment={"SUDO": password}),
        privilege_password_from=SecretReference("env", "SUDO"),
    )
    step = steps["privileges"]
    assert step.outcome == "warning"
    assert "refused the password of anna" in step.detail
    assert "not offered again" in step.action
    assert sum("-S" in script for script in host.opened[0].scripts) == 1


def test_a_password_for_sudo_that_is_nowhere_fails_its_step_only(
    host: Host, port: int, sudo: Callable[..., Path]
) -> None:
    sudo()
    host.local = with_sudo
    _, steps = trial(
        host,
        port,
        secrets=Secrets(environment={}),
        privilege_password_from=SecretReference("env", "NOWHERE"),
    )
    assert steps["privileges"].outcome == "failed"
    assert "password of user0 for sudo on db1" in steps["privileges"].detail
    assert steps["toolkit directory"].outcome == "ok"


@pytest.mark.parametrize(
    ("way", "detail", "action"),
    [
        ("sudo", "sudo is not installed", "choose another way than sudo"),
        ("doas", "doas is not installed", "choose another way than doas"),
        ("none", "no way to become so is configured", "choose sudo or doas"),
        ("command:false", "may not run mount, umount, mkdir, rmdir as root by command:false", "Let command:"),
    ],
)
def test_each_way_to_other_privileges_says_what_is_missing(
    host: Host, port: int, way: str, detail: str, action: str
) -> None:
    host.local = lambda home: LocalConnection(home, FACTS)
    _, steps = trial(host, port, privilege=way)
    assert steps["privileges"].outcome == "warning"
    assert detail in steps["privileges"].detail
    assert action in steps["privileges"].action


def test_a_wrapper_of_the_site_that_works_is_ok(host: Host, port: int) -> None:
    host.local = lambda home: LocalConnection(home, FACTS)
    _, steps = trial(host, port, privilege="command:env AS={user}")
    assert (steps["privileges"].outcome, steps["privileges"].detail) == (
        "ok",
        "by command:env 'AS={user}': mount, umount, mkdir, rmdir",
    )


def test_root_needs_no_sudo(host: Host, port: int, tmp_path: Path) -> None:
    facts = ShellFacts("root", 0, 0, str(tmp_path), "/bin/bash")
    host.local = lambda home: LocalConnection(home, facts)
    _, steps = trial(host, port)
    assert (steps["privileges"].outcome, steps["privileges"].detail) == (
        "ok",
        "not needed: the user is root",
    )
