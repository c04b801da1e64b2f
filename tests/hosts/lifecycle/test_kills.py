"""SIGKILL before, after and between effect and record of the steps of every engine operation; and in the
middle of a plugin upgrade.

The next process finishes or undoes the job within 30 seconds; then everything that is there is seen from
outside, what was cut off can be asked for again, and in the end all is deleted without a rest. A seeded
sample; all points with ``--all-faults``, which goes on where it was interrupted (``--fault-phase btrfs``: of
one pool only), or one with ``--fault-point "copy/vdb refresh/7/effect"``.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from dlpx_remote.storage.initialise import BackendKind
from tests.hosts.faults.journal import Progress
from tests.hosts.lifecycle import upgrading
from tests.hosts.lifecycle.kill_journal import KillJournal, Played, Point
from tests.hosts.lifecycle.kill_table import BEFORE, MINE, ON_BTRFS, OPERATIONS
from tests.hosts.lifecycle.site import NOTHING
from tests.hosts.lifecycle.stages import Stage
from tests.hosts.lifecycle.upgrading import UPGRADE
from tests.hosts.lifecycle.victims import POINTS, Outcome, Step
from tests.hosts.sshd import Sshd
from tests.side_by_side import Say
from tests.storage.file_systems import in_memory

RECOVERY = 30.0  # seconds that the next process has
SAMPLE = 4
POOLS: tuple[BackendKind, ...] = ("copy", "btrfs")

Work = TypeVar("Work")
Done = TypeVar("Done")
MakeLane = Callable[[], "Lane"]


class Lane:
    """A host, with a stage for each kind of pool.

    Args:
        stack: ends what it starts.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._root = stack.enter_context(in_memory())
        (self._root / "sshd").mkdir()
        self._server = stack.enter_context(Sshd(self._root / "sshd", ["UsePAM no"], quick=True))
        self._stages: dict[BackendKind, Stage] = {}

    def stage(self, pool: str) -> Stage:
        """The stage with a pool of that kind, made when it is needed first."""
        kind: BackendKind = "btrfs" if pool == "btrfs" else "copy"
        if kind not in self._stages:
            root = self._root / kind
            root.mkdir()
            self._stages[kind] = Stage(root, self._server, kind)
            self._stack.callback(self._stages[kind].close)
        return self._stages[kind]

    def play(self, point: Point) -> Played:
        """Kill at a point, and judge what comes after."""
        stage = self.stage(point.pool)
        seconds = 0.0
        try:
            if point.operation == UPGRADE:
                upgrading.judge(point.number, stage.upgraded(point.number))
            else:
                with stage.killed(point.operation, point.number, point.point, RECOVERY) as (outcome, clear):
                    seconds = outcome.seconds
                    judge(stage, point, outcome)
                    said = clear()
                    assert not said, said
            left = stage.site.left()
            assert left == NOTHING, left
        except AssertionError as error:
            return Played(point, seconds, " ".join(str(error).split()))
        return Played(point, seconds)


@contextmanager
def lanes() -> Iterator[MakeLane]:
    """Makes lanes, and ends them."""
    with ExitStack() as stack:
        yield lambda: Lane(stack)


def test_a_killed_operation_is_finished_or_undone_and_nothing_is_left_of_it(
    pytestconfig: pytest.Config, say: Say, clean_home: Path
) -> None:
    option = pytestconfig.option
    with lanes() as new_lane:
        if option.all_faults and not option.fault_point:
            played, missing = sweep(pytestconfig, [new_lane() for _ in range(option.fault_processes)], say)
        else:
            lane, missing = new_lane(), 0
            points = [Point.parse(text) for text in option.fault_point]
            played = [lane.play(point) for point in points or sample(lane, option.fault_seed)]
    wrong = sorted(f"{each.point}: {each.broken}" for each in played if each.broken)
    if wrong:
        wrong.insert(0, f"{len(wrong)} of {len(played)} points broke a promise:")
    if missing:
        wrong.append(f"{missing} points are not played yet: run it again to go on.")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def sample(lane: Lane, seed: int) -> Iterator[Point]:
    """Some points, each of another operation; only these are rehearsed."""
    seeded = random.Random(seed)
    names = [UPGRADE, *(name for name, killed in OPERATIONS.items() if not killed.fails)]
    for name in seeded.sample(names, SAMPLE):
        number = seeded.randint(1, len(lane.stage("copy").steps(name)))
        yield Point("copy", name, number, seeded.choice(points_of(name)))


def sweep(config: pytest.Config, made: list[Lane], say: Say) -> tuple[list[Played], int]:
    """Play every point that the journal does not know; all that is known, and how many are not played."""
    option = config.option
    journal = KillJournal(option.fault_journal or _journal(config))
    if not journal.steps or not list(remaining(journal, option.fault_phase)):
        journal.begin(rehearsed(made))
    points = list(remaining(journal, option.fault_phase))
    random.Random(option.fault_seed).shuffle(points)  # what is interrupted has seen something of everything
    points.sort(key=lambda point: is_said_twice(journal, point))
    total, before = len(journal.done) + len(points), len(journal.done)
    say(f"\n{total} points, {before} of them done before; journal: {journal.path}")
    progress = Progress(total, before)
    until = time.monotonic() + 60 * (option.fault_minutes or float("inf"))
    for played in in_lanes(made, (point for point in points if time.monotonic() < until), Lane.play):
        journal.add(played)
        if played.broken:
            say(f"broken: {played.point}: {played.broken}")
        for line in progress.lines(
            len(journal.done), sum(bool(each.broken) for each in journal.done.values())
        ):
            say(line)
    seconds = sorted(each.seconds for each in journal.done.values())
    if seconds:
        median = seconds[len(seconds) // 2]
        say(f"{len(seconds)} points; recovered in {median:.1f} s, at most {seconds[-1]:.1f} s")
    return list(journal.done.values()), len(list(remaining(journal, option.fault_phase)))


def rehearsed(made: list[Lane]) -> dict[str, list[Step]]:
    """The steps of every operation."""

    def rehearse(lane: Lane, name: str) -> tuple[str, list[Step]]:
        return name, lane.stage("copy").steps(name)

    return dict(in_lanes(made, iter((*OPERATIONS, UPGRADE)), rehearse))


def points_of(operation: str) -> tuple[str, ...]:
    """Where in a step of it a process dies."""
    return POINTS[:1] if operation == UPGRADE else POINTS


def remaining(journal: KillJournal, phases: list[str]) -> Iterator[Point]:
    """The points that are not done yet; only those of a pool or a point of steps, where one is named."""
    for operation, steps in journal.steps.items():
        for number, step in enumerate(steps, 1):
            if operation != UPGRADE and OPERATIONS[operation].undoing_only and not step.undoing:
                continue
            for pool in POOLS:
                if pool == "btrfs" and not step.title.startswith(ON_BTRFS):
                    continue
                for point in points_of(operation):
                    found = Point(pool, operation, number, point)
                    if found not in journal.done and (not phases or {pool, point} & set(phases)):
                        yield found


def is_said_twice(journal: KillJournal, point: Point) -> bool:
    """Whether a point is nearly another one: a step that only reads, or what is before the next step."""
    title = journal.steps[point.operation][point.number - 1].title
    return point.point == "recorded" or title.startswith(("read ", "prepare ", "see "))


def in_lanes(made: list[Lane], work: Iterable[Work], do: Callable[[Lane, Work], Done]) -> Iterator[Done]:
    """What becomes of ``work``, done in all lanes at once."""
    todo, lock, stop = iter(work), threading.Lock(), threading.Event()
    done: queue.Queue[Done | BaseException | None] = queue.Queue()

    def loop(lane: Lane) -> None:
        try:
            while not stop.is_set():
                with lock:
                    one = next(todo, None)
                if one is None:
                    break
                done.put(do(lane, one))
        except BaseException as error:
            done.put(error)
        done.put(None)

    threads = [threading.Thread(target=loop, args=(lane,), daemon=True) for lane in made]
    for thread in threads:
        thread.start()
    ended = 0
    try:
        while ended < len(threads):
            each = done.get()
            if each is None:
                ended += 1
            elif isinstance(each, BaseException):
                raise each
            else:
                yield each
    finally:  # nobody may play on a stage that is being taken down
        stop.set()
        for thread in threads:
            thread.join()


def _journal(config: pytest.Config) -> Path:
    assert config.cache is not None
    return Path(config.cache.mkdir("faults")) / "kills.jsonl"


def judge(stage: Stage, point: Point, outcome: Outcome) -> None:
    """What must hold after the next process has come."""
    site, operation = stage.site, OPERATIONS[point.operation]
    assert outcome.seconds < RECOVERY, f"took {outcome.seconds:.0f} s"
    _, _, once, undoing = outcome.steps[point.number - 1]
    cut_off = once and point.point != "recorded"
    if operation.fails:
        assert outcome.state in (("failed",) if cut_off and undoing else ("compensated", "failed")), outcome
    elif not cut_off or (operation.forced and outcome.state == "succeeded"):
        assert outcome.state == "succeeded", outcome  # forced, it goes on where something was cut off
    else:
        assert outcome.state in ("compensated", "failed"), outcome
        assert "nobody knows how far it came" in outcome.failure, outcome
    assert set(outcome.sources.values()) <= {"enabled", "disabled"}, outcome.sources

    began = Counter(title.partition(" of ")[0] for title, _, once, _ in outcome.steps if once)
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
    judge_data(stage, point, outcome)
    assert processes(site.root) == []


def judge_data(stage: Stage, point: Point, outcome: Outcome) -> None:
    """What is in the VDB is what was there before, or what the operation was to put in its place."""
    operation, mount = OPERATIONS[point.operation], stage.site.targets / "one"
    if str(mount) not in outcome.mounted:
        return
    there = MINE.intersection(path.name for path in mount.iterdir())
    expected = operation.succeeded if outcome.state == "succeeded" else operation.undone
    assert there == expected, f"in the VDB after it {outcome.state}: {sorted(there)}"


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
    assert {name.removesuffix(" again") for name in words} == set(ALL)
    assert {killed.before for killed in OPERATIONS.values()} <= set(BEFORE)
