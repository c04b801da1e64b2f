"""One worker process as the engine sees it: frames out and in under a deadline, its output, and its end.

Nothing here blocks beyond its deadline, whatever the worker does or fails to do. It knows frames, not their
meaning.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from dlpx_remote.plugins.worker.limits import KIB, MIB
from dlpx_remote.plugins.worker.protocol import Frame, FrameDecoder, ProtocolError, encode

_END_SECONDS = 10.0
_READ = 64 * KIB
_LAST_OUTPUT = 1 * MIB
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Ending:
    """How a worker process ended; all None when that is not known.

    Attributes:
        exit_code: its own.
        signal: name without ``SIG`` of the signal that ended it.
        refused: why it could not even be made.
    """

    exit_code: int | None = None
    signal: str | None = None
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"could not be made ({self.refused})"
        if self.signal is not None:
            return f"was ended by signal {self.signal}"
        if self.exit_code is not None:
            return f"exited with code {self.exit_code}"
        return "was ended together with the engine's other workers"


class ConversationBroken(Exception):
    """The worker is gone, or does not speak the protocol any more."""


class WorkerProcess:
    """A worker process that the fork server makes and reaps.

    Args:
        conversation: this end of the conversation with the worker.
        life: this end of the fork server's socket about the worker's life.
        output: read end of the pipe that has the worker's stdout and stderr.
    """

    def __init__(self, conversation: socket.socket, life: socket.socket, output: BinaryIO) -> None:
        self._conversation = conversation
        self._life = life
        self._output = output
        self._closed = False
        self._pid: int | None = None
        self.ending: Ending | None = None
        self.on_output: Callable[[bytes], None] = lambda _: None
        self.limit: Callable[[str], int] = lambda _: _NO_LIMIT
        self._decoder = FrameDecoder(lambda kind: self.limit(kind))  # noqa: PLW0108 - it is set later
        conversation.setblocking(False)
        life.setblocking(False)
        os.set_blocking(output.fileno(), False)
        self._poll = select.poll()
        self._poll.register(conversation, select.POLLIN)
        self._poll.register(life, select.POLLIN)
        self._poll.register(output, select.POLLIN)

    @property
    def pid(self) -> int | None:
        """The process's number; None when it could not be made. Waits for the fork server to tell it."""
        deadline = time.monotonic() + _END_SECONDS
        with contextlib.suppress(TimeoutError):
            while self._pid is None and self.ending is None and not self._closed:
                self._wait(deadline, 0)
        return self._pid

    def send(self, frame: Frame, deadline: float) -> None:
        """Send ``frame``.

        Raises:
            TimeoutError: the deadline (of ``time.monotonic``) passed.
            ConversationBroken: there is nobody to send to.
        """
        for piece in encode(frame):
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[self._conversation.send(rest) :]
                except BlockingIOError:
                    self._wait(deadline, select.POLLOUT)
                except OSError as error:
                    raise ConversationBroken("it closed its end of the conversation") from error

    def receive(self, deadline: float) -> Frame:
        """The next frame; what the worker prints meanwhile goes to ``on_output``.

        Raises:
            TimeoutError: the deadline (of ``time.monotonic``) passed.
            ConversationBroken: the worker is gone, or what it sent is no frame.
            FrameTooLarge: it sent a frame that is larger than ``limit`` allows.
        """
        while True:
            gone = self.ending is not None
            try:
                count = self._conversation.recv_into(self._decoder.room())
            except BlockingIOError:
                if gone:  # a process that it left behind may hold its end open
                    raise ConversationBroken("it is gone") from None
                self._wait(deadline, select.POLLIN)
                continue
            except OSError as error:
                raise ConversationBroken("it closed its end of the conversation") from error
            if count == 0:
                raise ConversationBroken("it closed its end of the conversation")
            frame = self._decoder.filled(count)
            if frame is not None:
                return frame
            if time.monotonic() > deadline:
                raise TimeoutError

    def drain_output(self) -> None:
        """Take what the worker has printed until now."""
        for _ in range(_LAST_OUTPUT // _READ):
            if not self._read_output():
                return

    def end(self, grace: float = 0.0) -> Ending:
        """End the process with all its children, and wait until it is gone.

        Args:
            grace: seconds that it may take to end by itself after SIGTERM.
        """
        if self.ending is None and not self._closed:
            if grace:
                self._order(b"T")
                self.wait_for_end(grace)
            if self.ending is None:
                self._order(b"K")
                self.wait_for_end(_END_SECONDS)
            self.drain_output()
        return self.ending or Ending()

    def ask_to_end(self) -> None:
        """Have the process and all its children ended, from any thread; the conversation sees it end."""
        self._order(b"K")

    def close(self) -> None:
        """End the process and let go of everything. Idempotent."""
        if self._closed:
            return
        self.end()
        self._closed = True
        self._conversation.close()
        self._life.close()
        self._output.close()

    def wait_for_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while self.ending is None:
                self._wait(deadline, 0)

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(OSError):
            self._life.send(order)

    def _wait(self, deadline: float, conversation_events: int) -> None:
        """Wait until the conversation is ready for ``conversation_events`` or anything else happened."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if conversation_events:
            self._poll.register(self._conversation, conversation_events)
        else:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._conversation)
        for descriptor, _ in self._poll.poll(left * 1000):
            if descriptor == self._life.fileno():
                self._read_life()
            elif descriptor == self._output.fileno() and not self._read_output():
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._output)

    def _read_output(self) -> bool:
        """Take one piece of output; False when there is none, for now or for good."""
        try:
            data = os.read(self._output.fileno(), _READ)
        except BlockingIOError:
            return False
        if data:
            self.on_output(data)
        return bool(data)

    def _read_life(self) -> None:
        try:
            message = self._life.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        news = json.loads(message) if message else {}
        if "pid" in news:
            self._pid = news["pid"]
            return
        name = signal.Signals(news["signal"]).name.removeprefix("SIG") if "signal" in news else None
        self.ending = Ending(news.get("exit"), name, news.get("refused", ""))
        with contextlib.suppress(KeyError):
            self._poll.unregister(self._life)


__all__ = ["ConversationBroken", "Ending", "ProtocolError", "WorkerProcess"]
