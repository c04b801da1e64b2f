"""The jobs of one state: ask for one, run it here or leave it to a worker, follow it, cancel it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

from dlpx_remote.jobs import pruning, reading
from dlpx_remote.jobs.base import JobError, JobFailed, Request
from dlpx_remote.jobs.here import Here
from dlpx_remote.jobs.liveness import Watch
from dlpx_remote.jobs.model import JobDetails, JobLine, JobState, JobSummary, Limits, Workflow
from dlpx_remote.jobs.outcomes import check_value
from dlpx_remote.jobs.queue import Order, Queue
from dlpx_remote.jobs.runner import Runner
from dlpx_remote.store import Settings, Store

_LOG = logging.getLogger(__name__)
_LOOK = 0.2  # seconds between two looks at a job that another process runs
_LINES_AT_ONCE = 1000
_YOUNGEST = timedelta(days=1)
_KEPT = "jobs.kept"

OnChange = Callable[[JobDetails, Sequence[JobLine]], None]
"""Told of a job whenever it changed, with the lines of output that are new."""


class Jobs:
    """The jobs of a state. Nothing is started, and no durable engine loaded, before a job is to run here.

    Args:
        store: the opened state.
        workflows: what can be asked for, by operation; looked up when a job begins.
        limits: how many jobs run at the same time; the same in every process on one database.
        warn: told in a sentence what a person ought to know; None leaves it to the log.
    """

    def __init__(
        self,
        store: Store,
        workflows: Mapping[str, Workflow],
        *,
        limits: Limits | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._warn = warn or _LOG.warning
        self._version = _own_version()
        self._queue = Queue(store, limits or Limits(), self._version)
        self._here = Here(store, self._queue, self._version, take_over=self.open_for_work, warn=self._warn)
        self._lock = threading.Lock()
        self._runner: Runner | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        operation: str,
        request: Request,
        title: str,
        *,
        object: str = "",
        locks: Iterable[str] = (),
        shares: Iterable[str] = (),
        hosts: Iterable[str] = (),
        wait: bool = True,
        detach: bool = False,
    ) -> str:
        """Ask for a job. It begins when nobody else holds what it needs, and the limits allow it.

        Args:
            operation: which workflow.
            request: its request: plain JSON without secrets.
            title: what it does, for people: ``provision vdb1 from SNAPSHOT-3``.
            object: the name of what it works on.
            locks: what it needs for itself, by any names that all who need it use: ``data set DS-4``,
                ``mount demo2:/srv/data``.
            shares: what it needs beside others that share it too; nobody else has it as one of ``locks``.
            hosts: the hosts it works on, for the limit of each.
            wait: queue behind a job that holds what it needs; else refuse.
            detach: leave it to a worker (see :meth:`work`); else this process runs it, in the background.

        Returns:
            Its reference.

        Raises:
            Busy: not ``wait``, and another job has or waits for what it needs.
            StepDefect: the request is not plain JSON.
        """
        order = Order(
            operation,
            check_value(f"request of {operation}", request),
            title,
            object,
            tuple(dict.fromkeys(locks)),
            tuple(dict.fromkeys(hosts)),
            tuple(dict.fromkeys(shares)),
        )
        if detach:
            return self._queue.add(order, None, wait).reference
        runner = self.open_for_work()
        ticket = self._queue.add(order, runner.identity.id, wait)
        runner.wake()
        return ticket.reference

    def run_here(
        self, operation: str, request: Request, title: str, workflow: Workflow, *, object: str = ""
    ) -> Any:
        """Run a job in the calling thread, to its end; its result.

        For operations all of whose steps may be run again: see :mod:`dlpx_remote.jobs.here`.

        Args:
            operation: which workflow whoever takes the job over runs.
            request: its request: plain JSON without secrets.
            title: what it does, for people.
            workflow: what runs here.
            object: the name of what it works on.

        Raises:
            JobCancelled: somebody asked for its end.
            JobError: it was taken over by another process.
            Whatever the workflow raises, of the engine's tree.
        """
        plain = check_value(f"request of {operation}", request)
        return self._here.run(Order(operation, plain, title, object, (), ()), workflow)

    def follow(
        self, reference: str, on_change: OnChange | None = None, *, timeout: float | None = None
    ) -> JobDetails:
        """Until the job has ended, or ``timeout`` seconds have passed; what it then is.

        Raises:
            NotFound: there is no such job.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        job = self.get(reference)
        seen: object = None
        last_line = 0
        while True:
            mark = reading.mark(self._store, job.reference)
            if mark != seen:
                seen = mark
                job = self.get(job.reference)
                while True:
                    lines = self.lines(job.reference, last_line)
                    last_line = lines[-1].number if lines else last_line
                    if on_change is not None:
                        on_change(job, lines)
                    if len(lines) < _LINES_AT_ONCE:
                        break
            left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
            if job.state.ended or left <= 0:
                return job
            runner = self._runner
            if runner is not None:
                runner.wait(left)
            else:
                time.sleep(left)

    def result(
        self, reference: str, on_change: OnChange | None = None, *, timeout: float | None = None
    ) -> Any:
        """Follow the job to its end and give back what its workflow gave.

        Raises:
            JobFailed: it ended in another way, or not within ``timeout`` seconds.
        """
        job = self.follow(reference, on_change, timeout=timeout)
        if job.state is JobState.SUCCEEDED:
            return job.result
        if not job.state.ended:
            raise JobFailed(
                f"{job.reference} ({job.title}) has not ended yet.",
                f"Follow it with dlpx-remote job follow {job.reference}.",
                reference=job.reference,
                state=job.state,
            )
        failure = job.failure
        raise JobFailed(
            failure.message if failure else f"{job.reference} ended as {job.state}.",
            failure.action if failure else "",
            failure.output if failure else "",
            reference=job.reference,
            state=job.state,
        )

    def run(self, operation: str, request: Request, title: str, **options: Any) -> Any:
        """:meth:`submit` and :meth:`result` in one."""
        return self.result(self.submit(operation, request, title, **options))

    def all(self, states: Collection[JobState] = (), newest: int = 50) -> list[JobSummary]:
        """The newest jobs in these states (any when none is named), oldest first."""
        return reading.summaries(self._store, states, newest)

    def get(self, reference: str) -> JobDetails:
        """By reference or number.

        Raises:
            NotFound: there is no such job.
        """
        return reading.details(self._store, reference)

    def lines(self, reference: str, after: int = 0, limit: int = _LINES_AT_ONCE) -> list[JobLine]:
        """Output of a job, from the line after number ``after``."""
        return reading.lines(self._store, reference, after, limit)

    def cancel(self, reference: str) -> JobDetails:
        """Ask for a job's end. One that runs is told at once and undoes what it did; see :meth:`follow`.

        Raises:
            NotFound: there is no such job.
            JobError: it has ended already, or is undoing what it did.
        """
        job = self.get(reference)
        self._queue.cancel(job.reference)
        if self._runner is not None:
            self._runner.wake()
        return self.get(job.reference)

    def prune(self, older: timedelta, *, dry_run: bool = False, now: datetime | None = None) -> int:
        """Forget jobs that ended longer ago than that, with their steps and output. What they made stays.

        Args:
            older: how long ago.
            dry_run: forget nothing, only count.
            now: the moment from which that is counted; None is this one.

        Returns:
            How many.

        Raises:
            JobError: less than a day, or the journal cannot be written.
        """
        if older < _YOUNGEST:
            raise JobError("Jobs are kept for a day at least.", "Give a longer time, such as 90d.")
        before = (now or datetime.now(UTC)) - older
        return pruning.count(self._store, before) if dry_run else pruning.prune(self._store, before)

    def keep(self, older: timedelta | None) -> None:
        """Have workers forget jobs that ended longer ago than that, once a day; None: none is forgotten.

        Raises:
            JobError: less than a day.
        """
        if older is not None and older < _YOUNGEST:
            raise JobError("Jobs are kept for a day at least.", "Give a longer time, such as 90d.")
        settings = Settings(self._store)
        if older is None:
            settings.remove(_KEPT)
        else:
            settings.set(_KEPT, int(older.total_seconds()))

    @property
    def kept(self) -> timedelta | None:
        """How long jobs that have ended are kept; None: for ever."""
        seconds = Settings(self._store).get(_KEPT)
        return None if seconds is None else timedelta(seconds=seconds)

    def open_for_work(self, parallel: int = 0) -> Runner:
        """Be one of the processes that run jobs, and take over those of processes that have died.

        Args:
            parallel: how many jobs to take of those that were left to workers.
        """
        with self._lock:
            if self._runner is None:
                self._runner = Runner(
                    self._store,
                    self._queue,
                    self._workflows,
                    self._version,
                    parallel=parallel,
                    warn=self._warn,
                )
            return self._runner

    def work(
        self,
        parallel: int,
        stop: threading.Event,
        *,
        idle: float | None = None,
        on_turn: Callable[[list[str]], None] | None = None,
    ) -> None:
        """Be a worker until ``stop`` is set; then finish what runs.

        Args:
            parallel: how many jobs at a time.
            stop: ends it.
            idle: seconds without anything to do after which it ends by itself; None never.
            on_turn: told now and then which jobs run here, or did since it was told last.
        """
        runner = self.open_for_work(parallel)
        quiet_since = time.monotonic()
        while not stop.is_set():
            running = runner.running
            if on_turn is not None:
                on_turn(sorted({*running, *runner.news()}))
            if running or self.all((JobState.QUEUED,), 1):
                quiet_since = time.monotonic()
            elif idle is not None and time.monotonic() - quiet_since > idle:
                break
            stop.wait(_LOOK)
        if on_turn is not None:
            on_turn(sorted({*runner.running, *runner.news()}))
        self.finish(on_turn)

    def adopt(self, reference: str) -> bool:
        """Whether the job was left behind by a process that has died; then this one takes it over."""
        job = self.get(reference)
        if job.state.ended or not self._queue.is_orphan(job.reference):
            return False
        self.open_for_work()
        return True

    def finish(self, on_turn: Callable[[list[str]], None] | None = None) -> None:
        """Take nothing new, and wait for what runs in this process: also jobs that it took over."""
        runner = self._runner
        if runner is None:
            return
        runner.take_no_more()
        while running := runner.running:
            if on_turn is not None:
                on_turn(running)
            runner.wait(_LOOK)

    def has_worker(self) -> bool:
        """Whether a process is known that takes jobs left to workers. It may have died a moment ago."""
        watch = Watch()
        return any(worker and not watch.dead(who, beats) for who, beats, worker in self._queue.executors())

    def stop(self) -> None:
        """Begin to :meth:`close`: no step begins any more, those that run are told to end."""
        self._here.stop()
        if self._runner is not None:
            self._runner.stop()

    def close(self) -> None:
        """Stop running jobs. What still runs is left to the next process. Idempotent."""
        with self._lock:
            runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


def _own_version() -> str:
    try:
        return version("dlpx-remote")
    except PackageNotFoundError:
        return "unknown"
