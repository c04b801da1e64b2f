"""One point in time until which something must be done, however many steps it takes."""

from __future__ import annotations

import time

from dlpx_remote.transports.abort import Abort


class Deadline:
    """A deadline on the monotonic clock.

    Args:
        seconds: from now; None never expires.
        abort: the time is up, too, when it is asked for.
    """

    def __init__(self, seconds: float | None, abort: Abort | None = None) -> None:
        self._abort = abort
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def expired(self) -> bool:
        """True once the time is up."""
        if self._abort is not None and self._abort.asked:
            return True
        return self._end is not None and time.monotonic() >= self._end

    def remaining(self, at_most: float | None = None) -> float | None:
        """Seconds left, never below 0 and never above ``at_most``; None when there is no limit at all."""
        if self._abort is not None and self._abort.asked:
            return 0.0
        if self._end is None:
            return at_most
        left = max(0.0, self._end - time.monotonic())
        return left if at_most is None else min(left, at_most)

    def extend(self, seconds: float) -> None:
        """Move the end, for time that a person took to answer."""
        if self._end is not None:
            self._end += seconds
