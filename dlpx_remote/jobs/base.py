"""What a workflow sees of the job it runs in, and the errors of this room.

A workflow is a plain function ``(job, request) -> result`` of JSON values. It does everything that has an
effect inside a step, and nothing but deciding between steps. When the engine dies, the function is run again
from its beginning by whoever takes the job over: steps that were recorded give back what they gave then, and
the first one that was not is where it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from dlpx_remote.errors import RemoteError

T = TypeVar("T")

Request = dict[str, Any]
"""What a workflow is asked for: plain JSON, kept in the database, so no secrets."""


class Job(Protocol):
    """The job that a workflow runs in. Results of steps are plain JSON values."""

    @property
    def reference(self) -> str:
        """``JOB-12``."""

    def step(self, title: str, action: Callable[[], T]) -> T:
        """Run an action that may be run again: one that converges to the same state (the engine's own steps).

        Args:
            title: what it does, for people: ``mount on demo2 at /srv/data``. It need not be unique: the order
                of steps is what identifies them.
            action: takes nothing and gives back plain JSON.

        Raises:
            JobCancelled: the job was cancelled before the step began; not raised after :meth:`compensating`.
        """

    def once(self, title: str, action: Callable[[], T]) -> T:
        """Run an action that must not be run twice: a plugin operation or a hook.

        Raises:
            StepInterrupted: the engine died while the action ran in an earlier process, so that nobody knows
                how far it came; it is not run again.
            JobCancelled: as in :meth:`step`.
        """

    def hold(self, *locks: str) -> None:
        """Hold these too, from now until the job's end: what only a running job gets to know. Inside a step.

        Nobody waits here, since whoever holds something already must not wait for others.

        Raises:
            Busy: another job holds one of them.
        """

    def compensating(self, reason: BaseException) -> None:
        """From here on the workflow undoes what it did: cancelling no longer stops it."""

    def committed(self, what: str) -> None:
        """What was asked for is done: whatever comes, the job ends as one that did it.

        From here on no step is left out because the job was cancelled before. Somebody who cancels it now
        ends the plugin operation or hook that runs, and the job fails; else it succeeds, and says that it
        was too late. Nothing happens where the job compensates.

        Args:
            what: a clause for people: ``masked stands on SNAPSHOT-3``.
        """

    def whole(self) -> AbstractContextManager[None]:
        """Within the block no step is left out because the job was cancelled; after it, it counts again.

        What fails in the block fails the job, cancelled or not.
        """

    def log(self, line: str) -> None:
        """Keep a line of output with the job; redacted."""

    def cancelled(self) -> bool:
        """Whether somebody asked for the job's end; for actions to ask, not for deciding between steps."""

    def on_cancel(self, end: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, call ``end`` (once, from another thread) when the action is to stop early.

        That is when the job is cancelled, or when this process has lost the job to another one. It is called
        at once if that has happened already, and never for a cancelled job that is compensating.
        """

    def expect(self, steps: int) -> None:
        """How many steps there will be if nothing fails, for the progress in percent. May be corrected."""


class Abandoned(BaseException):
    """This process must do nothing more for the job: another has taken it over, or the engine is closing.

    Not an :class:`Exception`, so that no workflow takes it for a failure of a step and begins to undo.
    """


class JobError(RemoteError):
    """Something went wrong with a job itself."""


class JobCancelled(JobError):
    """The job was cancelled."""


class StepInterrupted(JobError):
    """The engine died in the middle of a step that must not be run twice."""


class Busy(JobError):
    """Another job holds what this one needs: a data set or a mount path."""


class JobFailed(JobError):
    """A job that somebody waited for ended without success; ``reference`` and ``state`` say which and how."""

    def __init__(
        self, message: str, action: str = "", output: str = "", *, reference: str = "", state: str = ""
    ) -> None:
        super().__init__(message, action, output)
        self.reference = reference
        self.state = state


class UnknownOperation(JobError):
    """A job is of an operation that this version of dlpx-remote does not have."""


class WorkflowChanged(JobError):
    """A job was begun by another version of dlpx-remote, whose workflow went on differently."""


class StepDefect(JobError):
    """A step raised something that nobody foresaw: a defect of dlpx-remote."""
