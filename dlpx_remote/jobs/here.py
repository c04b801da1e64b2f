"""Runs one job in the thread that asks for it, without loading the durable engine.

For workflows whose steps may all be run again: their journal is the engine's own rows. Everything else is as
for every job: it is listed, waits for a place below the limits, can be cancelled from anywhere, and when this
process dies, whoever looks for the dead takes it over and runs it again, then through the durable engine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dlpx_remote.jobs.base import Abandoned, JobCancelled, JobError
from dlpx_remote.jobs.liveness import CUT_OFF, own_identity
from dlpx_remote.jobs.model import Workflow
from dlpx_remote.jobs.outcomes import check_value
from dlpx_remote.jobs.queue import Order, Queue, Ticket
from dlpx_remote.jobs.records import Records
from dlpx_remote.jobs.running import RunningJob, failure_of
from dlpx_remote.store import StateError, Store

_LOG = logging.getLogger(__name__)
_TURN = 0.2  # seconds between two looks whether the job is to end
_BEAT = 2.0  # seconds between two signs of life
_SOON = 0.05  # seconds between two looks whether the job may begin


class Here:
    """Jobs of one state that run where they are asked for. Safe for use from several threads.

    Args:
        store: the state.
        queue: the jobs that wait.
        version: of dlpx-remote.
        take_over: has this process look for jobs of dead processes, as those that run jobs otherwise do.
        warn: told what a person ought to know.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        version: str,
        *,
        take_over: Callable[[], object],
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._version = version
        self._take_over = take_over
        self._warn = warn
        self._closing = threading.Event()

    def run(self, order: Order, workflow: Workflow) -> Any:
        """The job's result.

        Args:
            order: what is asked for; whoever takes the job over looks its operation up.
            workflow: what runs here.

        Raises:
            JobCancelled: somebody asked for its end.
            KeyboardInterrupt: and then the job is cancelled.
            JobError: it was taken over by another process.
            Whatever the workflow raises, of the engine's tree.
        """
        identity = own_identity()
        self._queue.enter(identity, worker=False)
        try:
            ticket = self._queue.add(order, identity.id, wait=True)
            try:
                self._wait_for_its_turn(identity.id, ticket)
            except BaseException:
                with suppress(JobError):
                    self._queue.cancel(ticket.reference)
                raise
            return self._run(identity.id, order, ticket, workflow)
        finally:
            with suppress(StateError):
                self._queue.leave(identity.id)

    def stop(self) -> None:
        """No step begins any more; what runs is told to end, and is left to the next process."""
        self._closing.set()

    def _wait_for_its_turn(self, executor: str, ticket: Ticket) -> None:
        beat = time.monotonic() + _BEAT
        told = False
        while not self._queue.take(executor, 0):
            if self._queue.state(ticket.reference).ended:
                raise JobCancelled(f"{ticket.reference} was cancelled before it began.")
            if time.monotonic() > beat:
                self._queue.beat(executor)
                beat = time.monotonic() + _BEAT
                if not told:
                    told = True
                    self._warn(
                        f"{ticket.reference} waits: no more jobs may run than do (dlpx-remote job list)."
                    )
                    with suppress(JobError):  # another engine of this process runs jobs, and looks
                        self._take_over()
            if self._closing.wait(_SOON):
                raise JobError(f"{ticket.reference} did not begin: the engine is closing.")

    def _run(self, executor: str, order: Order, ticket: Ticket, workflow: Workflow) -> Any:
        records = Records(self._store, executor, self._version)
        begun = records.begin(ticket.reference)
        if begun is None:
            raise JobCancelled(f"{ticket.reference} has ended before it began.")
        job = RunningJob(begun, records, lambda perform: perform(), self._closing, self._warn)
        with self._looked_after(executor, job):
            try:
                result = check_value(order.operation, workflow(job, dict(order.request)))
            except Abandoned as reason:
                raise JobError(
                    f"{ticket.reference} is not finished here: {reason}.",
                    f"Follow it: dlpx-remote job follow {ticket.reference}",
                ) from reason
            except Exception as error:
                failure = failure_of(error)
                job.end(None, failure)
                raise failure from (error if failure is not error else None)
            except BaseException:
                self._queue.cancel(ticket.reference)
                job.end(None, JobCancelled(f"{ticket.reference} was interrupted."))
                raise
            job.end(result, None)
            return result

    @contextmanager
    def _looked_after(self, executor: str, job: RunningJob) -> Iterator[None]:
        """Meanwhile a thread gives signs of life, writes down what is said, and learns of a cancel."""
        done = threading.Event()

        def look_after() -> None:
            reached = beat = time.monotonic()
            while not done.wait(_TURN):
                if self._closing.is_set():
                    job.abandon("the engine is closing")
                job.look()
                now = time.monotonic()
                if now - beat > _BEAT:
                    try:
                        self._queue.beat(executor)
                        beat = reached = now
                    except StateError as error:
                        _LOG.warning("%s: no sign of life could be given: %s", job.reference, error)
                if not self._store.is_file and now - reached > CUT_OFF:
                    job.abandon("the database has been out of reach for too long")

        thread = threading.Thread(target=look_after, name=f"look after {job.reference}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
