"""How whoever waits for a command's output is woken by paramiko's thread: once for both streams.

Knows a channel's two buffers, and nothing of what comes in them.
"""

from __future__ import annotations

import threading
from typing import cast

import paramiko

FEW = 64
"""Bytes that may wait on stderr without waking anybody who can wait for stdout; a command's last report."""


class Wakeup:
    """Wakes one waiting thread when either stream of a channel has data or ends.

    The buffers clear an event when they run empty; with two buffers that would lose the other's news, so
    ``clear`` does nothing and the waiting thread resets by itself.

    Attributes:
        patient: a few bytes on stderr may wait until something comes on stdout, or the channel ends, which
            both streams tell.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._event = threading.Event()
        self._channel = channel
        self.patient = False
        channel.in_buffer.set_event(cast(threading.Event, self))
        channel.in_stderr_buffer.set_event(cast(threading.Event, _Stderr(self)))

    def set(self) -> None:
        """Called by paramiko's thread."""
        self._event.set()

    def set_by_stderr(self) -> None:
        """Called by paramiko's thread."""
        if not self.patient or len(self._channel.in_stderr_buffer) > FEW:
            self._event.set()

    def clear(self) -> None:
        """Called by paramiko's buffers; see above."""

    def wait(self, seconds: float | None) -> bool:
        """Wait for news, and take it; False when there was none."""
        news = self._event.wait(seconds)
        self._event.clear()
        return news


class _Stderr:
    """What the buffer of stderr takes for its event."""

    def __init__(self, wakeup: Wakeup) -> None:
        self.set = wakeup.set_by_stderr
        self.clear = wakeup.clear
