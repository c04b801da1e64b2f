"""The rules of engine operations beside their order: mounts, owners, dependencies, states, parameters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.mounts.base import Owner
from dlpx_remote.plugins.worker import TooLarge, WrongResult
from dlpx_remote.transports.base import ShellFacts
from dlpx_remote.workflows import linked, removal, switching, virtual
from dlpx_remote.workflows.attaching import MountNotPossible, OwnerUnknown
from dlpx_remote.workflows.operating import Operation
from dlpx_remote.workflows.parameters import LINKED, SNAPSHOT_PARAMETERS, Given, checked, unattended
from dlpx_remote.workflows.sources import SourceInUse, WrongState
from tests.unit.environments.local import LocalConnection
from tests.unit.life.conftest import MakeWorld, linked_source, provisioned, synced_source
from tests.unit.life.world import World

HERE = "virtual_source.connection.environment"
STAGING = "source.staged_connection.environment"


# mounts


def test_a_staged_source_with_several_mounts_gets_mounts(staged: World) -> None:
    source = linked_source(staged)
    staged.order(
        linked_mount_specification=f"MountSpecification([Mount({STAGING}, '/a', 'one'), "
        f"Mount({STAGING}, '/b', 'two')])"
    )
    staged.run(linked.sync, source=source)
    calls = staged.calls()
    assert "mount" not in calls[1]
    assert calls[1]["mounts"] == [["south", "/a", "one"], ["south", "/b", "two"]]


@pytest.mark.parametrize(
    ("specification", "complaint"),
    [
        ("MountSpecification([])", "no mount"),
        (f"MountSpecification([Mount({STAGING}, '/a', 'part')])", "shared_path"),
    ],
)
def test_a_staged_source_has_a_mount_and_a_single_one_has_no_part(
    staged: World, specification: str, complaint: str
) -> None:
    source = linked_source(staged)
    staged.order(linked_mount_specification=specification)
    with pytest.raises(WrongResult, match=complaint):
        staged.run(linked.sync, source=source)
    assert staged.mounting.mounted == {}


def test_a_vdb_may_mount_a_part_and_may_mount_on_other_environments(world: World) -> None:
    _, snapshot = synced_source(world)
    world.order(
        virtual_mount_specification="MountSpecification([Mount(source.connection.environment, '/a', 'part'), "
        f"Mount('{world.south.reference}', '/b')])"
    )
    world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))
    placements = [each.placement for each in world.mounting.mounted["VDB-1"]]
    assert [(each.environment, each.mount_path, each.shared_path) for each in placements] == [
        (world.north.reference, "/a", "part"),
        (world.south.reference, "/b", None),
    ]
    assert placements[1].user == world.south.primary_user.reference


def test_a_mount_on_an_unknown_environment_fails_by_name(world: World) -> None:
    _, snapshot = synced_source(world)
    world.order(virtual_mount_specification="MountSpecification([Mount('UNIX_HOST_ENVIRONMENT-99', '/a')])")
    with pytest.raises(MountNotPossible, match=r"direct asked .* UNIX_HOST_ENVIRONMENT-99"):
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))


def test_the_owner_is_the_environment_user_unless_the_plugin_says_so(world: World) -> None:
    _, snapshot = synced_source(world)
    world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))
    assert world.mounting.owners["VDB-1"] == Owner(1000, 1000)
    world.order(
        virtual_mount_specification="MountSpecification([Mount(source.connection.environment, '/other')], "
        "OwenershipSpecification(26, 27))"
    )
    world.run(virtual.provision, **world.new("vdb", "second", origin=snapshot))
    assert world.mounting.owners["VDB-2"] == Owner(26, 27)


def test_an_owner_whom_nobody_knows_is_said(world: World) -> None:
    _, snapshot = synced_source(world)
    world.connection_of = LocalConnection(world.home, ShellFacts("anna"))
    with pytest.raises(OwnerUnknown, match="anna on north"):
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))


def test_root_squash_is_the_plugins_choice(make_world: MakeWorld) -> None:
    world = make_world()
    provisioned(world)
    assert world.mounting.root_squash["VDB-1"] is True


def test_mounts_that_the_plugin_wants_elsewhere_are_moved(world: World) -> None:
    vdb = provisioned(world)
    world.order(
        virtual_mount_specification="MountSpecification([Mount(source.connection.environment, '/moved')])"
    )
    world.run(virtual.start, source=vdb)
    (mounted,) = world.mounting.mounted["VDB-1"]
    assert mounted.placement.mount_path == "/moved"
    assert world.records.get("clone").current.mounts[0].mount_path == "/moved"


# data


def test_a_direct_plugin_may_copy_into_the_data_set_in_pre_snapshot(world: World) -> None:
    source = linked_source(world)
    with Operation(world.rooms, world.job(), source.reference) as operation:
        operation.plugin("linked.pre_snapshot")
        assert operation._library is not None
        assert operation._library._data_set == world.pool.path("DSOURCE-1")


def test_states_are_isolated_from_each_other(world: World) -> None:
    source = linked_source(world)
    (world.pool.path("DSOURCE-1") / "row").write_text("1")
    first = world.run(linked.sync, source=source)["snapshot"]
    (world.pool.path("DSOURCE-1") / "row").write_text("2")
    second = world.run(linked.sync, source=source)["snapshot"]
    vdb = provisioned(world, "one", first)
    provisioned(world, "two", second)
    row = world.pool.path("VDB-1") / "row"
    assert row.read_text() == "1"
    row.write_text("mine")
    kept = world.run(virtual.snapshot, source=vdb)["snapshot"]
    world.run(switching.refresh, source=vdb, snapshot=second)
    assert (world.pool.path("VDB-1.2") / "row").read_text() == "2"
    world.run(switching.rollback, source=vdb, snapshot=kept)
    assert (world.pool.path("VDB-1.3") / "row").read_text() == "mine"
    assert (world.pool.path("VDB-2") / "row").read_text() == "2"


def test_a_state_that_cannot_be_returned_to_any_more_goes_unless_snapshots_hang_on_it(world: World) -> None:
    vdb = provisioned(world)
    world.run(switching.refresh, source=vdb, snapshot="SNAPSHOT-1")
    assert {"VDB-1", "VDB-1.2"} <= world.volumes()
    world.run(switching.refresh, source=vdb, snapshot="SNAPSHOT-1")
    assert {"VDB-1", "VDB-1.2", "VDB-1.3"} <= world.volumes()  # SNAPSHOT-2 hangs on VDB-1
    world.run(switching.refresh, source=vdb, snapshot="SNAPSHOT-1")
    assert "VDB-1.2" not in world.volumes()
    world.run(removal.delete_snapshot, snapshot="SNAPSHOT-2", source=vdb)
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1", "VDB-1.3", "VDB-1.4"}
    assert world.records.get("clone").retired == ()
    world.run(removal.delete_vdb, source=vdb)
    assert world.volumes() == {"DSOURCE-1", "SNAPSHOT-1"}


# dependencies


def test_what_something_was_made_from_is_not_deleted(world: World) -> None:
    vdb = provisioned(world)
    own = world.run(virtual.snapshot, source=vdb)["snapshot"]
    provisioned(world, "grandchild", own)
    wanted: list[tuple[Any, dict[str, Any]]] = [
        (removal.delete_dsource, {"source": "DSOURCE-1"}),
        (removal.delete_snapshot, {"snapshot": "SNAPSHOT-1", "source": "DSOURCE-1"}),
        (removal.delete_vdb, {"source": vdb}),
    ]
    for work, request in wanted:
        with pytest.raises(SourceInUse, match="the VDB grandchild"):
            world.run(work, **request)
    assert world.called() == []
    assert len(world.records.all()) == 3


def test_force_takes_along_what_was_made_from_it(world: World) -> None:
    vdb = provisioned(world)
    own = world.run(virtual.snapshot, source=vdb)["snapshot"]
    provisioned(world, "grandchild", own)
    gone = world.run(removal.delete_dsource, source="DSOURCE-1", force=True)
    assert gone == {"deleted": ["grandchild", "clone", "orders"]}
    assert (world.volumes(), world.records.all(), world.mounting.mounted) == (set(), [], {})


def test_a_vdb_needs_what_it_once_was_made_of_as_long_as_snapshots_of_that_are_there(world: World) -> None:
    vdb = provisioned(world)
    own = world.run(virtual.snapshot, source=vdb)["snapshot"]
    for _ in range(3):
        world.run(switching.rollback, source=vdb, snapshot=own)
        with pytest.raises(SourceInUse, match="needed by the VDB clone"):
            world.run(removal.delete_snapshot, snapshot="SNAPSHOT-1", source="DSOURCE-1")
    gone = world.run(removal.delete_dsource, source="DSOURCE-1", force=True)
    assert gone == {"deleted": ["clone", "orders"]}
    assert (world.volumes(), world.records.all()) == (set(), [])


def test_an_undo_state_keeps_its_snapshot_until_it_is_forced(world: World) -> None:
    vdb = provisioned(world)
    newer = world.run(linked.sync, source="DSOURCE-1")["snapshot"]
    world.run(switching.refresh, source=vdb, snapshot=newer)
    world.run(removal.delete_snapshot, snapshot="SNAPSHOT-2", source=vdb)  # which hangs on the undo state
    with pytest.raises(SourceInUse, match="the undo state of the VDB clone"):
        world.run(removal.delete_snapshot, snapshot="SNAPSHOT-1", source="DSOURCE-1")
    world.run(removal.delete_snapshot, snapshot="SNAPSHOT-1", source="DSOURCE-1", force=True)
    assert world.volumes() == {"DSOURCE-1", newer, "VDB-1.2"}
    with pytest.raises(WrongState, match="nothing to undo"):
        world.run(switching.undo, source=vdb)


# states


def test_operations_need_the_right_state(world: World) -> None:
    vdb = provisioned(world)
    with pytest.raises(WrongState, match="is enabled"):
        world.run(virtual.enable, source=vdb)
    world.run(virtual.disable, source=vdb)
    wanted: list[tuple[Any, dict[str, Any]]] = [
        (virtual.start, {}),
        (virtual.stop, {}),
        (virtual.snapshot, {}),
        (virtual.disable, {}),
        (switching.refresh, {"snapshot": "SNAPSHOT-1"}),
        (switching.rollback, {"snapshot": "SNAPSHOT-2"}),
        (switching.undo, {}),
    ]
    for work, more in wanted:
        with pytest.raises(WrongState, match="clone is disabled") as caught:
            world.run(work, source=vdb, **more)
        assert "vdb enable clone" in caught.value.action
    assert world.run(virtual.status, source=vdb) == {"status": "INACTIVE"}
    world.run(linked.disable, source="DSOURCE-1")
    with pytest.raises(WrongState, match="orders is disabled"):
        world.run(linked.sync, source="DSOURCE-1")


def test_an_empty_vdb_is_not_disabled_where_nothing_could_bring_it_back(make_world: MakeWorld) -> None:
    needing = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    world = make_world(schema={"snapshotDefinition": needing})
    world.run(virtual.create_empty, **world.new("vdb", "fresh"))
    with pytest.raises(WrongState, match="has no snapshot yet") as caught:
        world.run(virtual.disable, source="VDB-1")
    assert "vdb snapshot fresh" in caught.value.action
    world.run(virtual.snapshot, source="VDB-1")
    world.run(virtual.disable, source="VDB-1")
    world.run(virtual.enable, source="VDB-1")


# parameters


def plugin_of(world: World) -> Any:
    return world.rooms.plugin(world.identifier)


def test_parameters_are_read_by_their_types_and_completed_with_defaults(world: World) -> None:
    texts = {"path": "5", "port": "7", "inner.deep": "false"}
    assert checked(plugin_of(world), LINKED, Given({"path": "/file"}, texts)) == {
        "path": "5",
        "port": 7,
        "inner": {"deep": False},
    }
    assert checked(plugin_of(world), LINKED, Given({"inner": {}})) == {"port": 5432, "inner": {"deep": True}}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (Given({}, {"port": "many"}), r"\$\.port"),
        (Given({}, {"port": "0"}), r"\$\.port"),
        (Given({"inner": {"deep": 5}}), r"\$\.inner\.deep"),
        (Given({}, {"prot": "5"}), "prot"),
        (Given({"path": float("nan")}), "not plain JSON"),
        (Given({"path": "/x"}, {"path.deeper": "x"}), "path is no object"),
    ],
)
def test_a_wrong_parameter_is_told_by_its_field(world: World, given: Given, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        checked(plugin_of(world), LINKED, given)


def test_what_parameters_there_are_is_said_with_the_complaint(world: World) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(plugin_of(world), LINKED, Given({}, {"prot": "5"}))
    assert "path (string), port (integer)" in caught.value.action


def test_a_secret_is_kept_as_a_reference_and_handed_to_the_plugin_as_itself(world: World) -> None:
    with pytest.raises(InvalidRequest, match=r"\$\.secret must be a reference") as caught:
        checked(plugin_of(world), LINKED, Given({}, {"secret": "tell nobody"}))
    assert "tell nobody" not in str(caught.value)
    parameters = checked(plugin_of(world), LINKED, Given({}, {"secret": "env:SECRET"}))
    source = linked_source(world, parameters=parameters)
    world.run(linked.sync, source=source)
    assert world.calls()[0]["parameters"]["secret"] == "open sesame"
    assert source.parameters["secret"] == "env:SECRET"


def test_snapshot_parameters_nobody_gave_are_the_defaults_or_none(make_world: MakeWorld) -> None:
    assert unattended(plugin_of(make_world())) == {"resync": False}
    strict = {"type": "object", "required": ["why"], "properties": {"why": {"type": "string"}}}
    world = make_world(schema={"snapshotParametersDefinition": strict}, staged=True)
    assert unattended(plugin_of(world)) is None
    source = linked_source(world)
    world.run(linked.sync, source=source, snapshot_parameters=None)
    assert world.calls()[1]["snapshot_parameters"] is None
    with pytest.raises(InvalidRequest, match="why"):
        checked(plugin_of(world), SNAPSHOT_PARAMETERS, Given())


def test_the_snapshot_parameters_reach_a_direct_plugin_by_either_name(world: World) -> None:
    source = linked_source(world)
    taken = world.run(linked.sync, source=source, snapshot_parameters={"resync": True})
    assert world.calls()[0]["snapshot_parameters"] == {"resync": True}
    assert world.records.snapshot(taken["snapshot"]).parameters == {"resync": True}


# sizes and secrets


def test_a_result_that_is_too_large_is_a_clear_error_and_leaves_nothing(world: World) -> None:
    _, snapshot = synced_source(world)
    before = world.volumes()
    world.order(virtual_configure="SourceConfigDefinition(name='x' * (5 << 20))")
    with pytest.raises(TooLarge, match=r"virtual\.configure .*4 MiB"):
        world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot))
    assert world.volumes() == before


def test_a_secret_that_a_plugin_returns_is_not_kept(make_world: MakeWorld) -> None:
    schema = {
        "snapshotDefinition": {
            "type": "object",
            "properties": {"text": {"type": "string", "format": "password"}},
        }
    }
    world = make_world(schema=schema)
    _, snapshot = synced_source(world)
    assert world.records.snapshot(snapshot).value == {"text": "********"}


def test_what_a_plugin_prints_goes_into_the_job(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = linked_source(world)
    world.order(linked_pre_snapshot="print('hello from the plugin')")
    job = world.job()
    world.run(linked.sync, job, source=source)
    assert "hello from the plugin" in job.lines


def test_operations_run_as_the_chosen_user(world: World, tmp_path: Path) -> None:
    user = world.user()
    _, snapshot = synced_source(world)
    world.run(virtual.provision, **world.new("vdb", "clone", origin=snapshot, user=user.reference))
    (mounted,) = world.mounting.mounted["VDB-1"]
    assert mounted.placement.user == user.reference
