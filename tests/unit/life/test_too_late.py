"""Jobs that are cancelled when they have done what they were asked for: the records say what is so."""

from __future__ import annotations

from typing import Any

import pytest

from dlpx_remote.jobs.base import JobCancelled
from dlpx_remote.mounts.base import MountBusy
from dlpx_remote.workflows import linked, removal, switching, virtual
from tests.unit.life.conftest import provisioned, synced_source
from tests.unit.life.world import World


def newer_snapshot(world: World) -> str:
    """A snapshot after the one that a VDB was provisioned from."""
    taken: str = world.run(linked.sync, source="DSOURCE-1")["snapshot"]
    return taken


def test_a_refresh_that_is_cancelled_once_it_has_switched_is_finished(world: World) -> None:
    vdb, newer = provisioned(world), newer_snapshot(world)
    for own in world.records.snapshots(vdb.reference):
        world.run(removal.delete_snapshot, snapshot=own.reference, source=vdb)
    world.run(switching.refresh, source=vdb, snapshot=newer)
    job = world.job(cancel_before="remove VDB-1")
    world.run(switching.refresh, job, source=vdb, snapshot=newer)
    now = world.records.get(vdb.reference)
    assert (now.current.volume, now.state, now.retired) == ("VDB-1.3", "enabled", ())
    assert "VDB-1" not in world.volumes()
    assert job.done == "the new state of clone is in force"


def test_a_refresh_has_succeeded_though_the_state_before_the_last_cannot_be_removed(world: World) -> None:
    vdb, newer = provisioned(world), newer_snapshot(world)
    for own in world.records.snapshots(vdb.reference):
        world.run(removal.delete_snapshot, snapshot=own.reference, source=vdb)
    world.run(switching.refresh, source=vdb, snapshot=newer)
    job = world.job(fail_before="remove VDB-1", failure=MountBusy("It is busy."))
    world.run(switching.refresh, job, source=vdb, snapshot=newer)
    now = world.records.get(vdb.reference)
    assert (now.current.volume, [each.volume for each in now.retired]) == ("VDB-1.3", ["VDB-1"])
    assert any("It is busy" in line for line in job.lines)


@pytest.mark.parametrize(
    ("work", "before", "found"),
    [
        (virtual.stop, "note that it is stopped", ("enabled", False)),
        (virtual.start, "note that it is started", ("enabled", True)),
        (virtual.disable, "disable it", ("disabled", False)),
    ],
)
def test_what_a_plugin_has_done_is_recorded(
    world: World, work: Any, before: str, found: tuple[str, bool]
) -> None:
    vdb = provisioned(world)
    world.run(work, world.job(cancel_before=before), source=vdb)
    now = world.records.get(vdb.reference)
    assert (now.state, now.active) == found


def test_a_staged_dsource_is_mounted_where_its_record_says_that_it_is_enabled(staged: World) -> None:
    source, _ = synced_source(staged)
    for work, before, state in (
        (linked.disable, "disable it", "disabled"),
        (linked.enable, "enable it", "enabled"),
    ):
        staged.run(work, staged.job(cancel_before=before), source=source)
        assert staged.records.get("orders").state == state
        assert bool(staged.mounting.mounted) == (state == "enabled")


@pytest.mark.parametrize("force", [False, True])
def test_a_deletion_that_has_begun_to_remove_is_finished(world: World, force: bool) -> None:
    vdb = provisioned(world)
    job = world.job(cancel_before="remove VDB-1")
    world.run(removal.delete_vdb, job, source=vdb, force=force)
    assert [each.name for each in world.records.all()] == ["orders"]
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1"}


def test_a_deletion_that_takes_several_along_ends_between_them(world: World) -> None:
    _, snapshot = synced_source(world)
    for name in ("one", "two"):
        world.run(virtual.provision, **world.new("vdb", name, origin=snapshot))
    job = world.job(cancel_before="remove VDB-1")
    with pytest.raises(JobCancelled):
        world.run(removal.delete_dsource, job, source="DSOURCE-1", force=True)
    assert [each.name for each in world.records.all()] == ["orders", "two"]


def test_a_deletion_holds_what_was_made_since_it_was_asked_for(world: World) -> None:
    _, snapshot = synced_source(world)
    world.run(virtual.provision, **world.new("vdb", "one", origin=snapshot))
    job = world.job()
    world.run(removal.delete_dsource, job, source="DSOURCE-1", force=True)
    assert job.held >= {"VDB-1", "name one", "snapshots of VDB-1"}
