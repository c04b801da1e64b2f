"""What a second discovery says of a host that has changed in between, and what removing leaves."""

from __future__ import annotations

from dlpx_remote.engine import DiscoveryReport, Engine
from tests.hosts.examples import FILES, POSTGRES, source_configs
from tests.hosts.ssh_host import SshHost

ARCHIVE = "/var/lib/postgresql/15/archive"
MAIN = "/var/lib/postgresql/15/main"
EXTRA = "/var/lib/postgresql/15/extra"


def test_clusters_come_go_change_and_return(engine: Engine, own_ssh_host: SshHost) -> None:
    engine.add_plugin(POSTGRES)
    engine.add_environment(own_ssh_host.spec("db"))
    assert set(_changes(engine.discover()).values()) == {"new"}
    assert set(_changes(engine.discover()).values()) == {"unchanged"}

    own_ssh_host.root("pg_dropcluster 15 archive; pg_createcluster 15 extra -- --wal-segsize=1")
    changes = _changes(engine.discover())
    assert (changes[ARCHIVE], changes[EXTRA], changes[MAIN]) == ("gone", "new", "unchanged")

    own_ssh_host.root(
        "pg_createcluster --port 5433 15 archive -- --wal-segsize=1; pg_ctlcluster 15 main stop -m fast"
    )
    changes = _changes(engine.discover())
    assert (changes[ARCHIVE], changes[EXTRA], changes[MAIN]) == ("returned", "unchanged", "changed")


def test_refreshing_collects_facts_and_discovers(engine: Engine, ssh_host: SshHost) -> None:
    engine.add_plugin(POSTGRES)
    engine.add_environment(ssh_host.spec("db"))
    environment, report = engine.refresh_environment("db")
    assert set(_changes(report).values()) == {"new"}
    facts = environment.facts
    assert facts is not None
    assert facts.operating_system.startswith("Debian GNU/Linux 12")
    assert (facts.home, facts.shell) == ("/home/engine", "/bin/bash")
    assert facts.uid == int(ssh_host.root("id -u engine"))
    assert facts.tools.keys() >= {"bash", "sudo", "rsync", "expect", "jq"}


def test_removing_an_environment_leaves_nothing_on_the_host(engine: Engine, ssh_host: SshHost) -> None:
    before = ssh_host.contents()
    engine.add_plugin(POSTGRES)
    engine.add_plugin(FILES)
    engine.add_environment(ssh_host.spec("db"))
    engine.test_environment("db")
    engine.refresh_environment("db")
    engine.remove_environment("db")
    assert ssh_host.left_behind(before) == []


def _changes(report: DiscoveryReport) -> dict[str, str]:
    assert not report.failed, report
    return {name: found.change for name, found in source_configs(report, "db", "PostgreSQL").items()}
