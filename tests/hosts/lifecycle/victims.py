"""Processes of the kill tests: what prepares, what is killed in the middle of a job, what comes next.

Each is a function for a process of its own, on the state of a :class:`Site`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlpx_remote.engine import Engine
from dlpx_remote.engine_sources import Given, Hook, Script
from dlpx_remote.jobs.durable import Durable
from dlpx_remote.jobs.records import Records
from tests.hosts.lifecycle.site import Site

POINTS = ("begun", "effect", "recorded")
"""Before the effect; after it and before its record; after that."""

BAD = Script(script="echo it does not work; exit 1")


def _path(site: Site, name: str) -> Given:
    return Given({"path": str(site.targets / name)})


def _link(engine: Engine, site: Site, *, staged: bool = False) -> str:
    plugin = "Staged trees" if staged else "Trees"
    more: dict[str, Any] = {"staging": "here", "parameters": _path(site, "staging")} if staged else {}
    return engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin=plugin, **more)


def _provision(engine: Engine, site: Site, hooks: tuple[Hook, ...] = ()) -> str:
    return engine.vdbs.provision("one", "orders", "here", parameters=_path(site, "one"), hooks=hooks)


def _bad(event: str) -> list[Hook]:
    return [Hook(event, "bad", BAD)]


Ask = Callable[[Engine, Site], str]

LINKED: tuple[Ask, ...] = (_link,)
SYNCED: tuple[Ask, ...] = (*LINKED, lambda engine, _site: engine.dsources.sync("orders"))
CLONED: tuple[Ask, ...] = (
    *SYNCED,
    _provision,
    lambda engine, _site: engine.vdbs.snapshot("one"),
    lambda engine, _site: engine.dsources.sync("orders"),
)
REFRESHED: tuple[Ask, ...] = (*CLONED, lambda engine, _site: engine.vdbs.refresh("one"))
STAGED_LINKED: tuple[Ask, ...] = (lambda engine, site: _link(engine, site, staged=True),)
STAGED: tuple[Ask, ...] = (*STAGED_LINKED, lambda engine, _site: engine.dsources.sync("orders"))

BEFORE: dict[str, tuple[Ask, ...]] = {
    "nothing": (),
    "linked": LINKED,
    "synced": SYNCED,
    "disabled dSource": (*SYNCED, lambda engine, _site: engine.dsources.disable("orders")),
    "cloned": CLONED,
    "refreshed": REFRESHED,
    "stopped": (*CLONED, lambda engine, _site: engine.vdbs.stop("one")),
    "disabled": (*CLONED, lambda engine, _site: engine.vdbs.disable("one")),
    "staged, linked": STAGED_LINKED,
    "staged": STAGED,
    "staged, disabled": (*STAGED, lambda engine, _site: engine.dsources.disable("orders")),
}
"""What is there before an operation, by name, as the operations that make it."""

OPERATIONS: dict[str, tuple[str, Ask]] = {
    "dsource link": ("nothing", _link),
    "dsource sync": ("linked", lambda engine, _site: engine.dsources.sync("orders")),
    "dsource sync, failing": (
        "linked",
        lambda engine, _site: engine.dsources.sync("orders", hooks=_bad("pre-sync")),
    ),
    "dsource disable": ("synced", lambda engine, _site: engine.dsources.disable("orders")),
    "dsource enable": ("disabled dSource", lambda engine, _site: engine.dsources.enable("orders")),
    "dsource delete": ("synced", lambda engine, _site: engine.dsources.delete("orders")),
    "dsource delete --force": ("cloned", lambda engine, _site: engine.dsources.delete("orders", force=True)),
    "staged sync": ("staged, linked", lambda engine, _site: engine.dsources.sync("orders")),
    "staged sync again": ("staged", lambda engine, _site: engine.dsources.sync("orders")),
    "staged disable": ("staged", lambda engine, _site: engine.dsources.disable("orders")),
    "staged enable": ("staged, disabled", lambda engine, _site: engine.dsources.enable("orders")),
    "staged restart": ("staged", lambda engine, _site: engine.dsources.restart("orders")),
    "staged delete": ("staged", lambda engine, _site: engine.dsources.delete("orders")),
    "vdb provision": ("synced", _provision),
    "vdb provision, failing": (
        "synced",
        lambda engine, site: _provision(engine, site, (Hook("configure-clone", "bad", BAD),)),
    ),
    "vdb create-empty": (
        "synced",
        lambda engine, site: engine.vdbs.create_empty("one", "Trees", "here", parameters=_path(site, "one")),
    ),
    "vdb snapshot": ("cloned", lambda engine, _site: engine.vdbs.snapshot("one")),
    "vdb refresh": ("cloned", lambda engine, _site: engine.vdbs.refresh("one")),
    "vdb refresh again": ("refreshed", lambda engine, _site: engine.vdbs.refresh("one")),
    "vdb refresh, failing": (
        "cloned",
        lambda engine, _site: engine.vdbs.refresh("one", hooks=_bad("post-refresh")),
    ),
    "vdb rollback": ("cloned", lambda engine, _site: engine.vdbs.rollback("one")),
    "vdb rollback, failing": (
        "cloned",
        lambda engine, _site: engine.vdbs.rollback("one", hooks=_bad("post-rollback")),
    ),
    "vdb undo": ("refreshed", lambda engine, _site: engine.vdbs.undo("one")),
    "vdb start": ("stopped", lambda engine, _site: engine.vdbs.start("one")),
    "vdb stop": ("cloned", lambda engine, _site: engine.vdbs.stop("one")),
    "vdb disable": ("cloned", lambda engine, _site: engine.vdbs.disable("one")),
    "vdb enable": ("disabled", lambda engine, _site: engine.vdbs.enable("one")),
    "vdb delete": ("cloned", lambda engine, _site: engine.vdbs.delete("one")),
    "snapshot delete": ("synced", lambda engine, _site: engine.snapshots.delete("SNAPSHOT-1")),
}
"""What is killed, by name: what is there before, and the operation."""


@dataclass(frozen=True)
class Outcome:
    """What the next process found and did.

    Attributes:
        state: of the job.
        failure: why it did not succeed.
        steps: title, state and whether it is to be run once, in order.
        sources: name to state of every dSource and VDB.
        volumes: that the records name.
        mounted: mount points that the records ask for.
        seconds: until the job had ended.
    """

    state: str
    failure: str
    steps: list[tuple[str, str, bool]]
    sources: dict[str, str]
    volumes: list[str]
    mounted: list[str]
    seconds: float


def make(root: Path, name: str) -> None:
    """Make what is there before an operation, and take the mounts away as a reboot does."""
    site = Site(root)
    with site.open() as engine:
        for ask in BEFORE[name]:
            engine.jobs.result(ask(engine, site))
    site.unmount_all()


def rehearse(root: Path, operation: str, output: Path) -> None:
    """Run an operation to its end and say what steps it has."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        job = engine.jobs.follow(OPERATIONS[operation][1](engine, site))
    output.write_text(json.dumps([step.title for step in job.steps]))


def run_until_killed(root: Path, operation: str, number: int, point: str) -> None:
    """Run an operation, and die at a point of its step of that number."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        (root / "calls").unlink(missing_ok=True)
        _arm(number, point)
        engine.jobs.follow(OPERATIONS[operation][1](engine, site))


def come_next(root: Path, output: Path, seconds: float) -> None:
    """Take over what a dead process has left; say what is there then."""
    site = Site(root)
    began = time.monotonic()
    with site.open() as engine:
        job = engine.jobs.all()[-1]
        engine.jobs.adopt(job.reference)
        ended = engine.jobs.follow(job.reference, timeout=seconds)
        took = time.monotonic() - began
        outcome = Outcome(
            state=ended.state,
            failure=ended.failure.message if ended.failure else "",
            steps=[(step.title, step.state, step.once) for step in ended.steps],
            sources={source.name: source.state for source in [*engine.dsources.all(), *engine.vdbs.all()]},
            volumes=_volumes(engine),
            mounted=[
                mount.mount_path
                for source in [*engine.dsources.all(), *engine.vdbs.all()]
                if source.state == "enabled"
                for mount in source.mounts
            ],
            seconds=took,
        )
    output.write_text(json.dumps(asdict(outcome)))


def clear(root: Path) -> None:
    """Delete everything, as an operator would."""
    site = Site(root)
    with site.open() as engine:
        for source in engine.dsources.all():
            engine.jobs.result(engine.dsources.delete(source.name, force=True))
        for source in engine.vdbs.all():
            engine.jobs.result(engine.vdbs.delete(source.name))
        left = [source.name for source in [*engine.dsources.all(), *engine.vdbs.all()]]
        if left:
            job = engine.jobs.all()[-1]
            said = [line.line for line in engine.jobs.lines(job.reference)]
            raise AssertionError(f"{left} cannot be deleted: {said}")


def remount(engine: Engine) -> None:
    """Mount again what a reboot has unmounted."""
    life = engine._life
    rooms = life.rooms()
    for source in life.records.all():
        if source.state == "enabled" and source.current.mounts:
            rooms.attaching.attach(
                source, source.current, rooms.pool.path(source.current.volume), root_squash=True, job="JOB-0"
            )


def _volumes(engine: Engine) -> list[str]:
    """What the records name."""
    records = engine._life.records
    footings = [
        footing
        for source in records.all()
        for footing in (source.current, source.previous, *source.retired)
        if footing is not None
    ]
    return sorted(
        {footing.volume for footing in footings} | {snapshot.reference for snapshot in records.snapshots()}
    )


def _arm(number: int, point: str) -> None:
    begin, journal = Records.begin_step, Durable.journal
    last = 0

    def die_at(here: str) -> None:
        if (last, here) == (number, point):
            os.kill(os.getpid(), signal.SIGKILL)

    def begin_step(self: Records, job: Any, step: int, title: str, **more: Any) -> Any:
        nonlocal last
        last = step
        known = begin(self, job, step, title, **more)
        die_at("begun")
        return known

    def journaled(self: Durable, action: Callable[[], str]) -> str:
        def then_die() -> str:
            outcome = action()
            die_at("effect")
            return outcome

        outcome = journal(self, then_die)
        die_at("recorded")
        return outcome

    setattr(Records, "begin_step", begin_step)  # noqa: B010 - mypy knows no other way to replace a method
    setattr(Durable, "journal", journaled)  # noqa: B010
