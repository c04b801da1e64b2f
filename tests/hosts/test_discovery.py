"""Both example plugins on several real hosts at once, through the engine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dlpx_remote.engine import DiscoveryEvent, Engine, discover_once
from tests.hosts.conftest import HostFactory
from tests.hosts.examples import CLUSTERS, FILES, POSTGRES, clusters, source_configs
from tests.hosts.ssh_host import SshHost

TREE = '/srv/the shop\'s "files"'


@pytest.fixture
def hosts(ssh_hosts: HostFactory) -> Iterator[list[SshHost]]:
    """Three hosts, each with a directory tree that is marked."""
    hosts = ssh_hosts(3)
    tree = shlex.quote(TREE)
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(host.root, f"rm -r {tree}")
            host.root(f"mkdir {tree}; echo 'The shop' > {tree}/.dlpx-source")
        yield hosts


def test_both_examples_find_what_is_on_three_hosts_at_once(engine: Engine, hosts: list[SshHost]) -> None:
    engine.add_plugin(POSTGRES)
    engine.add_plugin(FILES)
    for number, host in enumerate(hosts):
        engine.add_environment(host.spec(f"db{number}"))
    events: list[DiscoveryEvent] = []

    report = engine.discover(on_event=events.append)

    assert not report.failed
    assert [(result.environment, result.plugin) for result in report.results] == [
        (environment, plugin) for environment in ("db0", "db1", "db2") for plugin in ("Files", "PostgreSQL")
    ]
    for environment in ("db0", "db1", "db2"):
        assert clusters(report, environment) == CLUSTERS
        assert source_configs(report, environment, "Files")[TREE].name == "The shop"
    versions = {
        repository.parameters["version"].partition(".")[0]
        for result in report.results
        if result.plugin == "PostgreSQL"
        for repository in result.repositories
    }
    assert versions == {"15"}
    assert {event.environment for event in events if event.stage == "finished"} == {"db0", "db1", "db2"}


def test_a_dead_host_does_not_stop_the_others(engine: Engine, hosts: list[SshHost]) -> None:
    engine.add_plugin(POSTGRES)
    engine.add_environment(hosts[0].spec("alive"))
    engine.add_environment(hosts[1].spec("dead", port=1))

    report = engine.discover()

    assert report.failed
    assert clusters(report, "alive") == CLUSTERS
    failure = next(result.failure for result in report.results if result.environment == "dead")
    assert failure is not None
    assert failure.kind == "ConnectionRefused"
    assert "127.0.0.1" in failure.message
    assert failure.action


def test_a_quick_look_finds_the_same_and_leaves_nothing(hosts: list[SshHost], clean_home: object) -> None:
    before = hosts[0].contents()
    report = discover_once([POSTGRES, FILES], [hosts[0].spec("here")])
    assert not report.failed
    assert clusters(report, "here") == CLUSTERS
    assert hosts[0].left_behind(before) == []


@pytest.mark.parametrize("user", ["plain", "password", "csh", "fish", "noisy", "sleepy"])
def test_discovery_works_whatever_the_login_shell_and_start_up_files(
    ssh_host: SshHost, clean_home: object, user: str
) -> None:
    report = discover_once([POSTGRES], [ssh_host.spec("here", user)])
    assert [result.failure for result in report.results] == [None]
    assert clusters(report, "here") == CLUSTERS


def test_the_owner_of_the_data_sees_all_of_it(own_ssh_host: SshHost, clean_home: object) -> None:
    own_ssh_host.root("cp /etc/ssh/authorized_keys/engine /etc/ssh/authorized_keys/postgres")
    report = discover_once([POSTGRES], [own_ssh_host.spec("here", "postgres")])
    found = source_configs(report, "here", "PostgreSQL")
    assert found["/srv/order data/15"].parameters["port"] == 5434
    assert [source_config.parameters.get("note") for source_config in found.values()] == [None] * 3


def test_what_an_ordinary_user_cannot_see_is_said(ssh_host: SshHost, clean_home: object) -> None:
    report = discover_once([POSTGRES], [ssh_host.spec("here", "plain")])
    found = source_configs(report, "here", "PostgreSQL")
    assert found["/srv/order data/15"].parameters["note"] == (
        "plain cannot read the data directory; what is known comes from outside it. Its port is unknown."
    )
