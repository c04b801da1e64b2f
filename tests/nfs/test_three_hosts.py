"""The whole life of a PostgreSQL dSource and its VDBs on three hosts, with real NFS between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx_remote.engine import Engine
from tests.nfs.three_hosts import ThreeHosts, three_hosts
from tests.nfs.vm_host import VmHost

SIZE, ALL_OF_IT = 24, 200
"""MiB of the source's large table in a run of the suite, and with ``--all-faults``.

The machines are emulated, and slow: the test prints how long each step took them.
"""
ONE, TWO = 5501, 5502


@pytest.fixture
def hosts(
    two_nfs_vms: tuple[VmHost, VmHost], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Iterator[ThreeHosts]:
    """A source with a large table."""
    target, staging = two_nfs_vms
    size = ALL_OF_IT if request.config.option.all_faults else SIZE
    with three_hosts(staging, target, size) as made:
        yield made
    with capsys.disabled():
        for what, seconds in made.steps:
            print(f"\n  {what:<40} {seconds:6.1f} s", end="")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_database_lives_on_three_hosts_and_leaves_nothing(hosts: ThreeHosts) -> None:
    with hosts.open() as engine:
        snapshots, bounds = _linked_and_synced(hosts, engine)
        vdbs, source = engine.vdbs, hosts.source

        for name, port, number in (("one", ONE, 0), ("two", TWO, 2)):
            with hosts.step(f"provision {name}"):
                parameters = hosts.virtual(name, port)
                hosts.done(engine, vdbs.provision(name, snapshots[number], "target", parameters=parameters))
            assert bounds[number][0] <= hosts.entries(port) <= bounds[number][1]
        first, third, at_source = hosts.entries(ONE), hosts.entries(TWO), source.entries()
        assert first < third < at_source
        with hosts.step("read all of two"):
            assert hosts.whole(TWO)
        assert hosts.ask(TWO, "SELECT id FROM far") == "7", "a tablespace came along"

        hosts.ask(ONE, "DELETE FROM entries; UPDATE total SET entries = 0; DELETE FROM far")
        assert (hosts.entries(ONE), hosts.entries(TWO), source.entries()) == (0, third, at_source)
        with hosts.step("snapshot one"):
            kept = hosts.done(engine, vdbs.snapshot("one"))["snapshot"]
        with hosts.step("refresh one"):
            hosts.done(engine, vdbs.refresh("one", snapshots[2]))
        assert hosts.entries(ONE) == third
        with hosts.step("roll one back"):
            hosts.done(engine, vdbs.rollback("one", kept))
        assert (hosts.entries(ONE), hosts.ask(ONE, "SELECT count(*) FROM far")) == (0, "0")

        with hosts.step("disable one and two"):
            for name in ("one", "two"):
                hosts.done(engine, vdbs.disable(name))
        assert hosts.target.root("grep -c ' /mnt/' /proc/mounts || true") == "0\n"
        with hosts.step("reboot the target"):
            hosts.target.vm.reboot()
        with hosts.step("enable one and two"):
            for name in ("one", "two"):
                hosts.done(engine, vdbs.enable(name))
        assert [vdbs.status(name) for name in ("one", "two")] == ["ACTIVE", "ACTIVE"]
        assert (hosts.entries(ONE), hosts.entries(TWO), source.entries()) == (0, third, at_source)

        with hosts.step("delete all"):
            for name in ("one", "two"):
                hosts.done(engine, vdbs.delete(name))
            hosts.done(engine, engine.dsources.delete("shop"))
    left = hosts.left()
    assert left == {what: [] for what in left}
    with hosts.open() as engine:
        for name in ("source", "staging", "target"):
            assert engine.remove_environment(name).cleaned


def _linked_and_synced(hosts: ThreeHosts, engine: Engine) -> tuple[list[str], list[tuple[int, int]]]:
    """Three snapshots under a load of writes, and how many entries the source had before and after each."""
    snapshots, bounds = list[str](), list[tuple[int, int]]()
    with hosts.step("link"):
        hosts.done(
            engine,
            engine.dsources.link("shop", "source", "15/main", staging="staging", parameters=hosts.linked()),
        )
    with hosts.source.load():
        for number in range(3):
            before = hosts.source.entries()
            with hosts.step(f"sync {number + 1}"):
                snapshots.append(hosts.done(engine, engine.dsources.sync("shop"))["snapshot"])
            bounds.append((before, hosts.source.entries()))
    assert engine.dsources.status("shop") == "ACTIVE"
    return snapshots, bounds
