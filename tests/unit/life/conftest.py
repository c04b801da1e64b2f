"""A world for each test, on one fork server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.plugins.worker import Workers
from dlpx_remote.workflows import linked, virtual
from dlpx_remote.workflows.sources import Source
from tests.unit.life.world import World, copied
from tests.unit.plugins.worker.conftest import workers

__all__ = ["workers"]

MakeWorld = Callable[..., World]


@pytest.fixture(scope="session")
def templates() -> dict[str, Path]:
    """Directories of worlds by their options, to be copied."""
    return {}


@pytest.fixture
def make_world(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    workers: Workers,
    templates: dict[str, Path],
) -> Iterator[MakeWorld]:
    """``make_world(staged=True, …)``."""
    made: list[World] = []

    def make(**options: Any) -> World:
        key = repr(sorted(options.items()))
        if key not in templates:
            template = tmp_path_factory.mktemp("template")
            World(template, workers, **options).close()
            templates[key] = template
        root = tmp_path / f"world{len(made)}"
        copied(templates[key], root)
        made.append(World(root, workers, **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """With direct linking."""
    return make_world()


@pytest.fixture
def staged(make_world: MakeWorld) -> World:
    """With staged linking."""
    return make_world(staged=True)


def linked_source(world: World, name: str = "orders", **more: Any) -> Source:
    """A dSource, just linked."""
    world.run(linked.link, **world.new("dsource", name, **more))
    return world.records.get(name)


def synced_source(world: World, name: str = "orders") -> tuple[Source, str]:
    """A dSource with a snapshot."""
    source = linked_source(world, name)
    taken = world.run(linked.sync, source=source, snapshot_parameters={"resync": False})
    world.calls()
    return world.records.get(name), taken["snapshot"]


def provisioned(world: World, name: str = "clone", origin: str | None = None, **more: Any) -> Source:
    """A VDB of a snapshot."""
    snapshot = origin or synced_source(world)[1]
    world.run(virtual.provision, **world.new("vdb", name, origin=snapshot, **more))
    world.calls()
    return world.records.get(name)
