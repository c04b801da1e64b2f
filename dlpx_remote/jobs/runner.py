"""Runs jobs in this process: takes those that may begin, keeps its place among the processes, and takes over
the jobs of those that have died.

One thread looks after all of it; the jobs run in threads of the durable engine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Abandoned, UnknownOperation
from dlpx_remote.jobs.durable import Durable
from dlpx_remote.jobs.liveness import CUT_OFF, Identity, Watch, own_identity
from dlpx_remote.jobs.model import Workflow
from dlpx_remote.jobs.outcomes import check_value
from dlpx_remote.jobs.queue import Queue, Ticket
from dlpx_remote.jobs.records import Begun, Records
from dlpx_remote.jobs.running import RunningJob, failure_of
from dlpx_remote.redaction import redact
from dlpx_remote.store import StateError, Store

_LOG = logging.getLogger(__name__)
_TURN = 0.2  # seconds between two looks at the queue
_BEAT = 2.0  # seconds between two signs of life, and between two looks for the dead
_AGAIN = 3.0  # seconds until a job whose journal could not be written is tried again
_CLOSE_LIMIT = 10.0


class Runner:
    """This process among those that run jobs. Begins to work when it is made; safe for several threads.

    Args:
        store: the state.
        queue: the jobs that wait.
        workflows: what runs, by operation.
        version: of dlpx-remote.
        parallel: how many jobs it takes that any worker may run; 0 takes only its own, and dead processes'.
        warn: told what a person ought to know.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        workflows: Mapping[str, Workflow],
        version: str,
        *,
        parallel: int,
        warn: Callable[[str], None],
    ) -> None:
        self.identity: Identity = own_identity()
        self._queue = queue
        self._workflows = workflows
        self._parallel = parallel
        self._warn = warn
        self._version = version
        self._records = Records(store, self.identity.id, version)
        self._watch = Watch()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._running: dict[str, RunningJob] = {}
        self._started: dict[str, float] = {}
        self._again: list[tuple[float, Ticket]] = []
        self._tickets: dict[str, Ticket] = {}
        self._news: set[str] = set()
        self._taking = True
        queue.enter(self.identity, worker=parallel > 0)
        try:
            self._durable = Durable(store.url, self.identity.id, self._run)
        except BaseException:
            queue.leave(self.identity.id)
            raise
        self._reached = time.monotonic()
        self._thread = threading.Thread(target=self._look_after, name="jobs", daemon=True)
        self._thread.start()
        if not store.is_file:
            threading.Thread(target=self._guard, name="jobs guard", daemon=True).start()

    @property
    def running(self) -> list[str]:
        """References of the jobs that this process runs, or has taken and is about to run."""
        with self._changed:
            return sorted({*self._running, *self._started})

    def news(self) -> set[str]:
        """References of the jobs that this process has taken since it was asked last; some may have ended."""
        with self._changed:
            taken, self._news = self._news, set()
        return taken

    def wake(self) -> None:
        """There may be something to take."""
        self._wake.set()

    def wait(self, seconds: float) -> None:
        """Until something happened to a job of this process, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def take_no_more(self) -> None:
        """Finish what runs, take nothing new."""
        self._taking = False

    def stop(self) -> None:
        """Begin no step any more, and tell those that run to end."""
        self._taking = False
        self._closing.set()
        self._wake.set()
        for job in self._jobs():
            job.abandon("the engine is closing")

    def close(self) -> None:
        """Stop. Jobs that still run stop before their next step, and are taken over by the next process."""
        self.stop()
        limit = time.monotonic() + _CLOSE_LIMIT
        while self.running and time.monotonic() < limit:
            self.wait(0.05)
        self._thread.join(_CLOSE_LIMIT)
        self._durable.close()
        try:
            self._queue.leave(self.identity.id)
        except StateError as error:
            _LOG.warning("could not sign off: %s", error)

    # the thread that looks after everything

    def _look_after(self) -> None:
        beat = 0.0
        while not self._closing.is_set():
            try:
                if time.monotonic() >= beat:
                    beat = time.monotonic() + _BEAT
                    self._beat()
                self._take()
                self._try_again()
            except StateError as error:
                _LOG.warning("the queue of jobs cannot be read now: %s", error)
            except Exception:
                _LOG.exception("looking after jobs failed; it goes on")
            for job in self._jobs():
                job.look()
            self._wake.wait(_TURN)
            self._wake.clear()

    def _beat(self) -> None:
        known = self._queue.beat(self.identity.id)
        self._reached = time.monotonic()
        if not known:
            _LOG.warning("this process was taken for dead; it goes on without the jobs that it had")
            self._queue.enter(self.identity, worker=self._parallel > 0)
        if not self._taking:
            return
        dead = [
            identity
            for identity, beats, _ in self._queue.executors()
            if identity.id != self.identity.id and self._watch.dead(identity, beats)
        ]
        for id in [*(identity.id for identity in dead), *self._queue.lost_owners()]:
            for ticket in self._queue.release_dead(id, self.identity.id):
                _LOG.warning("%s is taken over from a process that has died", ticket.reference)
                self._dispatch(ticket, self._durable.resume)
            self._watch.forget(id)
            self._durable.forget(id)

    def _guard(self) -> None:
        """End what runs when the database is out of reach for so long that others take us for dead.

        Where the database is a file, the process table tells whether we live, and nothing need be ended.
        """
        while not self._closing.wait(1.0):
            if time.monotonic() - self._reached > CUT_OFF:
                for job in self._jobs():
                    job.abandon("the database has been out of reach for too long")

    def _take(self) -> None:
        if not self._taking:
            return
        with self._changed:
            foreign = len({*self._running, *self._started})
        for ticket in self._queue.take(self.identity.id, max(0, self._parallel - foreign)):
            self._dispatch(ticket, self._durable.start)

    def _try_again(self) -> None:
        now = time.monotonic()
        due = [ticket for when, ticket in self._again if when <= now]
        self._again = [(when, ticket) for when, ticket in self._again if when > now]
        for ticket in due:
            if self._queue.has(self.identity.id, ticket.reference):
                self._dispatch(ticket, self._durable.resume)

    def _dispatch(self, ticket: Ticket, send: Callable[[str, str], None]) -> None:
        """Hand a job that is this process's to the durable engine; again a little later if that fails."""
        self._hold(ticket)
        try:
            send(ticket.workflow_id, ticket.reference)
        except Exception as error:
            _LOG.warning("%s cannot be run now: %s", ticket.reference, redact(str(error)))
            self._again.append((time.monotonic() + _AGAIN, ticket))

    def _hold(self, ticket: Ticket) -> None:
        with self._changed:
            self._tickets[ticket.reference] = ticket
            self._news.add(ticket.reference)
            self._started[ticket.reference] = time.monotonic()

    def _jobs(self) -> list[RunningJob]:
        with self._changed:
            return list(self._running.values())

    # the threads that run jobs

    def _run(self, reference: str) -> None:
        """What the durable engine calls."""
        begun = self._begin(reference)
        if begun is None:
            self._ended(reference, None)
            return
        job = RunningJob(begun, self._records, self._durable.journal, self._closing, self._warn)
        with self._changed:
            self._running[reference] = job
            self._started.pop(reference, None)
        try:
            self._work(begun, job)
        except Abandoned as reason:
            _LOG.warning("%s: nothing more is done here: %s", reference, reason)
            ticket = self._tickets.get(reference)
            if ticket is not None and not self._closing.is_set():
                self._again.append((time.monotonic() + _AGAIN, ticket))
            raise
        finally:
            self._ended(reference, job)

    def _begin(self, reference: str) -> Begun | None:
        while not self._closing.is_set():
            try:
                return self._records.begin(reference)
            except StateError as error:
                _LOG.warning("%s cannot begin now: %s", reference, error)
                self._closing.wait(1.0)
        self._ended(reference, None)
        raise Abandoned("the engine is closing")

    def _work(self, begun: Begun, job: RunningJob) -> None:
        result: Any = None
        error: RemoteError | None = None
        try:
            workflow = self._workflows.get(begun.operation)
            if workflow is None:
                raise UnknownOperation(
                    f"{begun.reference} is of an operation {begun.operation!r} that dlpx-remote "
                    f"{self._version} does not have.",
                    "It was asked for with another version. What it may have done is left as it is.",
                )
            result = check_value(begun.operation, workflow(job, dict(begun.request)))
        except Abandoned:
            raise
        except Exception as raised:
            error = failure_of(raised)
        job.end(result, error)

    def _ended(self, reference: str, job: RunningJob | None) -> None:
        with self._changed:
            self._started.pop(reference, None)
            self._tickets.pop(reference, None)
            if job is None or self._running.get(reference) is job:
                self._running.pop(reference, None)
            self._changed.notify_all()
        self._wake.set()
