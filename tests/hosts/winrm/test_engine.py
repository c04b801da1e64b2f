"""A Windows environment through the engine: test, facts, scripts, discovery beside a Unix one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from containers.winrm.responder import Invocation, Reply
from dlpx_remote.engine import (
    Authentication,
    Engine,
    EnvironmentSpec,
    HostType,
    InvalidCommand,
    SecretReference,
    WindowsAccess,
)
from tests.hosts.winrm.conftest import WindowsFactory
from tests.hosts.winrm.windows import USER, Windows

FACTS = (
    "operating_system=Windows Server 2022 Datacenter\r\nkernel=Windows 10.0.20348\r\narchitecture=AMD64\r\n"
    "hostname=WIN1\r\nuser=WIN1\\Administrator\r\nhome=C:\\Users\\Administrator\r\n"
    "shell=PowerShell 5.1.20348.2849\r\n"
)
ROOT = "C:\\Users\\Administrator\\.dlpx-remote"


class Disk:
    """The directories that our scripts make and remove on the host."""

    def __init__(self, windows: Windows) -> None:
        self.directories: set[str] = set()
        self.writable = True
        windows.script(r"function Make", self._prepare)
        windows.script(r"DLPX_PATHS", self._remove)

    def _prepare(self, run: Invocation) -> Reply:
        if not self.writable:
            return Reply(stderr="Access to the path is denied.\r\n", exit_code=1)
        root = run.variables["DLPX_ROOT"] or ROOT
        if run.variables["DLPX_TEMPORARY"]:
            root = "C:\\Temp\\dlpx-remote.1"
        made = [path for path in (root, f"{root}\\scratch") if path not in self.directories]
        self.directories.update(made)
        return Reply(stdout="\r\n".join([root, *made]) + "\r\n")

    def _remove(self, run: Invocation) -> Reply:
        self.directories -= set(run.variables["DLPX_PATHS"].split("\n"))
        return Reply()


@pytest.fixture
def engine(tmp_path: Path, secure: Windows) -> Iterator[Engine]:
    """Closed before the host looks for what is left on it."""
    with Engine(tmp_path / "state") as engine:
        yield engine


@pytest.fixture
def secure(windows_with: WindowsFactory) -> Iterator[Windows]:
    with windows_with(scheme="https") as windows:
        windows.script("CurrentVersion", Reply(stdout=FACTS))
        yield windows


def spec(windows: Windows, password_file: Path, password: str) -> EnvironmentSpec:
    password_file.write_text(password)
    return EnvironmentSpec(
        "win1",
        windows.target.host,
        user=USER,
        port=windows.host.port,
        host_type=HostType.WINDOWS,
        authentication=Authentication(password_from=SecretReference("file", str(password_file))),
        windows=WindowsAccess(ca_file=str(windows.target.ca_file)),
    )


def test_a_windows_environment_is_tested_step_by_step(
    engine: Engine, secure: Windows, tmp_path: Path, password: str
) -> None:
    disk = Disk(secure)
    engine.add_environment(spec(secure, tmp_path / "password", password))
    steps = engine.test_environment("win1")
    assert [(step.name, step.outcome) for step in steps] == [
        ("name resolves", "ok"),
        ("port answers", "ok"),
        ("certificate", "ok"),
        ("login", "ok"),
        ("PowerShell", "ok"),
        ("scratch directory", "ok"),
    ]
    assert steps[3].detail == f"as {USER} by NTLM"
    assert steps[4].detail == (
        "PowerShell 5.1.20348.2849 on Windows Server 2022 Datacenter, as WIN1\\Administrator"
    )
    assert steps[5].detail == f"{ROOT}\\scratch"
    facts = engine.environment("win1").facts
    assert facts is not None
    assert facts.kernel == "Windows 10.0.20348"
    assert disk.directories == {ROOT, f"{ROOT}\\scratch"}
    secure.script("CurrentVersion", Reply(stdout=FACTS.replace("20348", "26100")))
    environment, report = engine.refresh_environment("win1")
    assert not report.failed
    assert environment.facts is not None
    assert environment.facts.kernel == "Windows 10.0.26100"
    removed = engine.remove_environment("win1")
    assert (removed.cleaned, removed.directory) == (True, ROOT)
    assert disk.directories == set()


def test_a_step_that_fails_stops_the_trial(
    engine: Engine, secure: Windows, tmp_path: Path, password: str
) -> None:
    Disk(secure).writable = False
    engine.add_environment(spec(secure, tmp_path / "password", password))
    steps = engine.test_environment("win1")
    assert (steps[-1].name, steps[-1].outcome) == ("scratch directory", "failed")
    assert "Access to the path is denied" in steps[-1].detail
    (tmp_path / "password").write_text("another one")
    steps = engine.test_environment("win1")
    assert [step.outcome for step in steps] == ["ok", "ok", "ok", "failed", "skipped", "skipped"]
    assert "refused the login" in steps[3].detail


def test_a_certificate_that_is_not_trusted_is_its_own_step(
    engine: Engine, secure: Windows, tmp_path: Path, password: str
) -> None:
    engine.add_environment(replace(spec(secure, tmp_path / "password", password), windows=None))
    steps = engine.test_environment("win1")
    assert [step.outcome for step in steps] == ["ok", "ok", "failed", "skipped", "skipped", "skipped"]
    assert "--ca-file" in steps[2].action


def test_a_script_runs_in_powershell(engine: Engine, secure: Windows, tmp_path: Path, password: str) -> None:
    secure.script("exit 3", lambda run: Reply(stdout=run.variables["NAME"], exit_code=3))
    engine.add_environment(spec(secure, tmp_path / "password", password))
    result = engine.run("win1", "exit 3", variables={"NAME": "ä"})
    assert (result.exit_code, result.stdout_text) == (3, "ä")
    with pytest.raises(InvalidCommand, match="no meaning on a Windows host"):
        engine.run("win1", "exit 3", login_shell=True)
    assert secure.host.counts.shells == 1
