"""What tests in several processes (pytest-xdist) have in common; a pytest plugin.

The process that hands the tests out runs none of them. It holds what all of them use, the Docker engine, and
has the image of the test hosts built while tests that need no host run already. What a test says to people,
it passes on.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from containers.nfs_vm.build import build as build_machine
from containers.ssh import build
from tests.hosts.docker_engine import NoDockerEngine, docker_engine

_TESTS = Path(__file__).parent
_UNIT = _TESTS / "unit"
_HOSTS = _TESTS / "hosts"
_MACHINES = _TESTS / "nfs"
_TOGETHER = (
    # Machines of their own for these: all tests of that folder in one process would outlast all others.
    (_MACHINES / "test_mounts.py", _MACHINES / "test_nfs_host_fixture.py", _MACHINES / "test_vm.py"),
    (_MACHINES,),
    (_HOSTS / "test_postgres_example.py",),
    (_HOSTS / "lifecycle" / "test_bad_hosts.py",),
    (_TESTS / "jobs",),
    (_UNIT / "jobs" / "test_kills.py",),
    (_TESTS / "docs" / "test_pages.py",),
)
"""Folders and modules whose tests share what is too expensive for every process, such as virtual machines:
with ``--dist loadgroup``, one process runs all that stand in one line. A test is in the first it fits."""
_CAMPAIGNS = (_TESTS / "nfs" / "test_three_hosts.py", _TESTS / "nfs" / "test_one_host.py")
"""Modules that take minutes: run by ``tox -e faults``, else only with ``--all-faults``, or when named."""
_SAID = "said"

Say = Callable[[str], None]

_shared = ExitStack()


def hands_out(config: pytest.Config) -> bool:
    """This process hands tests out to others."""
    return not is_worker(config) and getattr(config.option, "dist", "no") != "no"


def is_worker(config: pytest.Config) -> bool:
    """This process runs what another one hands out to it."""
    return hasattr(config, "workerinput")


def say(config: pytest.Config, text: str) -> None:
    """Print ``text`` for the person who runs the tests: at once, or when this process has ended.

    The caller has to suspend pytest's capturing.
    """
    if is_worker(config):
        config.workeroutput.setdefault(_SAID, []).append(text)  # type: ignore[attr-defined]
    else:
        print(text, flush=True)


@pytest.fixture(name="say")
def say_whatever_is_captured(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> Say:
    """Print a text for the person who runs the tests, whatever pytest captures."""

    def say_it(text: str) -> None:
        with capsys.disabled():
            say(pytestconfig, text)

    return say_it


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Print what the tests of a process have said."""
    for text in getattr(node, "workeroutput", {}).get(_SAID, []):
        print(text, flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Let reports travel in which there is text that is no Unicode, such as names of files of bytes."""
    return _as_unicode((yield))


def _as_unicode(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_as_unicode, value))
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start what is shared, before there is a process that could start one of its own."""
    if not hands_out(session.config):
        return
    paths = [Path(argument.split("::")[0]).resolve() for argument in session.config.args]
    if not all(path.is_relative_to(_UNIT) for path in paths):
        builds = [
            make
            for folder, make in ((_HOSTS, build.build), (_MACHINES, build_machine))
            if any(folder.is_relative_to(path) for path in paths)
        ]
        _shared.enter_context(_engine(builds))


def pytest_unconfigure() -> None:
    """End what is shared."""
    _shared.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what needs no image, as these are being built meanwhile."""
    _leave_out_campaigns(config, items)
    if is_worker(config):
        items.sort(key=lambda item: not item.path.is_relative_to(_UNIT))


class _Together(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out tests one by one, and those of :data:`_TOGETHER` together, the largest lot first.

    xdist's own way of doing so by marks changes the names of tests, which not every pytest lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = Path(self.config.rootpath, nodeid.partition("::")[0])
        for places in _TOGETHER:
            if any(path.is_relative_to(place) for place in places):
                return str(places[0])
        return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together | None:
    """Keep together what shares much, with ``--dist loadgroup``."""
    return _Together(config, log) if config.getoption("dist") == "loadgroup" else None


def _leave_out_campaigns(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("all_faults", default=False):
        return
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    later = [item for item in items if item.path in _CAMPAIGNS and item.path not in named]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in later]


@contextlib.contextmanager
def _engine(builds: Sequence[Callable[[build.Log], object]]) -> Iterator[None]:
    with ExitStack() as stack:
        # Each test that needs an engine will say why there is none.
        with contextlib.suppress(NoDockerEngine):
            stack.enter_context(docker_engine())
        if builds:
            building = threading.Thread(
                target=_build, args=(builds,), name="images of the test hosts", daemon=True
            )
            building.start()
            stack.callback(building.join)
        yield


def _build(builds: Sequence[Callable[[build.Log], object]]) -> None:
    for make in builds:
        with contextlib.suppress(build.ImageError):
            make(lambda line: print(line, file=sys.stderr, flush=True))
