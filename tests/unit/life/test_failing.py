"""What is left when an engine operation fails: nothing of what is new, and the old state as it was."""

from __future__ import annotations

from typing import Any

import pytest

from dlpx_remote.errors import AlreadyExists
from dlpx_remote.jobs.base import JobCancelled, StepInterrupted
from dlpx_remote.mounts.base import MountBusy, MountFailed
from dlpx_remote.plugins.worker import OperationMissing, PluginUserError, WrongResult
from dlpx_remote.storage.base import PoolFull
from dlpx_remote.workflows import linked, removal, switching, virtual
from dlpx_remote.workflows.hooks import HookFailed
from dlpx_remote.workflows.sources import Hook, Script, Source, WrongState
from tests.unit.life.conftest import MakeWorld, linked_source, provisioned, synced_source
from tests.unit.life.world import World


def failing(event: str) -> dict[str, Any]:
    """A hook that fails."""
    return Hook(event, "bad", Script(script="echo said; exit 3")).to_json()


def noting(world: World, event: str) -> dict[str, Any]:
    """A hook that writes itself into the plugin's list of calls."""
    script = f"""echo '{{"operation": "{event}"}}' >>{world.place}/calls"""
    return Hook(event, "note", Script(script=script)).to_json()


def test_a_user_error_comes_in_its_three_parts(world: World) -> None:
    source = linked_source(world)
    world.order(linked_pre_snapshot="fail('no', 'do that', 'it said')")
    with pytest.raises(PluginUserError) as caught:
        world.run(linked.sync, source=source)
    error = caught.value
    assert (error.message, error.action, error.output) == ("no", "do that", "it said")
    assert (error.operation, error.plugin) == ("linked.pre_snapshot", "direct")


def test_link_that_fails_leaves_nothing(world: World) -> None:
    world.pool.error["create"] = PoolFull("There is no room left.")
    with pytest.raises(PoolFull):
        linked_source(world)
    assert (world.records.all(), world.volumes()) == ([], set())


def test_link_that_is_cancelled_once_it_is_recorded_leaves_nothing(world: World) -> None:
    job = world.job(cancel_before="read what is known of DSOURCE-1")
    with pytest.raises(JobCancelled):
        world.run(linked.link, job, **world.new("dsource", "orders"))
    assert (world.records.all(), world.volumes()) == ([], set())


def test_what_cannot_be_recorded_with_its_hooks_is_not_recorded(world: World) -> None:
    twice = [noting(world, "pre-sync"), noting(world, "post-sync")]
    assert twice[0]["name"] == twice[1]["name"]
    with pytest.raises(AlreadyExists):
        world.run(linked.link, **world.new("dsource", "orders", hooks=twice))
    assert world.records.all() == []


@pytest.mark.parametrize("operation", ["linked_pre_snapshot", "linked_post_snapshot"])
def test_sync_that_fails_keeps_no_snapshot_and_runs_post_sync(world: World, operation: str) -> None:
    source = linked_source(world)
    world.order(**{operation: "fail()"})
    with pytest.raises(PluginUserError):
        world.run(linked.sync, source=source, hooks=[noting(world, "post-sync")])
    assert world.called()[-1] == "post-sync"
    assert (world.records.snapshots(), world.volumes()) == ([], {"DSOURCE-1"})


def test_sync_whose_pre_sync_fails_runs_post_sync_and_nothing_else(world: World) -> None:
    source = linked_source(world)
    with pytest.raises(HookFailed) as caught:
        world.run(linked.sync, source=source, hooks=[failing("pre-sync"), noting(world, "post-sync")])
    assert world.called() == ["post-sync"]
    assert (caught.value.exit_code, caught.value.output, caught.value.hook) == (3, "said\n", "bad")


def test_post_sync_runs_though_the_job_was_cancelled_just_before_and_the_snapshot_is_kept(
    world: World,
) -> None:
    source = linked_source(world)
    job = world.job(cancel_before="post-sync hook note")
    world.run(linked.sync, job, source=source, hooks=[noting(world, "post-sync")])
    assert world.called()[-1] == "post-sync"
    assert [each.state for each in world.records.snapshots()] == ["ready"]
    assert job.done == "SNAPSHOT-1 is kept"


def test_a_failing_post_sync_fails_the_job_and_leaves_the_snapshot(world: World) -> None:
    source = linked_source(world)
    with pytest.raises(HookFailed):
        world.run(linked.sync, source=source, hooks=[failing("post-sync")])
    assert [each.state for each in world.records.snapshots()] == ["ready"]


@pytest.mark.parametrize("operation", ["virtual_pre_snapshot", "virtual_post_snapshot"])
def test_snapshot_of_a_vdb_that_fails_keeps_nothing_and_runs_post_snapshot(
    world: World, operation: str
) -> None:
    vdb = provisioned(world)
    before = world.volumes()
    world.order(**{operation: "fail()"})
    with pytest.raises(PluginUserError):
        world.run(virtual.snapshot, source=vdb, hooks=[noting(world, "post-snapshot")])
    assert world.called()[-1] == "post-snapshot"
    assert world.volumes() == before
    assert len(world.records.snapshots(vdb.reference)) == 1


@pytest.mark.parametrize(
    ("orders", "hook", "ended"),
    [
        ({"virtual_mount_specification": "fail()"}, None, []),
        ({"virtual_configure": "fail()"}, None, []),
        ({}, "configure-clone", ["virtual.unconfigure", "virtual.cleanup"]),
    ],
)
def test_provision_that_fails_leaves_nothing(
    world: World, orders: dict[str, str], hook: str | None, ended: list[str]
) -> None:
    _, snapshot = synced_source(world)
    before = world.volumes()
    world.order(**orders)
    request = world.new("vdb", "clone", origin=snapshot, hooks=[failing(hook)] if hook else [])
    with pytest.raises((PluginUserError, HookFailed)):
        world.run(virtual.provision, **request)
    assert [each.name for each in world.records.all()] == ["orders"]
    assert (world.volumes(), world.mounting.mounted) == (before, {})
    assert [each for each in world.called() if each in ("virtual.unconfigure", "virtual.cleanup")] == ended


@pytest.mark.parametrize("title", ["clone SNAPSHOT-1 as VDB-1", "snapshot VDB-1 as SNAPSHOT-2", "enable it"])
def test_provision_whose_own_steps_fail_leaves_nothing(world: World, title: str) -> None:
    _, snapshot = synced_source(world)
    before = world.volumes()
    job = world.job(fail_before=title, failure=PoolFull("There is no room left."))
    with pytest.raises(PoolFull):
        world.run(virtual.provision, job, **world.new("vdb", "clone", origin=snapshot))
    assert [each.name for each in world.records.all()] == ["orders"]
    assert (world.volumes(), world.mounting.mounted) == (before, {})
    assert len(world.records.snapshots()) == 1


def test_provision_cut_off_in_a_plugin_operation_leaves_nothing(world: World) -> None:
    _, snapshot = synced_source(world)
    before = world.volumes()
    cut = StepInterrupted("The engine ended.")
    job = world.job(fail_before="virtual.configure of direct", failure=cut)
    with pytest.raises(StepInterrupted):
        world.run(virtual.provision, job, **world.new("vdb", "clone", origin=snapshot))
    assert world.called() == ["virtual.mount_specification"]
    assert (world.volumes(), world.mounting.mounted) == (before, {})


def test_what_cannot_be_taken_away_stays_recorded_and_can_be_deleted_later(world: World) -> None:
    _, snapshot = synced_source(world)
    before = world.volumes()
    world.order(virtual_configure="fail()")
    world.mounting.error["detach by force"] = MountBusy("It is busy.")
    with pytest.raises(PluginUserError):
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))
    left = world.records.get("clone")
    assert left.state == "broken"
    with pytest.raises(WrongState, match="broken"):
        world.run(virtual.start, source=left)
    world.mounting.error.clear()
    world.run(removal.delete_vdb, source=left, force=True)
    assert ([each.name for each in world.records.all()], world.volumes()) == (["orders"], before)


def refreshing(world: World) -> tuple[Source, str]:
    """A VDB, and a newer snapshot of what it is of."""
    vdb = provisioned(world)
    newer = world.run(linked.sync, source="DSOURCE-1")["snapshot"]
    world.calls()
    return vdb, newer


def as_before(world: World, vdb: Source, volumes: set[str]) -> None:
    """Nothing of a new state is there, and the old one is in force."""
    now = world.records.get(vdb.reference)
    assert (now.current.volume, now.state, now.active) == (vdb.current.volume, "enabled", vdb.active)
    assert now.previous == vdb.previous
    assert world.volumes() == volumes
    assert list(world.mounting.mounted) == [vdb.current.volume]


@pytest.mark.parametrize(
    ("orders", "hook", "run_again"),
    [
        ({}, "pre-refresh", []),
        ({"virtual_unconfigure": "fail()"}, None, []),
        ({"virtual_mount_specification": "fail()"}, None, ["virtual.reconfigure"]),
        ({"virtual_configure": "fail()"}, None, ["virtual.reconfigure"]),
        ({}, "configure-clone", ["virtual.unconfigure", "virtual.reconfigure"]),
        ({}, "post-refresh", ["virtual.unconfigure", "virtual.reconfigure"]),
    ],
)
def test_refresh_that_fails_leaves_the_old_state_running(
    world: World, orders: dict[str, str], hook: str | None, run_again: list[str]
) -> None:
    vdb, newer = refreshing(world)
    volumes = world.volumes()
    world.order(**orders)
    hooks = [failing(hook)] if hook else []
    with pytest.raises((PluginUserError, HookFailed)):
        world.run(switching.refresh, source=vdb, snapshot=newer, hooks=hooks)
    as_before(world, vdb, volumes)
    undoing = [each for each in world.called() if each in ("virtual.unconfigure", "virtual.reconfigure")]
    assert undoing[1 if run_again or "virtual_unconfigure" in orders else 0 :] == run_again


def test_an_unconfigure_that_failed_after_its_work_is_undone_where_the_status_says_so(world: World) -> None:
    vdb, newer = refreshing(world)
    volumes = world.volumes()
    world.order(virtual_unconfigure="fail()", virtual_status="Status.INACTIVE")
    with pytest.raises(PluginUserError):
        world.run(switching.refresh, source=vdb, snapshot=newer)
    as_before(world, vdb, volumes)
    assert world.called() == ["virtual.unconfigure", "virtual.status", "virtual.reconfigure"]


def test_refresh_of_a_stopped_vdb_that_fails_leaves_it_stopped(world: World) -> None:
    vdb, newer = refreshing(world)
    world.run(virtual.stop, source=vdb)
    vdb, volumes = world.records.get("clone"), world.volumes()
    world.order(virtual_configure="fail()")
    with pytest.raises(PluginUserError):
        world.run(switching.refresh, source=vdb, snapshot=newer)
    as_before(world, vdb, volumes)
    assert world.called()[-2:] == ["virtual.reconfigure", "virtual.stop"]


def test_rollback_that_fails_leaves_the_old_state_running(world: World) -> None:
    vdb = provisioned(world)
    volumes = world.volumes()
    world.order(virtual_reconfigure="fail() if snapshot.text == 'taken' and not calls_of() else None")
    world.order(virtual_mount_specification="fail()")
    own = world.records.snapshots(vdb.reference)[0].reference
    world.order(virtual_reconfigure=None)
    with pytest.raises(PluginUserError):
        world.run(switching.rollback, source=vdb, snapshot=own, hooks=[noting(world, "post-rollback")])
    as_before(world, vdb, volumes)
    assert "post-rollback" not in world.called()


def test_a_refresh_that_is_cancelled_leaves_the_old_state_running(world: World) -> None:
    vdb, newer = refreshing(world)
    volumes = world.volumes()
    job = world.job(cancel_before="virtual.configure of direct")
    with pytest.raises(JobCancelled):
        world.run(switching.refresh, job, source=vdb, snapshot=newer)
    as_before(world, vdb, volumes)


def test_where_the_old_state_cannot_come_back_the_vdb_is_disabled_with_its_data(world: World) -> None:
    vdb, newer = refreshing(world)
    volumes = world.volumes()
    world.order(virtual_configure="fail()", virtual_reconfigure="fail('still down')")
    job = world.job()
    with pytest.raises(PluginUserError, match="it went wrong"):
        world.run(switching.refresh, job, source=vdb, snapshot=newer)
    now = world.records.get("clone")
    assert (now.state, now.current.volume, world.mounting.mounted) == ("disabled", "VDB-1", {})
    assert world.volumes() == volumes
    assert any("disabled now" in line for line in job.lines)
    world.order(virtual_reconfigure=None)
    world.run(virtual.enable, source=vdb)
    assert world.records.get("clone").state == "enabled"


def test_a_mount_that_fails_in_a_refresh_brings_the_old_one_back(world: World) -> None:
    vdb, newer = refreshing(world)
    volumes = world.volumes()
    job = world.job(fail_before=f"mount VDB-1.2 at /mnt/{vdb.guid}", failure=MountFailed("No."))
    with pytest.raises(MountFailed):
        world.run(switching.refresh, job, source=vdb, snapshot=newer)
    as_before(world, vdb, volumes)


def test_disable_whose_unmount_fails_leaves_the_vdb_running(world: World) -> None:
    vdb = provisioned(world)
    world.mounting.error["detach"] = MountBusy("Process 7 uses it.")
    with pytest.raises(MountBusy):
        world.run(virtual.disable, source=vdb)
    assert world.called() == ["virtual.unconfigure", "virtual.reconfigure"]
    assert world.records.get("clone").state == "enabled"
    world.run(virtual.disable, source=vdb, force=True)
    assert (world.records.get("clone").state, world.mounting.mounted) == ("disabled", {})


def test_disable_of_a_staged_dsource_whose_unmount_fails_starts_staging_again(staged: World) -> None:
    source, _ = synced_source(staged)
    staged.mounting.error["detach"] = MountBusy("Process 7 uses it.")
    with pytest.raises(MountBusy):
        staged.run(linked.disable, source=source)
    assert staged.called() == ["linked.stop_staging", "linked.start_staging"]
    assert staged.records.get("orders").state == "enabled"


def test_enable_that_fails_leaves_it_disabled_and_unmounted(world: World, staged: World) -> None:
    vdb = provisioned(world)
    world.run(virtual.disable, source=vdb)
    world.order(virtual_reconfigure="fail()")
    with pytest.raises(PluginUserError):
        world.run(virtual.enable, source=vdb)
    assert (world.records.get("clone").state, world.mounting.mounted) == ("disabled", {})
    source, _ = synced_source(staged)
    staged.run(linked.disable, source=source)
    staged.order(linked_start_staging="fail()")
    with pytest.raises(PluginUserError):
        staged.run(linked.enable, source=source)
    assert (staged.records.get("orders").state, staged.mounting.mounted) == ("disabled", {})


def test_delete_that_fails_keeps_the_vdb_and_force_goes_on(world: World) -> None:
    vdb = provisioned(world)
    world.order(virtual_unconfigure="fail()")
    with pytest.raises(PluginUserError):
        world.run(removal.delete_vdb, source=vdb)
    assert world.records.get("clone").state == "enabled"
    job = world.job()
    world.run(removal.delete_vdb, job, source=vdb, force=True)
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1"}
    assert any("it went wrong" in line for line in job.lines)


@pytest.mark.parametrize(
    ("missing", "staged"),
    [
        ("linked.post_snapshot", False),
        ("linked.post_snapshot", True),
        ("linked.mount_specification", True),
        ("virtual.configure", False),
        ("virtual.mount_specification", False),
    ],
)
def test_a_required_operation_that_is_missing_fails_where_it_is_needed(
    make_world: MakeWorld, missing: str, staged: bool
) -> None:
    world = make_world(without=(missing,), staged=staged)
    source = linked_source(world)

    def needing() -> None:
        snapshot = world.run(linked.sync, source=source)["snapshot"]
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))

    with pytest.raises(OperationMissing, match=missing) as caught:
        needing()
    assert f"@plugin.{missing}()" in caught.value.action
    assert caught.value.plugin in caught.value.message


def test_optional_operations_that_are_missing_are_skipped(make_world: MakeWorld) -> None:
    optional = (
        "linked.pre_snapshot",
        "linked.start_staging",
        "linked.stop_staging",
        "linked.status",
        "linked.worker",
        "virtual.unconfigure",
        "virtual.start",
        "virtual.stop",
        "virtual.pre_snapshot",
        "virtual.status",
        "virtual.cleanup",
    )
    world = make_world(without=optional, staged=True)
    source, snapshot = synced_source(world)
    assert world.run(linked.status, source=source) == {"status": "ACTIVE"}
    world.run(linked.worker, source=source)
    world.run(linked.disable, source=source)
    world.run(linked.enable, source=source)
    vdb = provisioned(world, origin=snapshot)
    for work in (virtual.snapshot, virtual.stop, virtual.start, virtual.disable, virtual.enable):
        world.run(work, source=vdb)
    assert world.run(virtual.status, source=vdb) == {"status": "ACTIVE"}
    world.run(removal.delete_vdb, source=vdb)
    world.run(removal.delete_dsource, source=source)
    assert world.volumes() == set()


@pytest.mark.parametrize(
    ("operation", "value", "complaint"),
    [
        ("virtual_configure", "5", "an int.*SourceConfigDefinition"),
        ("virtual_configure", "SourceConfigDefinition(name='x', port=0, validate=False)", "minimum"),
        ("virtual_mount_specification", "'/mnt'", "a str.*MountSpecification"),
    ],
)
def test_a_wrong_result_fails_the_operation_by_name(
    world: World, operation: str, value: str, complaint: str
) -> None:
    _, snapshot = synced_source(world)
    world.order(**{operation: value})
    with pytest.raises(WrongResult) as caught:
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))
    assert operation.replace("_", ".", 1) in caught.value.message
