"""Hosts in a bad way, and what the operator is told: down, dying in the middle, without space.

A source that is stopped and a user who may not mount are in :mod:`tests.hosts.lifecycle.test_postgres`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine
from dlpx_remote.engine_jobs import JobFailed
from dlpx_remote.engine_sources import Given, Hook, Script
from dlpx_remote.environments.connections import Connections
from dlpx_remote.jobs.model import JobDetails
from dlpx_remote.transports.base import Deadlines
from tests.hosts.lifecycle.site import NOTHING, Site
from tests.hosts.sshd import Sshd
from tests.storage.file_systems import MIB, mounted

HERE = "here"


@dataclass
class Place:
    """A site whose host can be taken away.

    Attributes:
        site: with a dSource ``orders`` that was synced, and a VDB ``copy`` of it.
        server: the host.
    """

    site: Site
    server: Sshd

    @property
    def copy(self) -> Path:
        """Where the VDB is mounted."""
        return self.site.targets / "copy"

    def at(self, name: str) -> Given:
        """Parameters of a VDB."""
        return Given({"path": str(self.site.targets / name)})

    def fail(self, engine: Engine, job: str, said: str) -> JobDetails:
        """The job, which has to fail and to say so, with what can be done."""
        with pytest.raises(JobFailed, match=said) as caught:
            engine.jobs.result(job, timeout=120)
        assert caught.value.action
        return engine.jobs.get(job)

    def kill_in(self, engine: Engine, job: str) -> None:
        """Cut the host's power when the hook of :meth:`hanging` runs: what was mounted on it is gone too."""
        reached = self.site.root / "reached"
        deadline = time.monotonic() + 120
        while not reached.exists():
            assert not engine.jobs.get(job).state.ended, engine.jobs.get(job).failure
            assert time.monotonic() < deadline
            time.sleep(0.05)
        reached.unlink()
        self.server.stop()
        for point in self.site.mounts():
            if Path(point).is_relative_to(self.site.targets):
                subprocess.run(["umount", "--lazy", point], check=True)

    def hanging(self, event: str) -> Hook:
        """A hook that the host does not survive."""
        return Hook(event, "hang", Script(script=f"touch '{self.site.root}/reached'; sleep 300"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Of each process that runs some of the tests; in the end, nothing is left there."""
    root = tmp_path_factory.mktemp("bad_hosts")
    (root / "sshd").mkdir()
    (root / "site").mkdir()
    pool = root / "disk"
    with mounted("ext4", pool, 64 * MIB) as point, Sshd(root / "sshd", ["UsePAM no"], quick=True) as server:
        site = Site(root / "site", pool=point / "pool")
        site.prepare(server)
        place = Place(site, server)
        with site.open() as engine:
            jobs = engine.jobs
            jobs.result(engine.dsources.link("orders", HERE, str(site.sources / "orders"), plugin="Trees"))
            jobs.result(engine.dsources.sync("orders"))
            jobs.result(engine.vdbs.provision("copy", "orders", HERE, parameters=place.at("copy")))
        yield place
        try:
            with site.open() as engine:
                engine.jobs.result(engine.dsources.delete("orders", force=True))
            left = site.left()
        finally:
            site.unmount_all()
    assert left == NOTHING


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    """The host is there again after each test."""
    yield made
    made.server.stop()
    made.server.start()


@pytest.fixture
def engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """It asks a host that died under a script for a second only what became of it: here it stays dead."""
    quick = partial(Connections, deadlines=Deadlines(settle=1.0))
    monkeypatch.setattr("dlpx_remote.engine.Connections", quick)
    with place.site.open() as engine:
        yield engine


def test_a_host_that_is_down_is_told_and_nothing_has_changed(place: Place, engine: Engine) -> None:
    before = place.site.left()
    place.server.stop()

    for job in (
        engine.vdbs.provision("other", "orders", HERE, parameters=place.at("other")),
        engine.dsources.sync("orders"),
        engine.vdbs.refresh("copy"),
        engine.vdbs.disable("copy"),
    ):
        failed = place.fail(engine, job, "refuses connections")
        assert failed.state in ("failed", "compensated"), failed.state
    place.server.start()

    assert place.site.left() == before
    assert engine.vdbs.get("copy").state == "enabled"
    assert engine.vdbs.status("copy") == "ACTIVE"
    engine.jobs.result(engine.vdbs.refresh("copy"))


def test_a_host_that_dies_under_a_refresh_leaves_the_old_state_to_be_enabled(
    place: Place, engine: Engine
) -> None:
    (place.copy / "row_mine").write_text("mine")
    job = engine.vdbs.refresh("copy", hooks=[place.hanging("configure-clone")])
    place.kill_in(engine, job)

    failed = place.fail(engine, job, "lost|unknown|closed")

    assert failed.state == "failed", "not all of it could be undone"
    said = "\n".join(line.line for line in engine.jobs.lines(job))
    assert "copy is disabled now, with its data as they were; enable it when the cause is gone." in said
    place.server.start()
    engine.jobs.result(engine.vdbs.enable("copy"))
    assert (place.copy / "row_mine").read_text() == "mine"
    assert engine.vdbs.status("copy") == "ACTIVE"


def test_a_host_that_dies_under_a_provision_is_tidied_up_when_the_place_is_used_again(
    place: Place, engine: Engine
) -> None:
    before = place.site.left()
    job = engine.vdbs.provision(
        "dying", "orders", HERE, parameters=place.at("dying"), hooks=[place.hanging("configure-clone")]
    )
    place.kill_in(engine, job)

    place.fail(engine, job, "lost|unknown|closed")

    assert [vdb.name for vdb in engine.vdbs.all()] == ["copy"]
    said = "\n".join(line.line for line in engine.jobs.lines(job))
    assert f"was left at {place.site.targets}/dying on" in said
    (left,) = set(place.site.ledger()) - set(before["ledger"])  # type: ignore[call-overload]
    assert left.startswith("left ")
    place.server.start()
    engine.jobs.result(engine.vdbs.start("copy"))  # it was on that host too
    engine.jobs.result(engine.vdbs.provision("again", "orders", HERE, parameters=place.at("dying")))
    engine.jobs.result(engine.vdbs.delete("again"))
    assert {**place.site.left(), "mounts": ()} == {**before, "mounts": ()}


def test_a_pool_that_is_full_is_told_and_the_next_sync_is_fine(place: Place, engine: Engine) -> None:
    before = place.site.left()
    much = place.site.sources / "orders" / "much"
    much.write_bytes(os.urandom(60 * MIB))

    failed = place.fail(
        engine, engine.dsources.sync("orders"), "no space is left here. Make room on this machine"
    )

    assert failed.state == "compensated"
    much.unlink()
    assert place.site.left() == before
    engine.jobs.result(engine.dsources.sync("orders"))
    assert engine.vdbs.status("copy") == "ACTIVE"
