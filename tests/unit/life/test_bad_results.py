"""Whatever a plugin returns or raises: a typed failure, an engine that is alive, and a next job that is fine.

Generated: a seeded sample here, 300 of each kind of plugin with ``--all-faults``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from dlpx_remote.environments.directories import HostDirectories
from dlpx_remote.operations import Dispatcher, LibraryCalls
from dlpx_remote.plugins.worker import PluginError, Workers
from dlpx_remote.workflows import linked, switching, virtual
from dlpx_remote.workflows.discovery import wire_connection
from tests.unit.life.conftest import linked_source
from tests.unit.life.world import World

SAMPLE, ALL = 25, 300

Run = Callable[[World], Any]


def _provision(world: World) -> Any:
    return world.run(virtual.provision, **world.new("vdb", "new", origin="SNAPSHOT-1"))


def _create_empty(world: World) -> Any:
    return world.run(virtual.create_empty, **world.new("vdb", "new"))


def _own_snapshot(world: World) -> str:
    return world.records.snapshots("VDB-1")[0].reference


RETURNING: dict[str, tuple[Run, ...]] = {
    "linked.post_snapshot": (lambda world: world.run(linked.sync, source="DSOURCE-1"),),
    "virtual.configure": (
        _provision,
        lambda world: world.run(switching.refresh, source="VDB-1", snapshot="SNAPSHOT-1"),
    ),
    "virtual.reconfigure": (
        lambda world: world.run(switching.rollback, source="VDB-1", snapshot=_own_snapshot(world)),
    ),
    "virtual.mount_specification": (
        _provision,
        _create_empty,
        lambda world: world.run(virtual.start, source="VDB-1"),
        lambda world: world.run(switching.refresh, source="VDB-1", snapshot="SNAPSHOT-1"),
    ),
    "virtual.post_snapshot": (lambda world: world.run(virtual.snapshot, source="VDB-1"),),
    "virtual.status": (lambda world: world.run(virtual.status, source="VDB-1"),),
    "virtual.initialize": (_create_empty,),
}
"""Operations whose result counts, and engine operations that call them."""


def _discover(operation: str, **arguments: Any) -> Run:
    def run(world: World) -> Any:
        account = world.north.primary_user
        directories = HostDirectories("/e", "/e/toolkit", "/e/scratch")
        connection = wire_connection(world.north, directories, account)
        with Dispatcher(
            world.rooms.workers,
            world.rooms.plugin(world.identifier),
            LibraryCalls(world),
            job="discovery",
        ) as session:
            return session.run(operation, source_connection=connection, **arguments)

    return run


STAGED_OR_DISCOVERY: dict[str, tuple[Run, ...]] = {
    "linked.mount_specification": (
        lambda world: world.run(linked.sync, source="DSOURCE-1"),
        lambda world: world.run(linked.restart, source="DSOURCE-1"),
    ),
    "linked.post_snapshot": (lambda world: world.run(linked.sync, source="DSOURCE-1"),),
    "linked.status": (lambda world: world.run(linked.status, source="DSOURCE-1"),),
    "discovery.repository": (_discover("discovery.repository"),),
    "discovery.source_config": (_discover("discovery.source_config", repository={"name": "installation"}),),
}
"""The same of a plugin that links by staging, and of discovery."""

IGNORING: dict[str, tuple[Run, ...]] = {
    "linked.pre_snapshot": (lambda world: world.run(linked.sync, source="DSOURCE-1"),),
    "virtual.pre_snapshot": (lambda world: world.run(virtual.snapshot, source="VDB-1"),),
    "virtual.start": (lambda world: world.run(virtual.start, source="VDB-1"),),
    "virtual.stop": (lambda world: world.run(virtual.stop, source="VDB-1"),),
    "virtual.unconfigure": (
        lambda world: world.run(switching.refresh, source="VDB-1", snapshot="SNAPSHOT-1"),
    ),
}
"""Operations that may return anything, because it is ignored."""

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
).map(lambda value: "NOTHING" if value is None else f"__import__('math') and {value!r}")

objects = st.sampled_from(
    [
        "object()",
        "Plugin()",
        "SourceConfigDefinition",
        "Status",
        "(one for one in range(3))",
        "lambda: 1",
        "[SourceConfigDefinition(name='x')]",
        "{'name': 'x'}",
        "RepositoryDefinition(name='x')",
        "SnapshotParametersDefinition()",
        "MountSpecification(mounts=[], ownership_specification=None).mounts",
        "type('Odd', (), {'to_dict': lambda self: {'name': 'x'}})()",
        "type('Odd', (str,), {'__repr__': lambda self: 1 / 0})()",
    ]
)

raising = st.one_of(
    st.sampled_from(
        [
            "1 / 0",
            "exec('raise SystemExit(3)')",
            "exec('raise KeyboardInterrupt')",
            "exec('raise GeneratorExit')",
            "exec('raise StopIteration')",
            "exec('raise Exception(b\"bytes\")')",
            "__import__('os')._exit(0)",
            "__import__('os')._exit(7)",
            "__import__('os').kill(__import__('os').getpid(), 9)",
            "exec('def deep(): deep()\\ndeep()')",
            "exec('class Odd(Exception):\\n    def __str__(self): return 5\\nraise Odd()')",
            "MountSpecification('nothing')",
            "Mount('somewhere', 5)",
            "fail(5)",
            "fail(message=None, action=[], output={})",
            "fail('x' * (1 << 18))",
            "libs.run_bash(None, 'true')",
        ]
    ),
    st.text(max_size=30).map(lambda text: f"fail({text!r})"),
    st.text(max_size=30).map(lambda text: f"exec({f'raise ValueError({text!r})'!r})"),
)

definitions = st.sampled_from(
    [
        "SourceConfigDefinition(name='x', port=0, validate=False)",
        "SourceConfigDefinition(validate=False)",
        "SnapshotDefinition(text=5, validate=False)",
        "SourceConfigDefinition(name='x' * (5 << 20))",
        "SnapshotDefinition(text='x' * (5 << 20))",
        "MountSpecification([Mount('UNIX_HOST_ENVIRONMENT-1', '')])",
    ]
)

bad = st.one_of(literals, objects, raising, definitions)
returning = st.tuples(st.sampled_from([(name, run) for name, runs in RETURNING.items() for run in runs]), bad)
of_staging_or_discovery = st.tuples(
    st.sampled_from([(name, run) for name, runs in STAGED_OR_DISCOVERY.items() for run in runs]), bad
)
FINE_FOR_DISCOVERY = ("and []", "[SourceConfigDefinition(name='x')]", ".mounts")
"""Ends of what would be a good result there: nothing was found, or just one."""
ignoring = st.tuples(
    st.sampled_from([(name, run) for name, runs in IGNORING.items() for run in runs]),
    st.one_of(literals, objects),
)


@pytest.fixture(scope="module", params=["direct", "staged"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workers: Workers
) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("bad_results"), workers, staged=request.param == "staged")
    linked_source(made)
    made.run(linked.sync, source="DSOURCE-1")
    made.run(virtual.provision, **made.new("vdb", "clone", origin="SNAPSHOT-1"))
    yield made
    made.close()


def state(world: World) -> tuple[object, ...]:
    """What a failure must leave as it was."""
    source = world.records.get("clone")
    return (
        [(each.name, each.state) for each in world.records.all()],
        (source.current.volume, source.active, source.previous),
        [each.reference for each in world.records.snapshots()],
        world.volumes(),
        sorted(world.mounting.mounted),
    )


def ask(world: World, operation: str, expression: str | None) -> None:
    """Have an operation give what an expression gives; None is as usual again."""
    world.order(**{operation.replace(".", "_", 1): expression})


def test_a_bad_result_is_a_typed_failure_and_the_next_job_is_fine(
    world: World, pytestconfig: pytest.Config
) -> None:
    failed = 0

    @seed(pytestconfig.option.fault_seed)
    @settings(
        max_examples=ALL if pytestconfig.option.all_faults else SAMPLE,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(of_staging_or_discovery if world.staged else returning)
    def play(example: tuple[tuple[str, Run], str]) -> None:
        nonlocal failed
        (operation, run), expression = example
        assume(not (operation.startswith("discovery.") and expression.endswith(FINE_FOR_DISCOVERY)))
        before = state(world)
        ask(world, operation, expression)
        try:
            with pytest.raises(PluginError) as caught:
                run(world)
            assert caught.value.message
            caught.value.message.encode()
            failed += 1
        finally:
            ask(world, operation, None)
        if operation == "virtual.reconfigure":  # without which the old state cannot come back either
            assert world.records.get("clone").state == "disabled"
            world.run(virtual.enable, source="VDB-1")
        assert state(world) == before
        assert world.run(virtual.status, source="VDB-1") == {"status": "ACTIVE"}

    play()
    assert failed >= SAMPLE // 2


def test_what_an_operation_without_a_result_returns_is_ignored(
    world: World, pytestconfig: pytest.Config
) -> None:
    @seed(pytestconfig.option.fault_seed)
    @settings(
        max_examples=30 if pytestconfig.option.all_faults else 5,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ignoring)
    def play(example: tuple[tuple[str, Run], str]) -> None:
        (operation, run), expression = example
        ask(world, operation, expression)
        try:
            run(world)
        finally:
            ask(world, operation, None)

    play()
