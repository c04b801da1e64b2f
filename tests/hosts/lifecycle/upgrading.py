"""Plugin upgrades that are killed: every stored object is of the old build then, or every one of the new.

An upgrade is no job: its only effects are the copy of the new build, and one transaction that changes every
stored object and the build in use. It can be asked for again, and the objects work with the new build.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dlpx_remote.engine import Engine
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.plugins import install
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.upgrading import Upgrade, stored_objects
from tests.hosts.lifecycle.site import Site
from tests.hosts.lifecycle.trees import TREES, write_trees
from tests.hosts.lifecycle.victims import Step, clear, remount

UPGRADE = "plugin upgrade"
"""What the kill sweep calls it."""
BEFORE = "cloned"
OBJECTS = 10
"""What is stored of the plugin then: a repository, two source configs, a dSource, a VDB, what that stands on,
and two snapshots of each."""
POINTS = (
    "the first file is copied",
    "the build is copied",
    *(f"object {number} is to be migrated" for number in range(1, OBJECTS + 1)),
    "all is written but not committed",
    "it is committed",
)


STEPS = [Step(point, False) for point in POINTS]


@dataclass(frozen=True)
class Found:
    """What the next process found and did.

    Attributes:
        build: in use when it came.
        migrated: how many of the stored objects were of the new build then.
        stored: how many there were.
        changed: what adding the new build again said.
        migrated_then, stored_then: the same after that.
        unfinished: what is left of copies of builds.
        jobs: how a sync and a refresh with the new build ended.
        said: what stood against deleting everything.
    """

    build: str
    migrated: int
    stored: int
    changed: str
    migrated_then: int
    stored_then: int
    unfinished: list[str]
    jobs: list[str]
    said: str


def judge(number: int, found: Found) -> None:
    """What must hold after an upgrade was killed at the point of that number, from 1."""
    done = number == len(POINTS)
    there = (found.build, found.migrated, found.stored)
    assert there == (("2.0", OBJECTS, OBJECTS) if done else ("1.0", 0, OBJECTS)), found
    assert found.changed == ("unchanged" if done else "upgraded"), found
    assert (found.migrated_then, found.stored_then) == (OBJECTS, OBJECTS), found
    assert found.unfinished == [], found
    assert found.jobs == ["succeeded", "succeeded"], found
    assert found.said == "", found


def upgrade_until_killed(root: Path, point: str) -> None:
    """Add a newer build of the plugin, and die at a point of that."""
    site = Site(root)
    _arm(point)
    with site.open() as engine:
        engine.add_plugin(_newer(site))


def come_next(root: Path, told: Connection) -> None:
    """Say what is there, add the build again, work with it, and delete everything."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        build, (migrated, stored) = engine.plugin(TREES).summary.build_number, _rounds(engine)
        changed = engine.add_plugin(_newer(site)).changed
        migrated_then, stored_then = _rounds(engine)
        jobs = [engine.dsources.sync("orders"), engine.vdbs.refresh("one")]
        states = [str(engine.jobs.follow(job).state) for job in jobs]
    unfinished = [path.name for path in (site.state / "plugins").iterdir() if path.name.startswith(".")]
    said = clear(site)
    told.send(Found(build, migrated, stored, changed, migrated_then, stored_then, unfinished, states, said))


def _newer(site: Site) -> Path:
    directory = site.root / "newer plugin"
    if not directory.exists():
        write_trees(directory, site.sources, extended_hooks=True, newer=True)
    return directory


def _rounds(engine: Engine) -> tuple[int, int]:
    """How many stored objects a migration has been over, and how many there are."""
    with engine._store.read() as session:
        values = [one.value for one in stored_objects(session, TREES)]
    return sum("round" in value for value in values), len(values)


def _arm(point: str) -> None:
    migrations = 0

    def die_at(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(owner: Any, name: str, here: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            result = original(*arguments, **more)
            die_at(here)
            return result

        setattr(owner, name, wrapped)

    migrate = Dispatcher.migrate

    def counted(self: Dispatcher, *arguments: Any, **more: Any) -> Any:
        nonlocal migrations
        migrations += 1
        die_at(f"object {migrations} is to be migrated")
        return migrate(self, *arguments, **more)

    setattr(Dispatcher, "migrate", counted)  # noqa: B010 - mypy knows no other way to replace a method
    after(install, "_flush", "the first file is copied")
    after(install, "load_plugin", "the build is copied")
    after(Upgrade, "apply", "all is written but not committed")
    after(Plugins, "_record", "it is committed")
