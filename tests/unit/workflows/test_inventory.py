"""What discovery knows, in a real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dlpx_remote.environments.model import Environment, EnvironmentSpec
from dlpx_remote.environments.registry import Registry
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.store import Store
from dlpx_remote.store.models import PluginRow, RepositoryRow, SourceConfigRow
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.reconcile import DuplicateIdentity, Found
from dlpx_remote.workflows.report import DiscoveredRepository

PLUGIN = "16bef554-9470-11e9-b2e3-8c8590d4a42c"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    with store.write() as session:
        session.add(
            PluginRow(
                identifier=PLUGIN,
                name="files",
                plugin_type="DIRECT",
                host_types=["UNIX"],
                build_number="1",
                external_version="",
                manual_discovery=True,
                directory="/nowhere",
                operations=[],
                added=datetime.now(UTC),
            )
        )
    yield store
    store.close()


@pytest.fixture
def environment(store: Store) -> Environment:
    return Registry(store).add(EnvironmentSpec("db1", "localhost", user="anna"))


@pytest.fixture
def inventory(store: Store) -> Inventory:
    return Inventory(store)


def repository(path: str, *configs: Found, version: str = "1") -> Found:
    return Found(path, {"path": path}, {"path": path, "version": version}, configs)


def config(name: str, **parameters: Any) -> Found:
    return Found(name, {"name": name}, {"name": name, **parameters})


def discover(inventory: Inventory, environment: Environment, *found: Found) -> dict[str, str]:
    return changes(inventory.record(environment, PLUGIN, found, "job", datetime.now(UTC)))


def changes(repositories: tuple[DiscoveredRepository, ...]) -> dict[str, str]:
    result: dict[str, str] = {}
    for entry in repositories:
        result[entry.name] = entry.change
        for child in entry.source_configs:
            result[f"{entry.name}/{child.name}"] = child.change
    return result


def test_a_first_discovery_finds_everything_new(inventory: Inventory, environment: Environment) -> None:
    found = discover(inventory, environment, repository("/a", config("x"), config("y")), repository("/b"))
    assert found == {"/a": "new", "/a/x": "new", "/a/y": "new", "/b": "new"}


def test_the_next_discovery_tells_what_changed(inventory: Inventory, environment: Environment) -> None:
    discover(
        inventory,
        environment,
        repository("/a", config("x"), config("y", port=1)),
        repository("/b", config("z")),
    )
    found = discover(
        inventory, environment, repository("/a", config("y", port=2), config("w")), repository("/c")
    )
    assert found == {
        "/a": "unchanged",
        "/a/y": "changed",
        "/a/w": "new",
        "/a/x": "gone",
        "/c": "new",
        "/b": "gone",
        "/b/z": "gone",
    }
    assert changes(inventory.known(environment, PLUGIN)) == {
        "/a": "unchanged",
        "/a/x": "gone",
        "/a/y": "unchanged",
        "/a/w": "unchanged",
        "/b": "gone",
        "/b/z": "gone",
        "/c": "unchanged",
    }


def test_what_returns_keeps_its_reference(inventory: Inventory, environment: Environment) -> None:
    first = inventory.record(environment, PLUGIN, [repository("/a", config("x"))], "1", datetime.now(UTC))
    discover(inventory, environment)
    again = inventory.record(
        environment, PLUGIN, [repository("/a", config("x"), version="2")], "3", datetime.now(UTC)
    )
    assert changes(again) == {"/a": "returned", "/a/x": "returned"}
    assert again[0].reference == first[0].reference == "REPOSITORY-1"
    assert again[0].source_configs[0].reference == first[0].source_configs[0].reference == "SOURCE_CONFIG-1"
    assert again[0].parameters == {"path": "/a", "version": "2"}


def test_rows_say_when_and_by_whom_they_were_seen(
    store: Store, inventory: Inventory, environment: Environment
) -> None:
    begin = datetime.now(UTC)
    inventory.record(environment, PLUGIN, [repository("/a")], "first", begin)
    inventory.record(environment, PLUGIN, [repository("/a")], "second", datetime.now(UTC))
    inventory.record(environment, PLUGIN, [], "third", datetime.now(UTC))
    with store.read() as session:
        row = session.scalars(select(RepositoryRow)).one()
    assert (row.state, row.job, row.manual) == ("gone", "third", False)
    assert begin <= row.first_seen < row.last_seen < datetime.now(UTC)


def test_an_unusable_finding_leaves_what_was_known(inventory: Inventory, environment: Environment) -> None:
    discover(inventory, environment, repository("/a", config("x")))
    with pytest.raises(DuplicateIdentity):
        discover(inventory, environment, repository("/new"), repository("/b", config("y"), config("y")))
    assert changes(inventory.known(environment, PLUGIN)) == {"/a": "unchanged", "/a/x": "unchanged"}


def test_a_manual_source_config_survives_discoveries(inventory: Inventory, environment: Environment) -> None:
    discover(inventory, environment, repository("/a", config("x")))
    added = inventory.add_manual(environment, PLUGIN, "/a", config("mine", port=1))
    assert (added.change, added.reference) == ("manual", "SOURCE_CONFIG-2")
    assert discover(inventory, environment, repository("/a")) == {
        "/a": "unchanged",
        "/a/x": "gone",
        "/a/mine": "manual",
    }
    # found by the plugin too, with other values: the person's entry stays
    again = inventory.record(
        environment, PLUGIN, [repository("/a", config("mine", port=2))], "job", datetime.now(UTC)
    )
    assert again[0].source_configs[0].parameters == {"name": "mine", "port": 1}


def test_a_manual_source_config_needs_an_identity_of_its_own(
    inventory: Inventory, environment: Environment
) -> None:
    discover(inventory, environment, repository("/a", config("x")))
    with pytest.raises(
        AlreadyExists, match=r"has that source config already: 'x' \(SOURCE_CONFIG-1, present\)"
    ):
        inventory.add_manual(environment, PLUGIN, "REPOSITORY-1", config("x"))


def test_a_manual_source_config_needs_a_repository(inventory: Inventory, environment: Environment) -> None:
    with pytest.raises(NotFound, match="none at all") as caught:
        inventory.add_manual(environment, PLUGIN, "/a", config("x"))
    assert "dlpx-remote discover db1" in caught.value.action
    discover(inventory, environment, repository("/opt/a"))
    with pytest.raises(NotFound, match="no repository on db1 named '/opt/b'") as caught:
        inventory.add_manual(environment, PLUGIN, "/opt/b", config("x"))
    assert "'/opt/a'" in caught.value.action
    discover(inventory, environment)
    with pytest.raises(InvalidRequest, match="is gone from db1"):
        inventory.add_manual(environment, PLUGIN, "/opt/a", config("x"))


def test_a_name_that_two_repositories_share_is_not_guessed(
    inventory: Inventory, environment: Environment
) -> None:
    twins = [Found("same", {"path": path}, {"path": path}) for path in ("/a", "/b")]
    discover(inventory, environment, *twins)
    with pytest.raises(InvalidRequest, match="2 repositories named 'same'") as caught:
        inventory.add_manual(environment, PLUGIN, "same", config("x"))
    assert "REPOSITORY-1, REPOSITORY-2" in caught.value.action


def test_names_that_a_text_column_cannot_hold_are_made_storable(
    inventory: Inventory, environment: Environment
) -> None:
    odd = Found("a\x00b\ud800", {"path": "\ud800"}, {"path": "\ud800", "n": "\x00"})
    assert discover(inventory, environment, odd) == {"a\ufffdb?": "new"}
    assert discover(inventory, environment, odd) == {"a\ufffdb?": "unchanged"}


def test_a_removed_environment_takes_its_findings_along(
    store: Store, inventory: Inventory, environment: Environment
) -> None:
    discover(inventory, environment, repository("/a", config("x")))
    Registry(store).remove("db1")
    with store.read() as session:
        assert session.scalars(select(RepositoryRow)).all() == []
        assert session.scalars(select(SourceConfigRow)).all() == []
    with pytest.raises(NotFound):
        discover(inventory, environment, repository("/a"))


def test_discoveries_at_once_lose_nothing(inventory: Inventory, environment: Environment) -> None:
    started = datetime.now(UTC) - timedelta(seconds=1)
    errors: list[Exception] = []

    def run(number: int) -> None:
        try:
            inventory.record(
                environment, PLUGIN, [repository(f"/{number}", config("x"))], str(number), started
            )
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    known = inventory.known(environment, PLUGIN)
    assert {entry.name: entry.change for entry in known} == {f"/{number}": "unchanged" for number in range(8)}
    assert len({entry.reference for entry in known}) == 8
