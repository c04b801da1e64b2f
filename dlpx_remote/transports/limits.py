"""What a command may take, and what is said of one that was given up or lost; for every transport."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    CommandAborted,
    CommandEnded,
    CommandTimeout,
    NotSent,
    OutcomeUnknown,
    OutputTooLarge,
)
from dlpx_remote.transports.ssh.deadline import Deadline

_LAST_WORDS = 4096


class TimeUp(Exception):
    """A deadline passed while something waited for the peer; a command still runs, or nobody knows."""


class Idle(TimeUp):
    """Nothing came for longer than allowed; the command still runs."""


class TooMuchOutput(Exception):
    """More came than the caller wants; the command still runs."""


@dataclass(frozen=True)
class Limits:
    """What one command may take.

    Attributes:
        total: seconds for all of it, from now; None for no limit.
        idle: seconds without a byte; None for no limit.
        max_output: bytes of both streams together.
        abort: asks for its end before that; None where nobody will.
        deadline: when ``total`` is over, or the end is asked for.
    """

    total: float | None
    idle: float | None
    max_output: int
    abort: Abort | None = None
    deadline: Deadline = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deadline", Deadline(self.total, self.abort))

    def again(self) -> Limits:
        """The same, from now."""
        return Limits(self.total, self.idle, self.max_output, self.abort)

    def at_most(self, seconds: float) -> Limits:
        """Limits for a part of it that may take ``seconds``, and no longer than what is left."""
        return Limits(self.deadline.remaining(at_most=seconds), None, self.max_output, self.abort)

    @property
    def aborted(self) -> bool:
        """Whether its end was asked for."""
        return self.abort is not None and self.abort.asked

    def waking(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, ``wake`` is called when its end is asked for."""
        return nullcontext() if self.abort is None else self.abort.wakes(wake)


class Written(Protocol):
    """A command, as far as what it wrote is concerned."""

    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


def given_up(
    command: Written, reason: Exception, limits: Limits, where: dict[str, str], *, killed: bool
) -> CommandEnded:
    """Of a command that this side does not wait for any longer.

    Args:
        command: what it wrote.
        reason: TimeUp, Idle or TooMuchOutput; TimeUp also where its end was asked for.
        limits: that it had.
        where: host and user.
        killed: it is confirmed that nothing of it runs any more.
    """
    fate = "it was ended there" if killed else "it is not confirmed that it was ended there"
    kind: type[CommandEnded] = CommandTimeout
    if isinstance(reason, TooMuchOutput):
        kind = OutputTooLarge
        what, action = f"wrote more than {limits.max_output} bytes", "Let it write less, or into a file."
    elif limits.aborted:
        kind = CommandAborted
        what, action = "was cancelled", "" if killed else "Look at the host for what still runs there."
    elif isinstance(reason, Idle):
        what = f"wrote nothing for {limits.idle:g} s"
        action = "Raise the idle time-out, or let it report that it works."
    else:
        what = f"did not finish within {limits.total or 0.0:g} s"
        action = "Raise the time-out, or look at the host for why it takes so long."
    return kind(
        f"The command on {where['host']} {what}; {fate}.",
        action,
        killed=killed,
        stdout=command.stdout,
        stderr=command.stderr,
        **where,
    )


def closed(command: Written, where: dict[str, str], *, killed: bool = True) -> CommandEnded:
    """Of a command that ran when its connection was closed here."""
    return CommandEnded(
        f"The command on {where['host']} was ended because the connection was closed.",
        killed=killed,
        stdout=command.stdout,
        stderr=command.stderr,
        **where,
    )


def lost(command: Written, reason: str, where: dict[str, str], *, sent: bool) -> NotSent | OutcomeUnknown:
    """Of a command whose connection was lost.

    Args:
        command: what it wrote.
        reason: why, without a full stop.
        where: host and user.
        sent: the host may have all of the script.
    """
    if not sent:
        return NotSent(
            f"The connection to {where['host']} was lost before the script was sent: {reason}.",
            "Try again.",
            **where,
        )
    return OutcomeUnknown(
        f"The connection to {where['host']} was lost after the script was sent ({reason}); "
        "it may have run, wholly, partly or not at all.",
        "Look at the host before you run it again.",
        last_words(command),
        **where,
    )


def last_words(command: Written) -> str:
    """The end of what a command wrote, for people."""
    return (command.stdout[-_LAST_WORDS:] + command.stderr[-_LAST_WORDS:]).decode("utf-8", "replace")
