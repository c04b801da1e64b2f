"""Fixtures of the tests on real hosts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containers.ssh import build
from tests.hosts.docker_engine import DockerEngine, docker_engine
from tests.hosts.ssh_host import SshHost, ssh_host

HostFactory = Callable[[int], list[SshHost]]


class _Hosts:
    """The hosts of a session: started when first asked for, ended together."""

    def __init__(self, image: str, stack: ExitStack) -> None:
        self._image = image
        self._stack = stack
        self.started: dict[SshHost, frozenset[str]] = {}

    def first(self, count: int) -> list[SshHost]:
        """The same hosts every time."""
        while len(self.started) < count:
            host = self.start(self._stack)
            self.started[host] = host.contents()
        return list(self.started)[:count]

    def start(self, stack: ExitStack) -> SshHost:
        """A host that ends with ``stack``."""
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dlpx-host-"))
        return stack.enter_context(ssh_host(self._image, Path(directory)))


@pytest.fixture(scope="session")
def engine_of_docker() -> Iterator[DockerEngine]:
    """The Docker engine that answers, else one of our own."""
    with docker_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def ssh_image(engine_of_docker: DockerEngine) -> str:
    """Name of the image of the test hosts; building it takes about a minute, once."""
    return build.build()


@pytest.fixture(scope="session")
def _hosts(ssh_image: str) -> Iterator[_Hosts]:
    with ExitStack() as stack:
        yield _Hosts(ssh_image, stack)


@pytest.fixture(scope="session")
def ssh_hosts(_hosts: _Hosts) -> HostFactory:
    """``ssh_hosts(3)``: three hosts, shared by the whole session. Leave them as they were."""
    return _hosts.first


@pytest.fixture(scope="session")
def ssh_host_of_session(_hosts: _Hosts) -> SshHost:
    """The first of the shared hosts, for fixtures of a wider scope than one test."""
    return _hosts.first(1)[0]


@pytest.fixture(name="ssh_host")
def _ssh_host(ssh_host_of_session: SshHost) -> SshHost:
    """A host shared by the whole session. Leave it as it was."""
    return ssh_host_of_session


@pytest.fixture
def own_ssh_host(_hosts: _Hosts) -> Iterator[SshHost]:
    """A host for this test alone, to be changed at will."""
    with ExitStack() as stack:
        yield _hosts.start(stack)


@pytest.fixture(scope="class", autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each class (or test outside one): no new process and no new file on any shared host."""
    yield
    if not any(_USING_HOSTS.intersection(item.fixturenames) for item in _tests_of(request)):
        return
    hosts: _Hosts = request.getfixturevalue("_hosts")
    extra = {host.port: host.left_behind(before) for host, before in hosts.started.items()}
    for host in hosts.started:
        hosts.started[host] = host.contents()  # one culprit fails one class
    assert not any(extra.values()), f"left behind on the hosts (by port): {extra}"


_USING_HOSTS = {"ssh_host_of_session", "ssh_hosts"}


def _tests_of(request: pytest.FixtureRequest) -> list[pytest.Function]:
    node = request.node
    return [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function) and (item is node or node in item.iter_parents())
    ]
