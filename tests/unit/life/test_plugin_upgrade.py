"""A newer build of a plugin, with everything that the state holds of the older one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dlpx_remote.environments.model import EnvironmentSpec
from dlpx_remote.environments.registry import Registry
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import JobRow
from dlpx_remote.store.models import EnvironmentRow, PluginRow, RepositoryRow, SourceConfigRow, UserRow
from dlpx_remote.store.source_models import SnapshotRow, SourceRow
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.reconcile import Found
from dlpx_remote.workflows.upgrading import MigrationFailed
from tests.unit.plugins.on_disk import CODE, CONFIG, write_plugin

SECRET = "the-Moon-is-cheese"
OLD_SCHEMA: dict[str, Any] = {
    "sourceConfigDefinition": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "identityFields": ["name"],
        "nameField": "name",
    },
    "linkedSourceDefinition": {"type": "object", "properties": {"from": {"type": "string"}}},
    "virtualSourceDefinition": {"type": "object", "properties": {"port": {"type": "integer"}}},
    "snapshotDefinition": {"type": "object", "properties": {"at": {"type": "string"}}},
}


def requiring(definition: dict[str, Any], name: str) -> dict[str, Any]:
    """The definition with one more property, which must be there."""
    properties = {**definition["properties"], name: {"type": "integer"}}
    return {**definition, "properties": properties, "required": [name]}


NEW_SCHEMA = {
    "repositoryDefinition": {
        "type": "object",
        "properties": {"installPath": {"type": "string"}, "round": {"type": "integer"}},
        "required": ["installPath", "round"],
        "identityFields": ["installPath"],
        "nameField": "installPath",
    },
    **{name: requiring(schema, "round") for name, schema in OLD_SCHEMA.items()},
}
MIGRATIONS = CODE + "".join(
    f"""
@plugin.upgrade.{kind}("2.{number}")
def second_{kind}(old_{kind}):
    return {{**old_{kind}, "round": old_{kind}["half"] * 2}}

@plugin.upgrade.{kind}("1.{number}")
def first_{kind}(old_{kind}):
    return {{**old_{kind}, "half": {number}}}
"""
    for number, kind in enumerate(
        ("repository", "source_config", "linked_source", "virtual_source", "snapshot"), start=1
    )
)


class State:
    """An engine's state with a repository, a source config, a dSource, a VDB and a snapshot of each."""

    def __init__(self, root: Path, workers: Workers) -> None:
        self.root = root
        self.store = Store(root / "state")
        self.plugins = Plugins(self.store, root / "plugins", workers)
        self.plugins.add(self.build("1.0", CODE, OLD_SCHEMA))
        environment = Registry(self.store).add(EnvironmentSpec("north", "north.example", "ann"))
        config = Found("shop", {"name": "shop"}, {"name": "shop"})
        repository = Found("/opt", {"installPath": "/opt"}, {"installPath": "/opt"}, (config,))
        inventory = Inventory(self.store)
        inventory.record(environment, CONFIG["id"], [repository], "job", datetime.now(UTC))
        with self.store.write() as session:
            common = {
                "plugin_id": session.scalars(select(PluginRow.id)).one(),
                "repository_id": session.scalars(select(RepositoryRow.id)).one(),
                "environment_id": session.scalars(select(EnvironmentRow.id)).one(),
                "user_id": session.scalars(select(UserRow.id)).one(),
                "state": "enabled",
                "active": True,
                "generation": 1,
                "interval": 60,
                "status": "",
                "job": "job",
                "added": datetime.now(UTC),
                "changed": datetime.now(UTC),
            }
            footing = {"volume": "VDB-1", "source_config": {"name": "copy"}}
            session.add(
                SourceRow(
                    **common,
                    reference="DSOURCE-1",
                    guid="1",
                    kind="dsource",
                    name="shop",
                    parameters={"from": "/data"},
                    current={"volume": "DSOURCE-1", "source_config": None},
                    retired=[],
                    snapshots=[snapshot("SNAPSHOT-1", {"at": "noon"}), snapshot("SNAPSHOT-2", None)],
                )
            )
            session.add(
                SourceRow(
                    **common,
                    reference="VDB-1",
                    guid="2",
                    kind="vdb",
                    name="copy",
                    parameters={"port": 5433},
                    current=footing,
                    previous={**footing, "source_config": {"name": "before"}},
                    retired=[{**footing, "source_config": {"name": "long ago"}}],
                )
            )

    def build(self, number: str, code: str, schema: dict[str, Any], **config: str) -> Path:
        directory = self.root / f"build-{number}-{len(list(self.root.iterdir()))}"
        return write_plugin(directory, config={"buildNumber": number, **config}, schema=schema, code=code)

    def values(self) -> dict[str, Any]:
        """Every stored value by where it is."""
        with self.store.read() as session:
            (repository,) = session.scalars(select(RepositoryRow)).all()
            (config,) = session.scalars(select(SourceConfigRow)).all()
            linked, virtual = session.scalars(select(SourceRow).order_by(SourceRow.id)).all()
            return {
                "repository": repository.parameters,
                "identity": repository.identity,
                "source config": config.parameters,
                "dsource": linked.parameters,
                "snapshots": [one.value for one in linked.snapshots],
                "vdb": virtual.parameters,
                "current": virtual.current["source_config"],
                "previous": (virtual.previous or {})["source_config"],
                "retired": [one["source_config"] for one in virtual.retired],
                "build": session.scalars(select(PluginRow.build_number)).one(),
            }


def snapshot(reference: str, value: dict[str, Any] | None) -> SnapshotRow:
    return SnapshotRow(
        reference=reference,
        source_volume="DSOURCE-1",
        state="ready" if value else "taking",
        parameters=None,
        value=value,
        job="job",
        taken=datetime.now(UTC),
    )


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as running:
        yield running


@pytest.fixture
def state(tmp_path: Path, workers: Workers) -> Iterator[State]:
    made = State(tmp_path, workers)
    yield made
    made.store.close()


def test_every_stored_object_is_migrated_in_the_order_of_ids(state: State) -> None:
    details = state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))

    assert (details.changed, details.migrated) == ("upgraded", 8)
    assert state.values() == {
        "repository": {"installPath": "/opt", "half": 1, "round": 2},
        "identity": {"installPath": "/opt"},
        "source config": {"name": "shop", "half": 2, "round": 4},
        "dsource": {"from": "/data", "half": 3, "round": 6},
        "snapshots": [{"at": "noon", "half": 5, "round": 10}, None],
        "vdb": {"port": 5433, "half": 4, "round": 8},
        "current": {"name": "copy", "half": 2, "round": 4},
        "previous": {"name": "before", "half": 2, "round": 4},
        "retired": [{"name": "long ago", "half": 2, "round": 4}],
        "build": "2.0",
    }


def test_only_migrations_after_the_last_one_run_the_next_time(state: State) -> None:
    state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))
    third = (
        MIGRATIONS + '\n@plugin.upgrade.snapshot("3")\ndef third(old_snapshot):\n    return {"round": 1}\n'
    )

    state.plugins.add(state.build("3.0", third, NEW_SCHEMA))

    values = state.values()
    assert values["snapshots"] == [{"round": 1}, None]
    assert values["vdb"] == {"port": 5433, "half": 4, "round": 8}


def test_an_identity_that_a_migration_changes_is_the_one_that_discovery_will_find(state: State) -> None:
    moved = CODE + (
        '\n@plugin.upgrade.repository("1")\ndef move(old_repository):\n    return {"installPath": "/usr"}\n'
    )

    state.plugins.add(state.build("2.0", moved, OLD_SCHEMA))

    environment = Registry(state.store).get("north")
    found = Found("/usr", {"installPath": "/usr"}, {"installPath": "/usr"}, ())
    changes = Inventory(state.store).record(environment, CONFIG["id"], [found], "job", datetime.now(UTC))
    assert [one.change for one in changes] == ["unchanged"]
    assert state.values()["identity"] == {"installPath": "/usr"}


@pytest.mark.parametrize(
    ("code", "schema", "named", "said"),
    [
        (
            CODE
            + '\n@plugin.upgrade.virtual_source("1")\ndef f(old_virtual_source):\n    raise KeyError(1)\n',
            OLD_SCHEMA,
            "The VDB 'copy' (VDB-1)",
            "KeyError",
        ),
        (
            CODE + '\n@plugin.upgrade.snapshot("1")\ndef f(old_snapshot):\n    return {"at": 5}\n',
            OLD_SCHEMA,
            "The snapshot SNAPSHOT-1 of shop",
            "does not fit the snapshotDefinition",
        ),
        (
            CODE + '\n@plugin.upgrade.source_config("1")\ndef f(old_source_config):\n    return None\n',
            OLD_SCHEMA,
            "The source config 'shop'",
            "must return a dict",
        ),
        (CODE, NEW_SCHEMA, "The repository '/opt'", "does not fit the repositoryDefinition"),
        (
            CODE
            + '\n@plugin.upgrade.linked_source("1")\ndef f(old_linked_source):\n    import os; os._exit(3)\n',
            OLD_SCHEMA,
            "The dSource 'shop' (DSOURCE-1)",
            "",
        ),
    ],
)
def test_what_cannot_be_migrated_is_named_and_nothing_is_changed(
    state: State, code: str, schema: dict[str, Any], named: str, said: str
) -> None:
    before = state.values()

    with pytest.raises(MigrationFailed) as caught:
        state.plugins.add(state.build("2.0", code, schema))

    assert caught.value.message.startswith(f"{named} ") or named in caught.value.message
    assert said in str(caught.value) + caught.value.output
    assert "Nothing was changed" in caught.value.action
    assert state.values() == before
    state.plugins.add(state.build("2.1", MIGRATIONS, NEW_SCHEMA))
    assert state.values()["build"] == "2.1"


def test_a_secret_in_an_object_is_not_in_the_error(state: State) -> None:
    schema = json.loads(json.dumps(OLD_SCHEMA))
    schema["virtualSourceDefinition"]["properties"]["password"] = {"type": "string", "format": "password"}
    schema["virtualSourceDefinition"]["properties"]["password"]["maxLength"] = 3
    with state.store.write() as session:
        row = session.scalars(select(SourceRow).where(SourceRow.kind == "vdb")).one()
        row.parameters = {"password": SECRET}

    with pytest.raises(MigrationFailed) as caught:
        state.plugins.add(state.build("2.0", CODE, schema))

    assert "The VDB 'copy'" in caught.value.message
    assert SECRET not in str(caught.value) + caught.value.output


def test_a_build_that_lost_a_migration_is_refused(state: State) -> None:
    state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))
    lost = MIGRATIONS.replace('@plugin.upgrade.snapshot("1.5")\ndef first', "def first")

    with pytest.raises(InvalidRequest, match=r"lacks the migration 1\.5") as caught:
        state.plugins.add(state.build("3.0", lost, NEW_SCHEMA))
    assert "Keep every migration" in caught.value.action
    assert state.values()["build"] == "2.0"


def test_a_new_migration_before_the_last_one_is_refused(state: State) -> None:
    state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))
    late = (
        MIGRATIONS + '\n@plugin.upgrade.snapshot("1.9")\ndef late(old_snapshot):\n    return old_snapshot\n'
    )

    with pytest.raises(InvalidRequest, match=r"new migration 1\.9, which comes before 2\.5") as caught:
        state.plugins.add(state.build("3.0", late, NEW_SCHEMA))
    assert "above 2.5" in caught.value.action


def test_a_lower_build_is_refused(state: State) -> None:
    state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))

    with pytest.raises(InvalidRequest, match=r"Build 2\.0 of the plugin Kettle is there already"):
        state.plugins.add(state.build("1.9", CODE, OLD_SCHEMA))


def test_a_job_that_works_on_an_object_is_waited_for(state: State) -> None:
    with state.store.write() as session:
        session.add(
            JobRow(
                reference="JOB-4",
                workflow_id="w",
                operation="o",
                object="copy",
                title="t",
                request={},
                locks=[],
                hosts=[],
                state="running",
                attempt=1,
                version="1",
                output_bytes=0,
                created=datetime.now(UTC),
            )
        )

    with pytest.raises(InvalidRequest, match="still work on objects of the plugin: JOB-4"):
        state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))
    assert state.values()["build"] == "1.0"


def test_two_objects_that_would_become_one_are_named(state: State) -> None:
    environment = Registry(state.store).get("north")
    found = [Found(path, {"installPath": path}, {"installPath": path}, ()) for path in ("/opt", "/usr")]
    Inventory(state.store).record(environment, CONFIG["id"], found, "job", datetime.now(UTC))
    one = (
        CODE + '\n@plugin.upgrade.repository("1")\ndef f(old_repository):\n    return {"installPath": "/"}\n'
    )

    with pytest.raises(InvalidRequest, match="REPOSITORY-1 and REPOSITORY-2 would have one identity"):
        state.plugins.add(state.build("2.0", one, OLD_SCHEMA))


def test_objects_that_change_meanwhile_are_migrated_as_they_are_then(state: State) -> None:
    upgrade = state.plugins._upgrade
    migrate, times = upgrade.migrate, list[int]()

    def meanwhile(*arguments: Any) -> Any:
        migrated = migrate(*arguments)
        if not times:
            with state.store.write() as session:
                session.scalars(select(SourceRow).where(SourceRow.kind == "vdb")).one().parameters = {
                    "port": 7
                }
        times.append(1)
        return migrated

    upgrade.migrate = meanwhile  # type: ignore[method-assign, assignment]
    state.plugins.add(state.build("2.0", MIGRATIONS, NEW_SCHEMA))

    assert len(times) == 2
    assert state.values()["vdb"] == {"port": 7, "half": 4, "round": 8}
