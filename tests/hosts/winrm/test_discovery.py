"""Windows and Unix hosts in one discovery, with plugins for either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.winrm.responder import Reply
from dlpx_remote.engine import (
    Authentication,
    Engine,
    EnvironmentSpec,
    HostType,
    SecretReference,
    WindowsAccess,
    discover_once,
)
from tests.hosts.engine_plugin import write_plugin
from tests.hosts.examples import FILES, WINDOWS_FILES, source_configs
from tests.hosts.sshd import Sshd
from tests.hosts.winrm.test_engine import FACTS, Disk
from tests.hosts.winrm.windows import USER, Windows


@pytest.fixture
def windows_spec(host: Windows, tmp_path: Path, password: str) -> EnvironmentSpec:
    """A Windows host with one Robocopy and two marked directories; over HTTP with NTLM."""
    Disk(host)
    robocopy = {"path": "C:\\Windows\\System32\\Robocopy.exe", "version": "10.0.20348"}
    directories = [
        {"path": "D:\\Daten\\Bücher", "name": "Books", "note": ""},
        {"path": "D:\\closed", "name": "", "note": "Access is denied."},
    ]
    host.script("CurrentVersion", Reply(stdout=FACTS))
    host.script("robocopy.exe -CommandType", Reply(stdout=json.dumps(robocopy) + "\r\n"))
    lines = "".join(json.dumps(each) + "\r\n" for each in directories)
    host.script("dlpx-source", Reply(stdout=lines))
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text(password)
    return EnvironmentSpec(
        "win1",
        "127.0.0.1",
        user=USER,
        port=host.host.port,
        host_type=HostType.WINDOWS,
        authentication=Authentication(password_from=SecretReference("file", str(tmp_path / "password"))),
        windows=WindowsAccess("http"),
    )


@pytest.fixture
def unix_spec(tmp_path: Path) -> Iterator[EnvironmentSpec]:
    """A Unix host with one marked directory, in the home directory."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    with Sshd(directory, [f"SetEnv HOME={directory / 'home'}", "UsePAM no"]) as server:
        marked = server.home / "reports"
        marked.mkdir()
        (marked / ".dlpx-source").write_text("Reports\n")
        yield EnvironmentSpec(
            "db1",
            server.address,
            user=server.user,
            port=server.port,
            authentication=Authentication(key=str(server.user_key)),
            fingerprint=server.fingerprint(),
        )


def test_both_kinds_of_hosts_are_discovered_in_one_go(
    windows_spec: EnvironmentSpec, unix_spec: EnvironmentSpec, tmp_path: Path
) -> None:
    with Engine(tmp_path / "state") as engine:
        for spec in (windows_spec, unix_spec):
            engine.add_environment(spec)
        for plugin in (FILES, WINDOWS_FILES):
            engine.add_plugin(plugin)
        report = engine.discover()
        facts = engine.environment("win1").facts
    assert not report.failed, [result.failure for result in report.results]
    closed, books = source_configs(report, "win1", "Windows Files").values()
    assert (books.name, books.parameters.get("note")) == ("Books", None)
    assert closed.parameters["note"] == "Access is denied."
    assert [found.name for found in source_configs(report, "db1", "Files").values()] == ["Reports"]
    skipped = {(result.environment, result.plugin): result.skipped for result in report.results}
    assert skipped["win1", "Files"] == "it is for UNIX hosts, and this is a WINDOWS host"
    assert skipped["db1", "Windows Files"] == "it is for WINDOWS hosts, and this is a UNIX host"
    assert facts is not None
    assert facts.hostname == "WIN1"


def test_a_quick_look_leaves_nothing_on_the_host(host: Windows, windows_spec: EnvironmentSpec) -> None:
    warnings: list[str] = []
    report = discover_once([WINDOWS_FILES], [windows_spec], on_warning=warnings.append)
    assert not report.failed, [result.failure for result in report.results]
    (repository,) = report.results[0].repositories
    assert repository.name == "Robocopy 10.0.20348"
    assert warnings == []


CALLS = """
import json
from dlpx.virtualization import libs
from dlpx.virtualization.libs.exceptions import LibraryError
from dlpx.virtualization.platform import Plugin
from generated.definitions import RepositoryDefinition

plugin = Plugin()


@plugin.discovery.repository()
def find(source_connection):
    said = {"binary": source_connection.environment.host.binary_path,
            "scratch": source_connection.environment.host.scratch_path}
    for name in ("run_bash", "run_expect", "run_powershell"):
        try:
            getattr(libs, name)(source_connection, "'x'")
            said[name] = "ran"
        except LibraryError as error:
            said[name] = str(error)
    try:
        libs.run_sync(source_connection, "/data")
    except LibraryError as error:
        said["run_sync"] = str(error)
    return [RepositoryDefinition(path=json.dumps(said))]


@plugin.discovery.source_config()
def none(source_connection, repository):
    return []
"""


@pytest.mark.parametrize("kind", ["WINDOWS", "UNIX"])
def test_what_has_no_meaning_on_a_kind_of_host_says_so(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    spec = request.getfixturevalue("windows_spec" if kind == "WINDOWS" else "unix_spec")
    plugin = write_plugin(tmp_path / "plugin", tmp_path, host_type=kind, code=CALLS)
    report = discover_once([plugin], [spec], on_warning=print)
    assert not report.failed, [result.failure for result in report.results]
    said = json.loads(report.results[0].repositories[0].name)
    if kind == "WINDOWS":
        assert said["binary"] == ""
        assert said["scratch"].endswith("\\scratch")
        assert said["run_powershell"] == "ran"
        assert "is a Windows host; use libs.run_powershell there" in said["run_bash"]
        assert "is a Windows host; use libs.run_powershell there" in said["run_expect"]
        assert "is a Windows host; use libs.run_powershell there" in said["run_sync"]
    else:
        assert said["run_bash"] == "ran"
        assert "is a Unix host; use libs.run_bash there" in said["run_powershell"]
