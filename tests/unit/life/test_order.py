"""Each engine operation in the order of the table: plugin operations, hooks and the engine's own steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.workflows import linked, removal, switching, virtual
from dlpx_remote.workflows.sources import EVENTS, Hook, Script, Source
from tests.unit.life.conftest import MakeWorld, linked_source, provisioned, synced_source
from tests.unit.life.world import World


def hooks(world: World, source: Source | None = None) -> list[dict[str, Any]]:
    """A hook for every event, which writes itself into the plugin's list of calls."""
    found = []
    for event in EVENTS:
        script = f"""echo '{{"operation": "{event}"}}' >>{world.place}/calls"""
        found.append(Hook(event, event, Script(script=script)).to_json())
    return found


def test_link_makes_a_data_set_and_asks_the_plugin_nothing(world: World) -> None:
    source = linked_source(world)
    assert world.called() == []
    assert world.volumes() == {source.reference} == {"DSOURCE-1"}
    assert (source.state, source.active) == ("enabled", True)


def test_sync_direct(world: World) -> None:
    source = linked_source(world)
    taken = world.run(linked.sync, source=source, hooks=hooks(world), snapshot_parameters=None)
    assert world.called() == ["pre-sync", "linked.pre_snapshot", "linked.post_snapshot", "post-sync"]
    snapshot = world.records.snapshot(taken["snapshot"])
    assert (snapshot.value, snapshot.state, snapshot.parent) == ({"text": "taken"}, "ready", None)
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1"}


def test_sync_direct_takes_the_snapshot_between_its_two_operations(world: World) -> None:
    source = linked_source(world)
    job = world.job()
    world.run(linked.sync, job, source=source)
    kept = [title for title in job.titles if "snapshot" in title and "read" not in title]
    assert kept == [
        "linked.pre_snapshot of direct",
        "record the snapshot",
        "snapshot DSOURCE-1 as SNAPSHOT-1",
        "linked.post_snapshot of direct",
    ]


def test_sync_staged(staged: World) -> None:
    source = linked_source(staged)
    staged.run(linked.sync, source=source, hooks=hooks(staged), snapshot_parameters={"resync": True})
    calls = staged.calls()
    assert [call["operation"] for call in calls] == [
        "linked.mount_specification",
        "pre-sync",
        "linked.pre_snapshot",
        "linked.post_snapshot",
        "post-sync",
    ]
    assert calls[2]["mount"] == [["south", "/staging", None]]
    assert calls[2]["snapshot_parameters"] == {"resync": True}
    (mounted,) = staged.mounting.mounted["DSOURCE-1"]
    assert mounted.placement.environment == staged.south.reference
    assert mounted.placement.user == staged.south.primary_user.reference


def test_a_second_sync_finds_the_data_set_mounted_and_leaves_it_so(staged: World) -> None:
    source = linked_source(staged)
    staged.run(linked.sync, source=source)
    before = staged.mounting.mounted["DSOURCE-1"]
    staged.run(linked.sync, source=source)
    assert staged.mounting.mounted["DSOURCE-1"] is before


def test_disable_and_enable_of_a_direct_dsource_run_nothing(world: World) -> None:
    source = linked_source(world)
    world.run(linked.disable, source=source, hooks=hooks(world))
    assert world.records.get("orders").state == "disabled"
    world.run(linked.enable, source=source, hooks=hooks(world))
    assert world.records.get("orders").state == "enabled"
    assert world.called() == []


def test_disable_and_enable_of_a_staged_dsource(staged: World) -> None:
    source = linked_source(staged)
    staged.run(linked.sync, source=source)
    staged.calls()
    staged.run(linked.disable, source=source, hooks=hooks(staged))
    assert (staged.called(), staged.mounting.mounted) == (["linked.stop_staging"], {})
    job = staged.job()
    staged.run(linked.enable, job, source=source, hooks=hooks(staged))
    assert staged.called() == ["linked.mount_specification", "linked.start_staging"]
    assert job.titles.index("mount DSOURCE-1 at /staging") < job.titles.index(
        "linked.start_staging of staged"
    )
    assert list(staged.mounting.mounted) == ["DSOURCE-1"]


def test_delete_of_a_staged_dsource(staged: World) -> None:
    source, _ = synced_source(staged)
    staged.run(removal.delete_dsource, source=source, hooks=hooks(staged))
    assert staged.called() == ["linked.stop_staging"]
    assert (staged.volumes(), staged.mounting.mounted, staged.records.all()) == (set(), {}, [])


def test_delete_of_a_direct_dsource(world: World) -> None:
    source, _ = synced_source(world)
    world.run(removal.delete_dsource, source=source, hooks=hooks(world))
    assert (world.called(), world.volumes(), world.records.snapshots()) == ([], set(), [])


def test_provision(world: World) -> None:
    _, snapshot = synced_source(world)
    job = world.job()
    request = world.new("vdb", "clone", origin=snapshot, parameters={"path": "/p"}, hooks=hooks(world)[2:])
    world.run(virtual.provision, job, **request)
    calls = world.calls()
    assert [call["operation"] for call in calls] == [
        "virtual.mount_specification",
        "virtual.configure",
        "configure-clone",
    ]
    vdb = world.records.get("clone")
    assert calls[1]["snapshot"] == {"text": "taken"}
    assert calls[1]["mounts"] == [["north", f"/mnt/{vdb.guid}", None]]
    assert calls[1]["parameters"] == {"path": "/p"}
    assert calls[1]["repository"] == {"name": "installation"}
    order = [
        job.titles.index(title) for title in ("clone SNAPSHOT-1 as VDB-1", f"mount VDB-1 at /mnt/{vdb.guid}")
    ]
    assert order == sorted(order)
    assert order[1] < job.titles.index("virtual.configure of direct")
    assert (vdb.state, vdb.active, vdb.current.origin) == ("enabled", True, snapshot)
    assert vdb.current.source_config == {"name": "configured"}


def test_provision_ends_with_a_first_snapshot(world: World) -> None:
    vdb = provisioned(world)
    (first,) = world.records.snapshots(vdb.reference)
    assert (first.parent, first.value, first.state) == ("SNAPSHOT-1", {"text": "taken"}, "ready")
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1", "VDB-1", first.reference}


def test_create_empty(world: World) -> None:
    request = world.new("vdb", "fresh", hooks=hooks(world)[2:])
    world.run(virtual.create_empty, **request)
    assert world.called() == ["virtual.mount_specification", "virtual.initialize", "configure-clone"]
    vdb = world.records.get("fresh")
    assert (vdb.current.source_config, vdb.current.origin) == ({"name": "initialized"}, None)


def test_snapshot_of_a_vdb(world: World) -> None:
    vdb = provisioned(world)
    job = world.job()
    world.run(virtual.snapshot, job, source=vdb, hooks=hooks(world))
    assert world.called() == [
        "pre-snapshot",
        "virtual.pre_snapshot",
        "virtual.post_snapshot",
        "post-snapshot",
    ]
    at = job.titles.index("snapshot VDB-1 as SNAPSHOT-3")
    assert job.titles.index("virtual.pre_snapshot of direct") < at
    assert at < job.titles.index("virtual.post_snapshot of direct")


def test_refresh(world: World) -> None:
    vdb = provisioned(world)
    world.order(linked_post_snapshot="SnapshotDefinition(text='second')")
    second = world.run(linked.sync, source="DSOURCE-1")["snapshot"]
    world.calls()
    job = world.job()
    world.run(switching.refresh, job, source=vdb, snapshot=second, hooks=hooks(world))
    calls = world.calls()
    assert [call["operation"] for call in calls] == [
        "pre-refresh",
        "virtual.unconfigure",
        "virtual.mount_specification",
        "virtual.configure",
        "configure-clone",
        "post-refresh",
    ]
    assert calls[1]["source_config"] == {"name": "configured"}
    assert calls[3]["snapshot"] == {"text": "second"}
    own = ["unmount VDB-1", f"clone {second} as VDB-1.2", f"mount VDB-1.2 at /mnt/{vdb.guid}"]
    assert [title for title in job.titles if title in own] == own
    after = world.records.get("clone")
    assert (after.current.volume, after.current.origin) == ("VDB-1.2", second)
    assert after.previous == vdb.current
    assert list(world.mounting.mounted) == ["VDB-1.2"]


def test_rollback(world: World) -> None:
    vdb = provisioned(world)
    taken = world.run(virtual.snapshot, source=vdb)["snapshot"]
    world.calls()
    job = world.job()
    world.run(switching.rollback, job, source=vdb, snapshot=taken, hooks=hooks(world))
    calls = world.calls()
    assert [call["operation"] for call in calls] == [
        "pre-rollback",
        "virtual.unconfigure",
        "virtual.mount_specification",
        "virtual.reconfigure",
        "post-rollback",
    ]
    assert calls[3]["snapshot"] == {"text": "taken"}
    assert calls[3]["source_config"] == {"name": "configured"}
    own = ["unmount VDB-1", f"clone {taken} as VDB-1.2", f"mount VDB-1.2 at /mnt/{vdb.guid}"]
    assert [title for title in job.titles if title in own] == own
    assert world.records.get("clone").current.source_config == {"name": "reconfigured"}


def test_undo_goes_back_to_the_state_before_and_forth_again(world: World) -> None:
    vdb = provisioned(world)
    (world.pool.path("VDB-1") / "mine").write_text("written to the clone")
    second = world.run(linked.sync, source="DSOURCE-1")["snapshot"]
    world.run(switching.refresh, source=vdb, snapshot=second)
    world.calls()
    world.run(switching.undo, source=vdb, hooks=hooks(world))
    assert world.called() == [
        "pre-rollback",
        "virtual.unconfigure",
        "virtual.mount_specification",
        "virtual.reconfigure",
        "post-rollback",
    ]
    back = world.records.get("clone")
    assert back.current.volume == "VDB-1"
    assert list(world.mounting.mounted) == ["VDB-1"]
    assert (world.pool.path("VDB-1") / "mine").read_text() == "written to the clone"
    world.run(switching.undo, source=vdb)
    assert world.records.get("clone").current.volume == "VDB-1.2"


def test_start_and_stop(world: World) -> None:
    vdb = provisioned(world)
    world.run(virtual.stop, source=vdb, hooks=hooks(world))
    assert world.called() == ["pre-stop", "virtual.stop", "post-stop"]
    assert not world.records.get("clone").active
    world.run(virtual.start, source=vdb, hooks=hooks(world))
    assert world.called() == ["pre-start", "virtual.mount_specification", "virtual.start", "post-start"]
    assert world.records.get("clone").active


def test_start_mounts_what_a_reboot_has_unmounted(world: World) -> None:
    vdb = provisioned(world)
    world.mounting.mounted.clear()
    world.run(virtual.start, source=vdb)
    assert list(world.mounting.mounted) == ["VDB-1"]


@pytest.mark.parametrize("extended", [False, True])
def test_disable_and_enable_of_a_vdb(make_world: MakeWorld, extended: bool) -> None:
    world = make_world(extended=extended)
    vdb = provisioned(world)
    world.run(virtual.disable, source=vdb, hooks=hooks(world))
    outer = (["pre-stop"], ["post-stop"]) if extended else ([], [])
    assert world.called() == [*outer[0], "virtual.unconfigure", *outer[1]]
    assert world.mounting.mounted == {}
    world.order(virtual_status="Status.INACTIVE")
    job = world.job()
    world.run(virtual.enable, job, source=vdb, hooks=hooks(world))
    outer = (["pre-start"], ["post-start"]) if extended else ([], [])
    assert world.called() == [
        "virtual.status",
        *outer[0],
        "virtual.mount_specification",
        "virtual.reconfigure",
        *outer[1],
    ]
    assert job.titles.index(f"mount VDB-1 at /mnt/{vdb.guid}") < job.titles.index(
        "virtual.reconfigure of direct"
    )
    assert world.records.get("clone").state == "enabled"


def test_enable_does_nothing_more_where_the_status_is_active_and_all_is_mounted(world: World) -> None:
    vdb = provisioned(world)
    mounted = dict(world.mounting.mounted)
    world.run(virtual.disable, source=vdb)
    world.mounting.mounted.update(mounted)
    world.calls()
    world.run(virtual.enable, source=vdb, hooks=hooks(world))
    assert world.called() == ["virtual.status"]


def test_enable_brings_up_what_is_not_mounted_though_the_plugin_has_no_status(make_world: MakeWorld) -> None:
    world = make_world(without=("virtual.status",))
    vdb = provisioned(world)
    world.run(virtual.disable, source=vdb)
    world.calls()
    world.run(virtual.enable, source=vdb)
    assert world.called() == ["virtual.mount_specification", "virtual.reconfigure"]
    assert list(world.mounting.mounted) == ["VDB-1"]


def test_delete_of_a_vdb(world: World) -> None:
    vdb = provisioned(world)
    job = world.job()
    world.run(removal.delete_vdb, job, source=vdb, hooks=hooks(world))
    assert world.called() == ["pre-stop", "virtual.unconfigure", "virtual.cleanup", "post-stop"]
    assert job.titles.index("post-stop hook post-stop") < job.titles.index("unmount VDB-1")
    assert (world.volumes(), world.mounting.mounted) == ({"DSOURCE-1", "SNAPSHOT-1"}, {})


def test_status(world: World, staged: World) -> None:
    vdb = provisioned(world)
    world.order(virtual_status="Status.INACTIVE")
    assert world.run(virtual.status, source=vdb) == {"status": "INACTIVE"}
    assert world.called() == ["virtual.status"]
    assert world.records.get("clone").status == "INACTIVE"
    assert world.run(linked.status, source="DSOURCE-1") == {"status": "ACTIVE"}
    source, _ = synced_source(staged)
    assert staged.run(linked.status, source=source) == {"status": "ACTIVE"}
    assert staged.called() == ["linked.status"]


def test_the_staging_worker_runs_while_the_dsource_is_enabled_and_staged(staged: World) -> None:
    source = linked_source(staged)
    staged.run(linked.worker, source=source)
    assert staged.called() == []  # nothing is mounted before the first sync
    staged.run(linked.sync, source=source)
    staged.calls()
    staged.run(linked.worker, source=source)
    assert staged.called() == ["linked.worker"]


def test_a_snapshot_is_deleted(world: World) -> None:
    _, snapshot = synced_source(world)
    world.run(removal.delete_snapshot, snapshot=snapshot, source="DSOURCE-1")
    assert (world.volumes(), world.records.snapshots()) == ({"DSOURCE-1"}, [])


def test_hooks_of_the_object_come_before_those_of_the_run(world: World, tmp_path: Path) -> None:
    source = linked_source(world)
    said = tmp_path / "said"
    for name in ("first", "second"):
        world.hooks.add(source, Hook("pre-sync", name, Script(script=f"echo {name} >>{said}")))
    run = Hook("pre-sync", "of the run", Script(script=f"echo run >>{said}"))
    world.run(linked.sync, source=source, hooks=[run.to_json()])
    assert said.read_text().split() == ["first", "second", "run"]


def test_the_steps_of_an_operation_are_announced_as_many_as_there_are(world: World, staged: World) -> None:
    vdb, own = "VDB-1", "SNAPSHOT-3"
    operations: list[tuple[World, Any, dict[str, Any]]] = [
        (world, linked.link, world.new("dsource", "orders")),
        (world, linked.sync, {"source": "DSOURCE-1"}),
        (world, linked.disable, {"source": "DSOURCE-1"}),
        (world, linked.enable, {"source": "DSOURCE-1"}),
        (world, virtual.provision, world.new("vdb", "one", origin="SNAPSHOT-1")),
        (world, virtual.create_empty, world.new("vdb", "two")),
        (world, virtual.snapshot, {"source": vdb}),
        (world, switching.refresh, {"source": vdb, "snapshot": "SNAPSHOT-1"}),
        (world, switching.rollback, {"source": vdb, "snapshot": own}),
        (world, switching.undo, {"source": vdb}),
        (world, virtual.stop, {"source": vdb}),
        (world, virtual.start, {"source": vdb}),
        (world, virtual.disable, {"source": vdb}),
        (world, virtual.enable, {"source": vdb}),
        (staged, linked.link, staged.new("dsource", "orders")),
        (staged, linked.sync, {"source": "DSOURCE-1"}),
        (staged, linked.disable, {"source": "DSOURCE-1"}),
        (staged, linked.enable, {"source": "DSOURCE-1"}),
    ]
    announced = {}
    for place, work, request in operations:
        job = place.job()
        given = {} if "name" in request else {"hooks": hooks(place)}
        place.run(work, job, **request, **given)
        announced[f"{'staged ' if place.staged else ''}{work.__name__}"] = (job.expected, len(job.steps))
    assert {name: counts for name, counts in announced.items() if counts[0] != counts[1]} == {}
