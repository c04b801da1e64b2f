"""The fixtures that pytest finds wherever dlpx-remote is installed.

======================== ===================================================================================
``dlpx_plugin``          the directory of the plugin under test, checked
``dlpx_operations``      its operations on ``ssh_host`` (``winrm_host`` for Windows), or against a recording
``ssh_host``             a host over SSH: throw-away, or the one named with ``--dlpx-host``
``winrm_host``           a stand-in for a Windows host, whose scripts answer as the test says
``nfs_host``             a virtual machine that mounts over NFS and can be rebooted
``dlpx_data_set``        the directory that ``libs.run_sync`` copies into
``dlpx_engine``          an engine with a state of its own
======================== ===================================================================================

Nothing of the engine is imported before a test asks for one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dlpx_remote.demo.hosts import NfsHost, WindowsHost
    from dlpx_remote.engine import Engine, EnvironmentSpec
    from dlpx_remote.testing.operations import PluginOperations

_CONFIG = "plugin_config.yml"
WINDOWS_ANSWERS = "tests/windows_answers.json"
_MODES = ("auto", "live", "record", "play")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the plugin is, which host to take, and what to do with recordings."""
    group = parser.getgroup("dlpx-remote", "plugins for dlpx-remote")
    group.addoption(
        "--dlpx-host",
        metavar="USER@HOST:PORT|container|machine",
        help="run plugin operations on this host, which ssh must know, in a container with PostgreSQL, or on "
        "a virtual machine; on an SSH server of its own on loopback unless given",
    )
    group.addoption(
        "--dlpx-recording",
        choices=_MODES,
        default="auto",
        help="auto: play a recording where there is one, else ask a host; live: always ask a host; "
        "record: ask a host and keep its answers; play: never ask a host",
    )
    parser.addini("dlpx_plugin", "directory of the plugin under test, relative to the root", default="")
    parser.addini(
        "dlpx_windows_answers",
        "file with what scripts on winrm_host answer, relative to the plugin's directory",
        default=WINDOWS_ANSWERS,
    )


@pytest.fixture(scope="session")
def dlpx_plugin(pytestconfig: pytest.Config) -> Path:
    """The directory of the plugin under test; the test fails with all that is wrong with it."""
    from dlpx_remote.engine import check_plugin

    named = str(pytestconfig.getini("dlpx_plugin"))
    directory = pytestconfig.rootpath / named
    if not (directory / _CONFIG).is_file():
        pytest.fail(
            f"There is no {_CONFIG} in {directory}. Set `dlpx_plugin` in pytest's configuration to the "
            "plugin's directory.",
            pytrace=False,
        )
    errors = [problem for problem in check_plugin(directory).problems if problem.severity == "error"]
    if errors:
        pytest.fail("The plugin has errors:\n" + "\n".join(map(str, errors)), pytrace=False)
    return directory


@pytest.fixture(scope="session")
def ssh_host(pytestconfig: pytest.Config) -> Iterator[EnvironmentSpec]:
    """A host over SSH: an SSH server of its own on loopback, or what ``--dlpx-host`` says."""
    named = pytestconfig.getoption("--dlpx-host")
    if named in ("container", "machine"):
        from dlpx_remote.demo import hosts

        with hosts.container_host() if named == "container" else _machine_alone() as made:
            yield made
        return
    if named:
        from dlpx_remote.engine import EnvironmentSpec, parse_address

        address = parse_address(str(named))
        yield EnvironmentSpec(name=address.host, host=address.host, user=address.user, port=address.port)
        return
    from dlpx_remote.demo.single import throw_away_host

    with throw_away_host() as made:
        yield made


@contextmanager
def _machine_alone() -> Iterator[EnvironmentSpec]:
    from dlpx_remote.demo.hosts import nfs_host

    with nfs_host() as machine:
        yield machine.spec


@pytest.fixture
def winrm_host(pytestconfig: pytest.Config) -> Iterator[WindowsHost]:
    """A stand-in for a Windows host: ``winrm_host.when(PATTERN, STDOUT)`` says what a script does there."""
    from dlpx_remote.demo.hosts import windows_host

    directory = pytestconfig.rootpath / str(pytestconfig.getini("dlpx_plugin"))
    answers = directory / str(pytestconfig.getini("dlpx_windows_answers"))
    with windows_host(answers if answers.is_file() else None) as made:
        yield made


@pytest.fixture(scope="session")
def nfs_host() -> Iterator[NfsHost]:
    """A virtual machine with a kernel that mounts over NFS; ``nfs_host.join(dlpx_engine)`` adds it."""
    from dlpx_remote.demo import hosts

    with hosts.nfs_host() as made:
        yield made


@pytest.fixture
def dlpx_data_set(tmp_path: Path) -> Path:
    """An empty directory that stands for the dSource's data set."""
    directory = tmp_path / "data-set"
    directory.mkdir()
    return directory


@pytest.fixture
def dlpx_operations(
    request: pytest.FixtureRequest, dlpx_plugin: Path, dlpx_data_set: Path
) -> Iterator[PluginOperations]:
    """The plugin's operations, on a host or against what it once answered; see ``--dlpx-recording``.

    The recording of a test lies beside it, in ``recordings/``.
    """
    from dlpx_remote.testing import operations

    mode = str(request.config.getoption("--dlpx-recording"))
    file = recording_of(request.node)
    if mode == "play" or (mode == "auto" and file.exists()):
        with operations.playing(dlpx_plugin, file) as played:
            yield played
        return
    host = _host_for(request, dlpx_plugin)
    if mode == "record":
        with operations.recording(dlpx_plugin, host, dlpx_data_set, file) as recorded:
            yield recorded
        return
    with operations.on_host(dlpx_plugin, host, dlpx_data_set) as live:
        yield live


def _host_for(request: pytest.FixtureRequest, plugin: Path) -> EnvironmentSpec:
    """The host of the plugin's own kind."""
    from dlpx_remote.authoring import host_types

    if "WINDOWS" in host_types(plugin):
        windows: WindowsHost = request.getfixturevalue("winrm_host")
        return windows.spec
    unix: EnvironmentSpec = request.getfixturevalue("ssh_host")
    return unix


@pytest.fixture
def dlpx_engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with a state of its own, which is gone with the test."""
    from dlpx_remote.engine import Engine

    with Engine(tmp_path / "dlpx-remote-state") as engine:
        yield engine


def recording_of(item: pytest.Item) -> Path:
    """Where the recording of a test is: ``recordings/test_module.test_name[parameters].json`` beside it."""
    name = re.sub(r"[^A-Za-z0-9_.=-]+", "-", item.name).strip("-")
    return item.path.parent / "recordings" / f"{item.path.stem}.{name}.json"
