"""The job as a workflow sees it, on the journal: which steps ran, what they gave, and what to do about those
that were cut off.

Each step is journaled twice, for two readers: a row of ours, begun before the action, which people see and
which tells a step that was cut off from one that never began; and the step of DBOS, which replays the
workflow. An outcome in either is final: the action is not run again. The end of a step is written into our
row with the next one's beginning, or a moment later: a step costs one transaction of ours and one of DBOS.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Abandoned, JobCancelled, StepInterrupted, WorkflowChanged
from dlpx_remote.jobs.model import JobState
from dlpx_remote.jobs.outcomes import Outcome, as_remote_error, check_value, same_title
from dlpx_remote.jobs.records import Begun, Ended, Line, Meanwhile, Records
from dlpx_remote.redaction import redact
from dlpx_remote.store import StateError

_LOG = logging.getLogger(__name__)
_BUFFERED_LINES = 20_000
_PAUSE = (0.5, 10.0)  # seconds between tries to write to a database that does not take it: first, longest

T = TypeVar("T")

Journal = Callable[[Callable[[], str]], str]
"""Gives back the recorded text of the next step, or calls the function for it and records that."""


class RunningJob:
    """The :class:`~dlpx_remote.jobs.base.Job` of a workflow that runs in this process.

    Args:
        begun: the job, taken up.
        records: where its rows are written.
        journal: the step of the durable engine.
        closing: set when this process is to do nothing more.
        warn: told, once each time, when the database takes nothing.
    """

    def __init__(
        self,
        begun: Begun,
        records: Records,
        journal: Journal,
        closing: threading.Event,
        warn: Callable[[str], None],
    ) -> None:
        self._begun = begun
        self._records = records
        self._journal = journal
        self._closing = closing
        self._warn = warn
        self._number = 0
        self._running: int | None = None
        self._undoing = False
        self._undo_failed = False
        self._abandoned: str | None = None
        self._asked_to_end = False
        self._asked_last: datetime | None = None
        self._done: str | None = None
        self._uncut = 0
        self._failed_whole = False
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._lines: list[Line] = []
        self._lines_lost = 0
        self._ends: list[Ended] = []
        self._enders: list[Callable[[], None]] = []

    @property
    def reference(self) -> str:
        """``JOB-12``."""
        return self._begun.reference

    def step(self, title: str, action: Callable[[], T]) -> T:
        """See :meth:`dlpx_remote.jobs.base.Job.step`."""
        return self._do(title, action, once=False)

    def once(self, title: str, action: Callable[[], T]) -> T:
        """See :meth:`dlpx_remote.jobs.base.Job.once`."""
        return self._do(title, action, once=True)

    def hold(self, *locks: str) -> None:
        """See :meth:`dlpx_remote.jobs.base.Job.hold`."""
        self._records.hold(self._begun, locks)

    def compensating(self, reason: BaseException) -> None:
        """See :meth:`dlpx_remote.jobs.base.Job.compensating`."""
        self._refuse_abandoned()
        if isinstance(reason, Abandoned):
            raise reason
        if not self._undoing:
            self._undoing = True
            self._persist(lambda meanwhile: self._records.compensating(self._begun, meanwhile))

    def committed(self, what: str) -> None:
        """See :meth:`dlpx_remote.jobs.base.Job.committed`."""
        if self._undoing or self._done is not None:
            return
        self._done = what
        self._learn()  # what comes later ends what runs

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See :meth:`dlpx_remote.jobs.base.Job.whole`."""
        self._uncut += 1
        try:
            yield
        except Exception:
            self._failed_whole = True
            raise
        finally:
            self._uncut -= 1

    def log(self, line: str) -> None:
        """See :meth:`dlpx_remote.jobs.base.Job.log`."""
        if self._running is None and self._number < self._begun.steps:
            return  # said already, when the workflow came by here the first time
        with self._lock:
            if len(self._lines) >= _BUFFERED_LINES:
                self._lines_lost += 1
                return
            now = datetime.now(UTC)
            self._lines += [Line(self._running, text, now) for text in line.splitlines() or [""]]

    def cancelled(self) -> bool:
        """See :meth:`dlpx_remote.jobs.base.Job.cancelled`."""
        return self._asked_to_end and not (self._undoing or self._is_uncut)

    @property
    def _is_uncut(self) -> bool:
        return self._done is not None or self._uncut > 0

    def expect(self, steps: int) -> None:
        """See :meth:`dlpx_remote.jobs.base.Job.expect`."""
        self._refuse_abandoned()
        self._persist(lambda meanwhile: self._records.expect(self._begun, steps, meanwhile))

    @contextmanager
    def on_cancel(self, end: Callable[[], None]) -> Iterator[None]:
        """See :meth:`dlpx_remote.jobs.base.Job.on_cancel`."""
        with self._lock:
            self._enders.append(end)
            at_once = self.cancelled() or self._abandoned is not None
        try:
            if at_once:
                self._call_enders()
            yield
        finally:
            with self._lock:
                if end in self._enders:
                    self._enders.remove(end)

    # for the one who runs it

    def look(self) -> None:
        """Learn whether the job is to end, and write down what happened meanwhile; called now and then."""
        try:
            asked = self._records.cancel_requested(self._begun)
            if asked is not None and asked != self._asked_last:
                self._asked_to_end, self._asked_last = True, asked
                if not self._undoing:
                    self._call_enders()
            if self._ends or self._lines:
                self._write(lambda meanwhile: self._records.write(self._begun, meanwhile))
        except Abandoned as lost:
            self.abandon(str(lost))
        except StateError as error:
            _LOG.warning("%s: what it says cannot be kept now: %s", self.reference, error)

    def end(self, result: Any, error: RemoteError | None) -> None:
        """Write down how the job ended."""
        self._learn()
        if self._done is not None and error is not None:
            self.log(f"What failed came after what was asked for was done: {self._done}.")
        elif error is None and self._asked_to_end:
            self.log(f"It was too late to cancel {self.reference}: {self._done or 'it is done'}.")

        def state(asked_to_end: bool) -> JobState:
            return self._final_state(error, asked_to_end)

        self._persist(
            lambda meanwhile: self._records.finish(self._begun, state, result, error, meanwhile=meanwhile)
        )

    def _learn(self) -> None:
        """Learn whether the job is to end, without ending what runs."""
        try:
            self._asked_last = self._records.cancel_requested(self._begun)
        except StateError as error:
            _LOG.warning("%s: whether it is to end cannot be read now: %s", self.reference, error)
        self._asked_to_end = self._asked_to_end or self._asked_last is not None

    def _final_state(self, error: RemoteError | None, asked_to_end: bool) -> JobState:
        if error is None:
            return JobState.SUCCEEDED
        if self._undoing and self._undo_failed:
            return JobState.FAILED
        if (self._done is not None or self._failed_whole) and not self._undoing:
            return JobState.FAILED
        if asked_to_end:
            return JobState.CANCELLED
        return JobState.COMPENSATED if self._undoing else JobState.FAILED

    def abandon(self, reason: str) -> None:
        """This process does nothing more for the job: end what runs, refuse what comes."""
        self._abandoned = self._abandoned or reason
        self._call_enders()

    def _take(self) -> Meanwhile:
        """What is not written down yet, to be written by whoever takes it."""
        with self._lock:
            ends, self._ends = self._ends, []
            lines, self._lines = self._lines, []
            lost, self._lines_lost = self._lines_lost, 0
        if lost:
            lines.append(Line(self._running, f"… {lost} lines were left out.", datetime.now(UTC)))
        return Meanwhile(tuple(ends), tuple(lines))

    def _put_back(self, meanwhile: Meanwhile) -> None:
        with self._lock:
            self._ends[:0] = meanwhile.ends
            self._lines[:0] = meanwhile.lines

    def _call_enders(self) -> None:
        with self._lock:
            enders, self._enders = self._enders, []
        for end in enders:
            try:
                end()
            except Exception:
                _LOG.exception("%s: a step could not be told to end", self.reference)

    def _do(self, title: str, action: Callable[[], T], *, once: bool) -> T:
        self._refuse_abandoned()
        self._number += 1
        outcome = self._journaled(title, action, once)
        if outcome.special is None and not same_title(outcome.title, title):
            outcome = self._skip_foreign_steps(title)
        if outcome.special == "cancelled":
            raise JobCancelled(f"{self.reference} was cancelled before the step {title!r}.")
        if outcome.special == "interrupted":
            self._undo_failed = self._undo_failed or self._undoing
            raise StepInterrupted(
                f"The engine ended while the step {title!r} of {self.reference} ran; nobody knows how far it "
                "came, and it is not run a second time.",
                "See what it has done, and ask for the operation again.",
            )
        if outcome.special == "changed":
            raise WorkflowChanged(
                f"{self.reference} was begun by another version of dlpx-remote, which went on differently "
                f"before the step {title!r}.",
                "Ask for the operation again.",
            )
        if outcome.error is not None:
            if self._undoing:
                self._undo_failed = True
            raise outcome.error
        return cast(T, outcome.value)

    def _journaled(self, title: str, action: Callable[[], Any], once: bool) -> Outcome:
        performed = False

        def perform() -> str:
            nonlocal performed
            performed = True
            return self._perform(title, action, once).to_json()

        try:
            outcome = Outcome.from_json(self._journal(perform))
        except Exception as error:  # of the journal: what an action raises is part of its outcome
            # so that the next try knows the outcome
            self._persist(lambda meanwhile: self._records.write(self._begun, meanwhile))
            self.abandon(f"its journal cannot be written: {redact(str(error))}")
            raise Abandoned(self._abandoned) from error
        if not performed and self._number in self._begun.unended:
            self._note_end(self._number, outcome)  # the process died between the journal's record and ours
        return outcome

    def _perform(self, title: str, action: Callable[[], Any], once: bool) -> Outcome:
        number = self._number
        undoing = self._undoing
        known = self._persist(
            lambda meanwhile: self._records.begin_step(
                self._begun,
                number,
                title,
                once=once,
                undoing=undoing,
                uncut=self._is_uncut,
                meanwhile=meanwhile,
            )
        )
        if known is not None:
            return known
        self._running = number
        try:
            try:
                outcome = Outcome(title, value=check_value(title, action()))
            except Exception as error:
                self._refuse_abandoned()  # it failed because it was told to end, which is not its outcome
                outcome = Outcome(title, error=as_remote_error(title, error))
            except KeyboardInterrupt:  # only in the thread of a person's command: the step ends, the job too
                self._note_end(number, Outcome(title, error=JobCancelled("It was interrupted.")))
                raise
            self._note_end(number, outcome)
        finally:
            self._running = None
        return outcome

    def _note_end(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            self._ends.append(Ended(number, outcome, datetime.now(UTC)))

    def _skip_foreign_steps(self, title: str) -> Outcome:
        """Pass by the recorded steps of a workflow that is no longer ours, up to where that was noticed."""
        while True:
            self._number += 1
            outcome = Outcome.from_json(self._journal(lambda: self._note_change(title)))
            if outcome.special == "changed":
                return outcome

    def _note_change(self, title: str) -> str:
        changed = Outcome(title, special="changed")
        number = self._number
        self._persist(lambda meanwhile: self._records.note_change(self._begun, number, changed, meanwhile))
        return changed.to_json()

    def _refuse_abandoned(self) -> None:
        if self._abandoned is None and self._closing.is_set():
            self._abandoned = "the engine is closing"
        if self._abandoned is not None:
            raise Abandoned(self._abandoned)

    def _write(self, write: Callable[[Meanwhile], T]) -> T:
        """Write, together with what is not written down yet; one at a time, so that the order is kept."""
        with self._writing:
            meanwhile = self._take()
            try:
                return write(meanwhile)
            except StateError:
                self._put_back(meanwhile)
                raise

    def _persist(self, write: Callable[[Meanwhile], T]) -> T:
        """Write, however long the database refuses: nothing may be done that is not written down."""
        pause = _PAUSE[0]
        while True:
            try:
                return self._write(write)
            except StateError as error:
                if pause == _PAUSE[0]:
                    self._warn(f"{self.reference} waits until its steps can be written down: {error}")
                if self._closing.wait(pause):
                    raise Abandoned("the engine is closing") from error
                pause = min(pause * 2, _PAUSE[1])


def failure_of(error: BaseException) -> RemoteError:
    """What a workflow ended with, as one of the engine's tree."""
    if isinstance(error, RemoteError):
        return error
    return as_remote_error("workflow", cast(Exception, error))
