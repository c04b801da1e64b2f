"""How large dSources and VDBs are: asked of the plugin on demand, and remembered."""

from __future__ import annotations

import pytest

from dlpx_remote.plugins.worker import WrongResult
from dlpx_remote.workflows import linked, virtual
from dlpx_remote.workflows.sources import SizeUnknown, WrongState
from tests.unit.life.conftest import MakeWorld, linked_source, provisioned, synced_source
from tests.unit.life.world import World


@pytest.mark.parametrize("staged", [False, True])
def test_the_size_of_a_dsource_is_what_its_plugin_says_once_there_are_data(
    make_world: MakeWorld, staged: bool
) -> None:
    world = make_world(staged=staged)
    source = linked_source(world)
    with pytest.raises(WrongState, match=r"orders has no data yet.* dsource sync orders"):
        world.run(linked.size, source=source)
    world.run(linked.sync, source=source)
    assert world.records.get("orders").size is None
    world.calls()
    assert world.run(linked.size, source=source) == {"size": 2**40}
    (call,) = world.calls()
    assert (call["operation"], call["source_config"]) == ("linked.source_size", {"name": "database"})
    assert call.get("mount") == ([["south", "/staging", None]] if staged else None)
    now = world.records.get("orders")
    assert now.size == 2**40
    assert now.size_time > now.added


def test_the_size_of_a_vdb_is_what_its_plugin_says(world: World) -> None:
    vdb = provisioned(world)
    assert world.run(virtual.size, source=vdb) == {"size": 4096}
    (call,) = world.calls()
    assert (call["operation"], call["source_config"]) == ("virtual.source_size", {"name": "configured"})
    assert world.records.get("clone").size == 4096


def test_what_is_disabled_is_not_asked(world: World) -> None:
    vdb = provisioned(world)
    world.run(virtual.disable, source=vdb)
    with pytest.raises(WrongState, match="The VDB clone is disabled"):
        world.run(virtual.size, source=vdb)


def test_a_plugin_that_does_not_say_it_is_named(make_world: MakeWorld) -> None:
    world = make_world(without=("linked.source_size", "virtual.source_size"))
    vdb = provisioned(world)
    with pytest.raises(SizeUnknown, match=r"how large clone is: its plugin, direct, has no virtual.source"):
        world.run(virtual.size, source=vdb)
    with pytest.raises(SizeUnknown, match=r"has no linked\.source_size\. What it takes in the pool"):
        world.run(linked.size, source="DSOURCE-1")


def test_a_size_that_cannot_be_is_refused_and_the_last_one_stays(world: World) -> None:
    source, _ = synced_source(world)
    world.run(linked.size, source=source)
    world.order(linked_source_size="-1")
    with pytest.raises(WrongResult, match="must return an int of 0 or more"):
        world.run(linked.size, source=source)
    assert world.records.get("orders").size == 2**40
