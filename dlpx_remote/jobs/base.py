"""What a workflow sees of the job it runs in, and the errors of this room.

A workflow is a plain function ``(job, request) -> result`` of JSON values. It does everything that has an
effect inside a step, and nothing but deciding between steps. When the engine dies, the function is run again
from its beginning by whoever takes the job over: steps that were recorded give back what they gave then, and
the first one that was not is where it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def compensating(self, reason: BaseException) -> None:
        """From here on the workflow undoes what it did: cancelling no longer stops it."""

    def log(self, line: str) -> None:
        """Keep a line of output with the job; redacted."""

    def cancelled(self) -> bool:
        """Whether somebody asked for the job's end."""


class JobError(RemoteError):
    """Something went wrong with a job itself."""


class JobCancelled(JobError):
    """The job was cancelled."""


class StepInterrupted(JobError):
    """The engine died in the middle of a step that must not be run twice."""


class Busy(JobError):
    """Another job holds what this one needs: a data set or a mount path."""
