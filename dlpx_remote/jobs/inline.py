"""A job that lives in memory, for tests of workflows. It journals nothing and survives nothing: durability is
tested on real jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from dlpx_remote.jobs.base import JobCancelled
from dlpx_remote.jobs.outcomes import as_remote_error, check_value

T = TypeVar("T")


@dataclass(frozen=True)
class InlineStep:
    """A step that was begun: its title, whether it may be run once only, whether it undid something."""

    title: str
    once: bool
    undoing: bool


class InlineJob:
    """Runs the steps of a workflow where it is called, checks what they give, and remembers their order.

    Args:
        reference: what the workflow is told.
        fail_before: the title of a step in whose place ``failure`` is raised.
        failure: what to raise there.
        cancel_before: the title of a step before which the job is cancelled.
    """

    def __init__(
        self,
        reference: str = "JOB-0",
        *,
        fail_before: str | None = None,
        failure: Exception | None = None,
        cancel_before: str | None = None,
    ) -> None:
        self.steps: list[InlineStep] = []
        self.lines: list[str] = []
        self.held: set[str] = set()
        self.reason: BaseException | None = None
        """Why it compensates; None while it does not."""
        self._reference = reference
        self._fail_before = fail_before
        self._failure = failure
        self._cancel_before = cancel_before
        self._cancelled = False
        self._uncut = 0
        self.done: str | None = None
        """What it was asked for and did, once that is done."""

    @property
    def reference(self) -> str:
        """As given."""
        return self._reference

    @property
    def titles(self) -> list[str]:
        """Of the steps that were begun, in order."""
        return [step.title for step in self.steps]

    def step(self, title: str, action: Callable[[], T]) -> T:
        """Run it now."""
        return self._do(title, action, once=False)

    def once(self, title: str, action: Callable[[], T]) -> T:
        """Run it now."""
        return self._do(title, action, once=True)

    def hold(self, *locks: str) -> None:
        """Remember them; nobody else is there who could hold them."""
        self.held.update(locks)

    def compensating(self, reason: BaseException) -> None:
        """From here on cancelling does nothing."""
        self.reason = self.reason or reason

    def committed(self, what: str) -> None:
        """From here on cancelling does nothing."""
        if self.reason is None:
            self.done = self.done or what

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Cancelling does nothing meanwhile."""
        self._uncut += 1
        try:
            yield
        finally:
            self._uncut -= 1

    def log(self, line: str) -> None:
        """Keep it in ``lines``."""
        self.lines.append(line)

    def cancel(self) -> None:
        """Ask for its end, before the next step."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return self._cancelled and self.reason is None and self.done is None and not self._uncut

    @contextmanager
    def on_cancel(self, end: Callable[[], None]) -> Iterator[None]:
        """``end`` is called at once if the job is cancelled already, else never."""
        if self.cancelled():
            end()
        yield

    def expect(self, steps: int) -> None:
        """Ignored."""

    def _do(self, title: str, action: Callable[[], T], *, once: bool) -> T:
        if title == self._cancel_before:
            self._cancelled = True
        if self.cancelled():
            raise JobCancelled(f"{self._reference} was cancelled before the step {title!r}.")
        self.steps.append(InlineStep(title, once, self.reason is not None))
        try:
            if title == self._fail_before:
                raise self._failure or RuntimeError(f"{title} was made to fail")
            return cast(T, check_value(title, action()))
        except Exception as error:
            known = as_remote_error(title, error)
            raise known from (error if known is not error else None)
