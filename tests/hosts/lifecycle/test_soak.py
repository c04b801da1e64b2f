"""Random kills of workers under concurrent engine operations on a Btrfs pool: no invariant is broken.

Some seconds in the suite; ``tox -e soak`` for as long as wanted (``--soak-minutes``), with the kills 1 to 30
seconds apart. Every few minutes nothing new is asked for, and what is there is seen from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.engine import Engine
from dlpx_remote.jobs.base import JobError
from dlpx_remote.jobs.model import JobDetails, JobState
from dlpx_remote.workflows.source_records import TAKING
from tests import side_by_side
from tests.hosts.lifecycle.site import NOTHING, Site
from tests.hosts.lifecycle.soaking import DSOURCES, ENVIRONMENTS, Asker, begun, work
from tests.hosts.lifecycle.test_kills import processes
from tests.hosts.sshd import Sshd
from tests.storage.file_systems import MIB, in_memory, mounted

_WORKERS = 3
_SHORT = 5.0  # seconds
_ROUND = 240.0  # seconds between two looks from outside
_PATIENCE = 180.0  # seconds for all that was asked for to end
_TYPED = re.compile(
    "nobody knows how far it came|is (disabled|enabled|creating|broken)|There is no|is still needed by"
    "|still in use by|is no longer there|has no snapshot|already|was cancelled"
    "|neither refreshed nor rolled back"
)
"""What a job may say that did not succeed and was not undone: a plugin operation or hook was cut off, or what
was there when it began is not what was there when it was asked for."""


class Soak:
    """Workers on a site, killed at random.

    Args:
        site: ready.
        url: of the database; None for a file.
        seed: of everything random.
        say: tells people.
    """

    def __init__(self, site: Site, url: str | None, seed: int, say: Callable[[str], None]) -> None:
        self._site = site
        self._url = url
        self._say = say
        self._chance = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["tests.hosts.lifecycle.soaking", "dbos", "paramiko", "jsonschema"]
        )
        self._seen: dict[str, str] = {}
        self.states: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.kills = 0
        self.taken_over = 0
        self._workers = [self._worker() for _ in range(_WORKERS)]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.kill()
            worker.join()

    def round(self, engine: Engine, seconds: float, pause: tuple[float, float]) -> None:
        """Ask, and kill; then see what is there."""
        asker = Asker(self._site, engine, self._chance)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            next_kill = time.monotonic() + self._chance.uniform(*pause)
            while time.monotonic() < min(next_kill, until):
                asker.turn()
                time.sleep(0.1)
            victim = self._chance.randrange(_WORKERS)
            self._workers[victim].kill()
            self._workers[victim].join()
            self._workers[victim] = self._worker()
            self.kills += 1
        for job in engine.jobs.all((JobState.QUEUED,), newest=100):
            with contextlib.suppress(JobError):
                engine.jobs.cancel(job.reference)
        patience = time.monotonic() + _PATIENCE
        ended = [engine.jobs.follow(job, timeout=patience - time.monotonic()) for job in asker.asked]
        for job in ended:
            self._check(job)
            self.states[job.state] += 1
            self.operations[job.operation] += 1
            self.taken_over += job.attempt > 1
        self._check_once(ended)
        self._check_what_is_there(engine)
        self._say(
            f"{sum(self.states.values())} jobs, {self.kills} kills, {self.taken_over} taken over, "
            f"{dict(self.states)}; {asker.refused} refused at once"
        )

    def delete_everything(self, engine: Engine) -> dict[str, object]:
        """Delete all that is there, as an operator would; what is left then."""
        for source in engine.dsources.all():
            engine.jobs.follow(engine.dsources.delete(source.name, force=True), timeout=_PATIENCE)
        for source in engine.vdbs.all():
            engine.jobs.follow(engine.vdbs.delete(source.name, force=True), timeout=_PATIENCE)
        return self._site.left()

    def _worker(self) -> Any:
        process = self._context.Process(target=work, args=(str(self._site.root), self._url))
        process.start()
        return process

    def _check(self, job: JobDetails) -> None:
        said = f"{job.reference} {job.title}: {job.state}, {job.failure}, {job.steps}"
        assert job.state.ended, f"not ended: {said}"
        assert job.holds == (), said
        assert all(step.finished for step in job.steps), said
        if job.state is JobState.FAILED:
            cut_off = any(step.state == "interrupted" for step in job.steps)
            assert cut_off or (job.failure and _TYPED.search(job.failure.message)), said

    def _check_once(self, ended: list[JobDetails]) -> None:
        """Nothing that must not be run twice was begun more often than the job has steps for it."""
        times = begun(self._site)
        for job in ended:
            steps = Counter(step.title.partition(" of ")[0] for step in job.steps if step.once)
            for (reference, called), count in times.items():
                if reference == job.reference:
                    assert count <= steps[called], f"{reference} began {called} {count} times: {job.steps}"

    def _check_what_is_there(self, engine: Engine) -> None:
        site = self._site
        sources = engine._life.records.all()
        wrong = {source.name: source for source in sources if source.state not in ("enabled", "disabled")}
        jobs = [engine.jobs.get(job.reference) for job in engine.jobs.all(newest=200) if job.object in wrong]
        assert not wrong, f"{wrong}\n{told(jobs)}"
        footings = [footing for source in sources for footing in source.footings]
        snapshots = engine.snapshots.all()
        assert not [snapshot for snapshot in snapshots if snapshot.state == TAKING], snapshots
        volumes = {footing.volume for footing in footings} | {each.reference for each in snapshots}
        assert site.volumes() == volumes
        ledger = site.ledger()
        assert not [entry for entry in ledger if entry.split()[-1] in ("intended", "removing")], ledger
        assert {entry.split()[1] for entry in ledger if entry.startswith("volume ")} == volumes
        wanted = sorted(
            mount.mount_path
            for source in sources
            if source.state == "enabled"
            for mount in source.current.mounts
        )
        assert sorted(point for point in site.mounts() if point.startswith(f"{site.targets}/")) == wanted
        pool = site.root / "pool" / "volumes"
        for each in snapshots:
            digest = content(pool / each.reference)
            assert self._seen.setdefault(each.reference, digest) == digest, f"{each.reference} has changed"
        for source in sources:
            if source.kind == "vdb" and source.state == "enabled" and source.current.origin is not None:
                there = content(Path(source.current.mounts[0].mount_path))
                origin = source.current.origin
                if origin in {each.reference for each in snapshots}:
                    assert there == content(pool / origin), f"{source.name} is not what {origin} is"


def told(jobs: list[JobDetails]) -> str:
    """What jobs did, for people."""
    return "\n".join(
        f"{job.reference} {job.title}: {job.state}, attempt {job.attempt}, {job.failure}: "
        + "; ".join(f"{step.title} ({step.state})" for step in job.steps)
        for job in jobs
    )


def content(directory: Path) -> str:
    """A digest of what is in a tree, but for the "service" that runs in it."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != "RUNNING":
            digest.update(f"{path.relative_to(directory)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@pytest.fixture
def soaked(clean_home: Path) -> Iterator[tuple[Path, Sshd]]:
    """A Btrfs file system in memory, and a host."""
    with in_memory() as memory, mounted("btrfs", memory / "btrfs", 1024 * MIB) as root:
        (memory / "sshd").mkdir()
        with Sshd(memory / "sshd", ["UsePAM no", "MaxSessions 50", "MaxStartups 100"], quick=True) as server:
            yield root, server


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_invariant_is_broken(
    soaked: tuple[Path, Sshd],
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
    database: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, server = soaked
    minutes = pytestconfig.option.soak_minutes
    seed = pytestconfig.option.fault_seed
    url = request.getfixturevalue("postgresql_url") if database == "postgresql" else None

    def say(text: str) -> None:
        if minutes is not None:
            with capsys.disabled():
                side_by_side.say(pytestconfig, f"{database}: {text}")

    site = Site(root, url)
    site.prepare(server, "btrfs", sources=DSOURCES, environments=ENVIRONMENTS)
    left = _SHORT if minutes is None else 60 * minutes
    with site.open() as engine:
        soak = Soak(site, url, seed, say)
        try:
            while left > 0:
                began = time.monotonic()
                soak.round(engine, min(left, _ROUND), (1.0, 5.0) if minutes is None else (1.0, 30.0))
                left -= time.monotonic() - began
            say(f"{dict(soak.operations)}, seed {seed}")
            assert soak.delete_everything(engine) == NOTHING
        finally:
            soak.close()
            site.unmount_all()
    assert processes(root) == []
