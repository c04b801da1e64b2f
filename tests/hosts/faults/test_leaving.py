"""What a connection leaves on the host when it is lost with nothing in doubt: the next one takes it away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from dlpx_remote.transports.base import NotSent
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.faults.conftest import Reach, ServerFactory
from tests.hosts.faults.leftovers import files_left, places_of, session_processes, wait_until_empty
from tests.hosts.faults.proxy import Fault, Proxy
from tests.hosts.sshd import Sshd


@pytest.fixture
def server(server_with: ServerFactory) -> Sshd:
    return server_with()


@pytest.fixture
def proxy(server: Sshd) -> Iterator[Proxy]:
    with Proxy(server.address, server.port) as proxy:
        yield proxy


@pytest.fixture
def through(server: Sshd, reach: Reach, proxy: Proxy) -> SshTarget:
    return dataclasses.replace(reach(server), host="127.0.0.1", port=proxy.port)


def _warm(target: SshTarget) -> SshConnection:
    connection = connect(target)
    assert connection.run("echo first").stdout == b"first\n"
    return connection


def test_a_runner_that_does_not_know_that_its_connection_is_dead_is_ended(
    server: Sshd, proxy: Proxy, through: SshTarget
) -> None:
    connection = _warm(through)
    port = proxy.links[0].port
    proxy.links[0].strike("stall")
    connection.close()
    assert [one for one in session_processes(server) if one.client_port == port]
    _warm(through).close()
    wait_until_empty(lambda: session_processes(server))
    assert files_left(places_of(server)) == []


def test_what_a_lost_connection_should_have_taken_away_the_next_one_does(
    server: Sshd, proxy: Proxy, through: SshTarget
) -> None:
    connection = _warm(through)
    proxy.links[0].strike("cut")
    connection.close()
    wait_until_empty(lambda: session_processes(server))
    assert len(files_left(places_of(server))) == 1
    with connect(through) as lost:
        proxy.links[1].arm(Fault("cut", "up", 1000))
        with pytest.raises(NotSent):
            lost.run("echo second")
    wait_until_empty(lambda: session_processes(server))
    assert files_left(places_of(server))
    _warm(through).close()
    wait_until_empty(lambda: session_processes(server))
    assert files_left(places_of(server)) == []
