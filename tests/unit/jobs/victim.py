"""A process that runs jobs and is killed at a chosen point, and the workflow that it runs.

What the workflow does to the world are lines in a file, which the test reads from outside.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.durable import Durable
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.liveness import Watch
from dlpx_remote.jobs.model import Limits
from dlpx_remote.jobs.queue import Queue
from dlpx_remote.jobs.records import Records
from dlpx_remote.store import Store

POINTS_OF_A_STEP = ("before", "begun", "effect", "ended", "journaled")
"""Before anything; written down as begun; after the effect; on the way to the journal; in the journal."""
POINTS_OF_A_JOB = ("asked", "taken", "taken up", "ending", "ended")

FORWARD = ("make data set", "clone", "call plugin", "mount", "run hook")
ONCE = ("call plugin", "run hook")


class NotToday(RemoteError):
    """What the failing variant fails with."""


def effect(request: Request, words: str) -> None:
    """Something that happens in the world: a line in a file, on the disk when this returns."""
    descriptor = os.open(request["world"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{words}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


def world(request: Request) -> list[str]:
    """All that has happened, in order."""
    path = Path(request["world"])
    return path.read_text().splitlines() if path.exists() else []


def life(job: Job, request: Request) -> Any:
    """Five steps, two of which must not be run twice; a failure is undone in the opposite order."""
    job.expect(len(FORWARD))
    done: list[str] = []

    def act(title: str) -> int:
        effect(request, f"do {title}")
        _die_at(title, "effect")
        return len(done)

    def undo(title: str) -> None:
        effect(request, f"undo {title}")
        _die_at(f"undo {title}", "effect")

    try:
        for title in FORWARD:
            run = job.once if title in ONCE else job.step
            done.append(title)
            run(title, lambda title=title: act(title))  # type: ignore[misc]
        if request.get("fails"):
            raise NotToday("It does not work today.")
        return {"steps": len(done)}
    except Exception as reason:
        job.compensating(reason)
        for title in reversed(done):
            job.step(f"undo {title}", lambda title=title: undo(title))  # type: ignore[misc]
        raise


def run_until_killed(state: str, request: Request, title: str, point: str) -> None:
    """Ask for the job and follow it, until the point is reached and this process kills itself."""
    global _where
    _where = (title, point)
    _arm()
    store = Store(Path(state))
    jobs = Jobs(store, {"life": life}, limits=Limits(overall=1000))  # the dead count until they have heirs
    if point == "asked":
        _after(Queue, "add", lambda: _die_at("", "asked"))
    elif point == "taken":
        _after(Queue, "take", lambda: _die_at("", "taken"), when=bool)
    jobs.result(jobs.submit("life", request, "live", locks=[f"data set {request['name']}"]))
    _die()


def recover(state: str, seconds: float) -> None:
    """Be the next process, until every job has ended or the time is up."""
    store = Store(Path(state))
    with Jobs(store, {"life": life}) as jobs:
        jobs.open_for_work()
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(not job.state.ended for job in jobs.all(newest=1000)):
            time.sleep(0.1)


_where: tuple[str, str] = ("", "")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(title: str, point: str) -> None:
    if (title, point) == _where:
        _die()


def _arm() -> None:
    Watch.dead = lambda *_: False  # type: ignore[method-assign]  # leave the other victims to the heir
    begin, journal = Records.begin_step, Durable.journal
    last = ""

    def begin_step(self: Records, job: Any, number: int, title: str, **more: Any) -> Any:
        nonlocal last
        last = title
        _die_at(title, "before")
        known = begin(self, job, number, title, **more)
        _die_at(title, "begun")
        return known

    def journaled(self: Durable, action: Callable[[], str]) -> str:
        def then_die() -> str:
            outcome = action()
            _die_at(last, "ended")
            return outcome

        outcome = journal(self, then_die)
        _die_at(last, "journaled")
        return outcome

    Records.begin_step = begin_step  # type: ignore[method-assign]
    Durable.journal = journaled  # type: ignore[method-assign]
    _after(Records, "begin", lambda: _die_at("", "taken up"))
    _before(Records, "finish", lambda: _die_at("", "ending"))
    _after(Records, "finish", lambda: _die_at("", "ended"))


def _after(
    owner: type, name: str, then: Callable[[], Any], when: Callable[[Any], bool] = lambda _: True
) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more)
        if when(result):
            then()
        return result

    setattr(owner, name, wrapped)


def _before(owner: type, name: str, first: Callable[[], Any]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **more: Any) -> Any:
        first()
        return original(*arguments, **more)

    setattr(owner, name, wrapped)
