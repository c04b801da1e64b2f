"""The soak test's workers, and the one who asks for jobs: any operation that is possible, on any object.

Workers note each plugin operation and hook that they really begin, with the job that it belongs to, in a
file: from it and the jobs' own records one sees whether anything was begun twice.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from dlpx_remote.engine import Engine, RemoteError
from dlpx_remote.engine_common import Asked
from dlpx_remote.engine_sources import Given, Hook, Script
from dlpx_remote.jobs.model import JobState
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.workflows.source_records import TAKING
from tests.hosts.lifecycle.site import Site

AT_ONCE = 8
DSOURCES = ("a", "b", "c", "d")
VDBS = tuple(f"v{number}" for number in range(8))
ENVIRONMENTS = ("here", "there")
"""Two, for no more than four jobs run on one host."""
_LATER = Asked(detach=True)
_WAITING = (JobState.QUEUED, JobState.RUNNING, JobState.COMPENSATING)


def work(root: str, url: str | None) -> None:
    """A worker; ends when it is killed, or when told to."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    site = Site(Path(root), url)
    _note_operations(site)
    with site.open() as engine:
        engine.jobs.work(AT_ONCE, stop)


def _note_operations(site: Site) -> None:
    run = Dispatcher.run

    def noted(self: Dispatcher, operation: str, /, **arguments: Any) -> Any:
        if self.implements(operation):
            line = f"{self._job} {operation}\n".encode()
            descriptor = os.open(site.root / "begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, line)
            os.close(descriptor)
        return run(self, operation, **arguments)

    setattr(Dispatcher, "run", noted)  # noqa: B010 - mypy knows no other way to replace a method


def begun(site: Site) -> Counter[tuple[str, str]]:
    """How often each plugin operation and hook was begun for each job."""
    file = site.root / "begun"
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter((line.partition(" ")[0], line.partition(" ")[2]) for line in lines)


class Asker:
    """Asks for jobs.

    Args:
        site: with ``DSOURCES`` to link, on ``ENVIRONMENTS``.
        engine: open there; it runs no jobs.
        chance: of what to ask for.

    Attributes:
        asked: the jobs.
        refused: requests that the engine refused at once, as what was there did not allow them.
    """

    def __init__(self, site: Site, engine: Engine, chance: random.Random) -> None:
        self.asked: list[str] = []
        self.refused = 0
        self._site = site
        self._engine = engine
        self._chance = chance
        self._version = 0

    def turn(self) -> None:
        """Ask for as many jobs as are missing, and now and then for the end of one."""
        jobs = self._engine.jobs.all(_WAITING)
        for _ in range(AT_ONCE + 2 - len(jobs)):
            try:
                job = self._ask()
            except RemoteError:
                self.refused += 1
            else:
                self.asked.append(job)
        if jobs and self._chance.random() < 0.03:
            try:
                self._engine.jobs.cancel(self._chance.choice(jobs).reference)
            except RemoteError:
                self.refused += 1

    def _ask(self) -> str:
        return self._ask_linked() if self._chance.random() < 0.3 else self._ask_virtual()

    def _ask_linked(self) -> str:
        name = self._chance.choice(DSOURCES)
        dsources = self._engine.dsources
        if name not in {source.name for source in dsources.all()}:
            hooks = self._hooks("pre-sync", "post-sync")
            where = ENVIRONMENTS[DSOURCES.index(name) % 2]
            config = str(self._site.sources / name)
            return dsources.link(name, where, config, plugin="Trees", hooks=hooks, asked=_LATER)
        source = dsources.get(name)
        if source.state != "enabled":
            return dsources.enable(name, asked=_LATER)
        act = self._chance.choices(("sync", "disable", "delete", "delete --force"), (20, 1, 1, 1))[0]
        if act == "disable":
            return dsources.disable(name, asked=_LATER)
        if act.startswith("delete"):
            return dsources.delete(name, force=act.endswith("force"), asked=_LATER)
        self._version += 1
        (self._site.sources / name / "version").write_text(str(self._version))
        return dsources.sync(name, asked=_LATER)

    def _ask_virtual(self) -> str:
        name = self._chance.choice(VDBS)
        vdbs = self._engine.vdbs
        if name not in {source.name for source in vdbs.all()}:
            return self._provision(name)
        vdb = vdbs.get(name)
        if vdb.state != "enabled":
            return vdbs.enable(name, asked=_LATER)
        act = self._chance.choices(
            ("snapshot", "refresh", "rollback", "undo", "stop", "start", "disable", "delete", "prune"),
            (4, 4, 4, 2, 1, 1, 1, 2, 2),
        )[0]
        if act == "prune":
            mine = [each for each in self._engine.snapshots.all() if each.state != TAKING]
            return self._engine.snapshots.delete(self._chance.choice(mine).reference, asked=_LATER)
        job: str = getattr(vdbs, act)(name, asked=_LATER)
        return job

    def _provision(self, name: str) -> str:
        where = ENVIRONMENTS[VDBS.index(name) % 2]
        events = ("configure-clone", "pre-refresh", "post-refresh", "pre-rollback", "pre-stop", "post-stop")
        return self._engine.vdbs.provision(
            name,
            self._chance.choice(DSOURCES),
            where,
            parameters=Given({"path": str(self._site.targets / name)}),
            hooks=self._hooks(*events),
            asked=_LATER,
        )

    def _hooks(self, *events: str) -> tuple[Hook, ...]:
        file, note = self._site.root / "begun", 'echo "$DLPX_JOB {0} hook note-{0}" >>{1}'
        return tuple(
            Hook(event, f"note-{event}", Script(script=note.format(event, file))) for event in events
        )
