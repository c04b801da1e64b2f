"""Processes of the kill tests: what prepares, what is killed in the middle of a job, what comes next.

Each is a function for a process of its own, on the state of a :class:`Site`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dlpx_remote.engine import Engine
from dlpx_remote.jobs.durable import Durable
from dlpx_remote.jobs.records import Records
from tests.hosts.lifecycle.kill_table import BEFORE, OPERATIONS
from tests.hosts.lifecycle.site import Site

POINTS = ("begun", "effect", "recorded")
"""Before the effect; after it and before its record; after that."""


@dataclass(frozen=True)
class Step:
    """A step of an operation as it was rehearsed."""

    title: str
    undoing: bool


@dataclass(frozen=True)
class Outcome:
    """What the next process found and did.

    Attributes:
        state: of the job.
        failure: why it did not succeed.
        steps: title, state, whether it is to be run once and whether it undoes, in order.
        sources: name to state of every dSource and VDB.
        volumes: that the records name.
        mounted: mount points that the records ask for.
        seconds: until the job had ended.
    """

    state: str
    failure: str
    steps: list[tuple[str, str, bool, bool]]
    sources: dict[str, str]
    volumes: list[str]
    mounted: list[str]
    seconds: float


def make(root: Path, name: str) -> None:
    """Make what is there before an operation, of what is there before that; leave no mounts."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        for ask in BEFORE[name][1]:
            job = ask(engine, site)
            if job is not None:
                engine.jobs.result(job)
    site.unmount_all()


def rehearse(root: Path, operation: str, say: Connection) -> None:
    """Run an operation to its end and say what steps it has."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        job = engine.jobs.follow(_asked(engine, site, operation))
    say.send([Step(step.title, step.undoing) for step in job.steps])


def run_until_killed(root: Path, operation: str, number: int, point: str) -> None:
    """Run an operation, and die at a point of its step of that number."""
    site = Site(root)
    with site.open() as engine:
        remount(engine)
        (root / "calls").unlink(missing_ok=True)
        _arm(number, point)
        engine.jobs.follow(_asked(engine, site, operation))


def come_next(root: Path, operation: str, seconds: float, told: Connection) -> None:
    """Take over what a dead process has left, and say what is there then.

    When told to, ask again for what was not done, as its error says, and delete everything.
    """
    site = Site(root)
    began = time.monotonic()
    with site.open() as engine:
        job = engine.jobs.all()[-1]
        engine.jobs.adopt(job.reference)
        ended = engine.jobs.follow(job.reference, timeout=seconds)
        took = time.monotonic() - began
        said = [line.line for line in engine.jobs.lines(ended.reference)]
        done = ended.state == "succeeded" or any("what was asked for was done" in line for line in said)
        sources = [*engine.dsources.all(), *engine.vdbs.all()]
        outcome = Outcome(
            state=ended.state,
            failure=ended.failure.message if ended.failure else "",
            steps=[(step.title, step.state, step.once, step.undoing) for step in ended.steps],
            sources={source.name: source.state for source in sources},
            volumes=_volumes(engine),
            mounted=[
                mount.mount_path for source in sources if source.state == "enabled" for mount in source.mounts
            ],
            seconds=took,
        )
    told.send(outcome)
    told.recv()
    again = "" if done or OPERATIONS[operation].fails else _again(site, operation)
    told.send(again or clear(site))


def _again(site: Site, operation: str) -> str:
    """Ask for an operation once more; what stands against that."""
    with site.open() as engine:
        job = engine.jobs.follow(_asked(engine, site, operation))
        return "" if job.state == "succeeded" else f"asked for again it {job.state}: {job.failure}"


def clear(site: Site) -> str:
    """Delete everything, as an operator would; what stands against that."""
    with site.open() as engine:
        for source in engine.dsources.all():
            engine.jobs.follow(engine.dsources.delete(source.name, force=True))
        for source in engine.vdbs.all():
            engine.jobs.follow(engine.vdbs.delete(source.name))
        left = [source.name for source in [*engine.dsources.all(), *engine.vdbs.all()]]
        if left:
            job = engine.jobs.get(engine.jobs.all()[-1].reference)
            said = [line.line for line in engine.jobs.lines(job.reference)]
            return f"{left} cannot be deleted: {job.failure}: {said}"
    return ""


def remount(engine: Engine) -> None:
    """Mount again what a reboot has unmounted."""
    life = engine._life
    rooms = life.rooms()
    for source in life.records.all():
        if source.state == "enabled" and source.current.mounts:
            rooms.attaching.attach(
                source, source.current, rooms.pool.path(source.current.volume), root_squash=True, job="JOB-0"
            )


def _asked(engine: Engine, site: Site, operation: str) -> str:
    job = OPERATIONS[operation].ask(engine, site)
    assert job is not None
    return job


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
