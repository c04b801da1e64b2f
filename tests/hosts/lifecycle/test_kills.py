"""SIGKILL before, after and between effect and record of the steps of every engine operation.

The next process finishes or undoes the job within 30 seconds; then everything that is there is seen from
outside. A seeded sample; all points with ``--all-faults`` (of one kind with ``--fault-phase effect``), or one
with ``--fault-point "vdb refresh/7/effect"``.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.lifecycle import victims
from tests.hosts.lifecycle.site import NOTHING, Site
from tests.hosts.lifecycle.victims import BEFORE, OPERATIONS, POINTS, Outcome
from tests.hosts.sshd import Sshd

RECOVERY = 30.0  # seconds that the next process has
SAMPLE = 4
PATIENCE = 120.0


class Stage:
    """A site on which operations are killed, one after the other: put back to what it was before each.

    Args:
        root: an empty directory.
        server: the host.
    """

    def __init__(self, root: Path, server: Sshd) -> None:
        self.site = Site(root / "site")
        self._kept = root / "kept"
        self._output = root / "output"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.hosts.lifecycle.victims", "dbos", "paramiko"])
        self._kept.mkdir()
        self.site.root.mkdir()
        self.site.prepare(server)
        shutil.copytree(self.site.root, self._kept / "nothing", symlinks=True)

    def put(self, before: str) -> None:
        """Have there what is to be there before an operation."""
        if not (self._kept / before).exists():
            self._put("nothing")
            self.process(victims.make, before)
            shutil.copytree(self.site.root, self._kept / before, symlinks=True)
        self._put(before)

    def steps(self, operation: str) -> list[str]:
        """The titles of the steps of an operation, from a rehearsal."""
        self.put(OPERATIONS[operation][0])
        self.process(victims.rehearse, operation, self._output)
        found: list[str] = json.loads(self._output.read_text())
        return found

    def kill(self, operation: str, number: int, point: str) -> Outcome:
        """Have an operation die at a point of a step, and the next process come."""
        self.put(OPERATIONS[operation][0])
        self.process(victims.run_until_killed, operation, number, point, dies=True)
        self.process(victims.come_next, self._output, RECOVERY)
        return Outcome(**json.loads(self._output.read_text()))

    def clear(self) -> dict[str, object]:
        """Delete everything; what is left then."""
        self.process(victims.clear)
        return self.site.left()

    def process(self, target: Callable[..., None], *arguments: object, dies: bool = False) -> None:
        """Run a function in a process of its own."""
        process = self._context.Process(target=target, args=(self.site.root, *arguments))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode == (-9 if dies else 0), f"{target.__name__}{arguments}: {process.exitcode}"

    def _put(self, before: str) -> None:
        self.site.unmount_all()
        shutil.rmtree(self.site.root)
        shutil.copytree(self._kept / before, self.site.root, symlinks=True)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("kills")
    directory = root / "sshd"
    directory.mkdir()
    with Sshd(directory, ["UsePAM no"], quick=True) as server:
        made = Stage(root, server)
        yield made
        made.site.unmount_all()


def chosen(config: pytest.Config, stage: Stage) -> list[tuple[str, int, str]]:
    """The points to be played; one operation is rehearsed for each of a sample, all for all."""
    if config.option.fault_point:
        named = [point.split("/") for point in config.option.fault_point]
        return [(operation, int(number), point) for operation, number, point in named]
    names = list(OPERATIONS)
    seeded = random.Random(config.option.fault_seed)
    if config.option.all_faults:
        every = [
            (operation, number, point)
            for operation in names
            for number in range(1, len(stage.steps(operation)) + 1)
            for point in POINTS
            if not config.option.fault_phase or point in config.option.fault_phase
        ]
        seeded.shuffle(every)  # what is interrupted has seen something of everything
        return every
    found = []
    for operation in seeded.sample(names, SAMPLE):
        number = seeded.randint(1, len(stage.steps(operation)))
        found.append((operation, number, seeded.choice(POINTS)))
    return found


def test_a_killed_operation_is_finished_or_undone_and_nothing_is_left_of_it(
    stage: Stage, pytestconfig: pytest.Config
) -> None:
    failures = []
    journal: Path | None = pytestconfig.option.fault_journal
    done = set(journal.read_text().splitlines()) if journal is not None and journal.exists() else set()
    points = [point for point in chosen(pytestconfig, stage) if "/".join(map(str, point)) not in done]
    for operation, number, point in points:
        name = f"{operation}/{number}/{point}"
        said = name
        try:
            judge(stage, operation, stage.kill(operation, number, point), number, point)
        except AssertionError as error:
            said = f"FAILED {name}: {' '.join(str(error).split())}"
            failures.append(said)
        if journal is not None:
            with journal.open("a") as file:
                file.write(f"{said}\n")
    assert not failures, f"{len(failures)} of {len(points)} points:\n" + "\n".join(failures)


def judge(stage: Stage, operation: str, outcome: Outcome, number: int, point: str) -> None:
    """What must hold after the next process has come."""
    site = stage.site
    assert outcome.seconds < RECOVERY, f"took {outcome.seconds:.0f} s"
    cut_off = outcome.steps[number - 1][2] and point != "recorded"
    if "failing" in operation:
        assert outcome.state in ("compensated", "failed"), outcome
    elif not cut_off or ("--force" in operation and outcome.state == "succeeded"):
        assert outcome.state == "succeeded", (
            outcome
        )  # forced, it goes on where a plugin operation was cut off
    else:
        assert outcome.state in ("compensated", "failed"), outcome
        assert "nobody knows how far it came" in outcome.failure, outcome
    assert set(outcome.sources.values()) <= {"enabled", "disabled"}, outcome.sources

    began = Counter(title.partition(" of ")[0] for title, _, once in outcome.steps if once)
    for called, times in Counter(site.calls()).items():
        assert times <= began[called], f"{called} was run {times} times, for {began[called]} steps"

    assert sorted(site.volumes()) == outcome.volumes, f"pool {site.volumes()}, records {outcome.volumes}"
    ledger = site.ledger()
    assert not [entry for entry in ledger if entry.split()[-1] in ("intended", "removing")], ledger
    assert sorted(entry.split()[1] for entry in ledger if entry.startswith("volume ")) == outcome.volumes
    below = f"{site.targets}/"
    mounted = [mount for mount in site.mounts() if mount.startswith(below)]
    assert sorted(mounted) == sorted(outcome.mounted), f"mounted {mounted}, asked for {outcome.mounted}"
    presented = [mount for mount in site.mounts() if not mount.startswith(below)]
    assert len(presented) == len([entry for entry in ledger if entry.startswith("presentation ")]), presented
    assert processes(site.root) == []
    left = stage.clear()
    assert left == NOTHING, left


def processes(root: Path, patience: float = 10.0) -> list[str]:
    """Processes that still work in a site, once those that are ending have ended."""
    deadline = time.monotonic() + patience
    while found := _at_work(root):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.05)
    return []


def _at_work(root: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = str((process / "cwd").readlink())
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if place.startswith(f"{root}/") or str(root) in words:
            found.append(f"{process.name}: {words} in {place}")
    return found


def test_every_engine_operation_is_killed() -> None:
    from dlpx_remote.workflows.engine_operations import OPERATIONS as ALL

    words = {name.split(",")[0].replace("staged", "dsource").removesuffix(" --force") for name in OPERATIONS}
    assert {name.removesuffix(" again") for name in words} == set(ALL) - {"dsource worker"}
    assert {before for before, _ in OPERATIONS.values()} <= set(BEFORE)
