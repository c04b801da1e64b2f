"""One command on one channel: send it, collect both streams, and know which of the four states it is in.

Not sent, sent, started, finished: :class:`Command` records how far it came, and every way it can end maps to
one result or error. It does not decide what runs (``bootstrap``) nor how it is ended (``connection``).
"""

from __future__ import annotations

import contextlib
import signal as signals
import sys
import time
from collections.abc import Callable, Collection

import paramiko

from dlpx_remote.transports.base import (
    CommandResult,
    HomeDirectoryMissing,
    OutcomeUnknown,
    OutputCallback,
    ShellUnavailable,
    StreamName,
    TransportError,
)
from dlpx_remote.transports.limits import Idle, Limits, TimeUp, TooMuchOutput, last_words, lost
from dlpx_remote.transports.ssh.bootstrap import Token
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session
from dlpx_remote.transports.ssh.streams import MarkedStream, Report
from dlpx_remote.transports.ssh.wakeup import FEW, Wakeup

_PIECE = 1 << 20
_SEND_PIECE = 32_000
_NOISE_KEPT = 4096
_SOON = 0.005  # seconds between two looks
SETTLE = 1.0
"""Seconds that a dying session may take to say that it is."""


class _Stream:
    """One stream's output and noise."""

    def __init__(self, name: StreamName, token: Token, started: bool) -> None:
        self.name: StreamName = name
        self.marked = MarkedStream(token.value)
        self.noise = bytearray()
        self.output: list[bytes] = []
        self.started = started
        self.ended = False

    def take(self, piece: bytes) -> bytes:
        """Keep ``piece``; what of it is the script's output."""
        if self.ended:
            return b""
        if not self.started:
            self.noise += piece
            del self.noise[:-_NOISE_KEPT]
            return b""
        self.output.append(piece)
        return piece


class Command:
    """A command on its way.

    Args:
        session: for knowing whether the connection still stands.
        channel: open; the caller closes it.
        token: that the text was made with.
        where: host and user for errors.
        begins_with: kind of the report that ends the noise of start-up files on each stream; None where
            there can be none.
        wakeup: of the channel, where there is one already.
        on_report: takes every report, before this object does.

    Attributes:
        token: of the reports.
        loss: why the connection was lost.
        sent: True once the last byte was handed over, or may have been.
        watcher: process that watches over the command on the host; None until it is known.
        process_group: of the command, and its session; None until it is known.
    """

    def __init__(
        self,
        session: Session,
        channel: paramiko.Channel,
        token: Token,
        where: dict[str, str],
        *,
        begins_with: str | None = "S",
        wakeup: Wakeup | None = None,
        on_report: Callable[[Report], None] | None = None,
    ) -> None:
        self._session = session
        self._channel = channel
        self._where = where
        self._begins_with = begins_with
        started = begins_with is None
        self._streams = (_Stream("stdout", token, started), _Stream("stderr", token, started))
        self._wakeup = wakeup or Wakeup(channel)
        self._on_report = on_report
        self._began = time.monotonic()
        self._size = 0
        self._exit_code: int | None = None
        self.token = token
        self.loss = ""
        self.sent = False
        self.watcher: int | None = None
        self.process_group: int | None = None
        self.home_missing: str | None = None

    @property
    def stdout(self) -> bytes:
        """What the script has written so far."""
        return b"".join(self._streams[0].output)

    @property
    def stderr(self) -> bytes:
        """What the script has written so far."""
        return b"".join(self._streams[1].output)

    def send(self, text: bytes, limits: Limits, *, start: str | None, end: bool = True) -> None:
        """Hand over everything. What cannot be handed over shows when the answer is read.

        Args:
            text: what the host reads.
            limits: for all of it.
            start: what is to read it, where nothing runs on the channel yet.
            end: let it read the end of its input.

        Raises:
            NotSent: the connection was lost before the last byte was handed over; nothing ran.
            TimeUp: the host does not take it; nothing ran.
        """
        try:
            if start is not None:
                self._session.request(self._channel, "exec", start)
            position = 0
            while position < len(text):
                self._channel.settimeout(limits.deadline.remaining(at_most=limits.idle))
                last = position + _SEND_PIECE >= len(text)
                self.sent = last  # from here on nobody knows how much of the last piece left this machine
                taken = self._channel.send(text[position : position + _SEND_PIECE])
                if not taken:
                    break
                position += taken
                self.sent = position >= len(text)
            if end:
                self._channel.shutdown_write()
        except TimeoutError as error:
            raise TimeUp from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            if not self._session.is_active() and not self.sent:
                raise self._lost(error) from error

    def collect(self, limits: Limits, on_output: OutputCallback | None) -> CommandResult:
        """Read until the watcher reports the end.

        Raises:
            TimeUp, TooMuchOutput: the command still runs.
            ShellUnavailable, HomeDirectoryMissing, OutcomeUnknown, NotSent: it does not, or nobody knows.
        """
        self._note_patience(limits.max_output, on_output)
        self._read_until(self._finished, limits, on_output)
        return self._result()

    def wait_for_watcher(self, seconds: float, *, reading: bool) -> None:
        """Until :attr:`watcher` is known, or will not become known any more.

        One that has just been handed over may run there by now, and its report be under way.

        Args:
            seconds: at most.
            reading: read the answer; else it is left to the thread that does.
        """
        deadline = Deadline(seconds)
        while self.watcher is None and self.sent and not deadline.expired:
            closed = self._channel.closed or self._channel.eof_received
            with contextlib.suppress(TooMuchOutput):
                if reading and self.drain(sys.maxsize):
                    continue
            if closed:
                break
            time.sleep(_SOON)

    def wait_until_it_begins(self, limits: Limits, echoes: Collection[bytes]) -> bool:
        """Read until both streams have begun; False when the host will not let them, whatever the reason.

        Args:
            limits: for that.
            echoes: what only a program says that repeats what it was given.

        Raises:
            TimeUp: neither.
            NotSent: the connection is lost.
        """

        def known() -> bool:
            # A program that only repeats what it reads would never come to an end.
            return self._begun() or self.says(echoes)

        self._read_until(known, limits, None)
        if not self._begun():
            self._see_why()
        return self._begun()

    def says(self, words: Collection[bytes]) -> bool:
        """Whether one of ``words`` is in what came before it began."""
        return any(word in stream.noise for stream in self._streams for word in words)

    def _read_until(self, done: Callable[[], bool], limits: Limits, on_output: OutputCallback | None) -> None:
        with limits.waking(self._wakeup.set):
            self._read_on(done, limits, on_output)

    def _read_on(self, done: Callable[[], bool], limits: Limits, on_output: OutputCallback | None) -> None:
        last_news = time.monotonic()
        while not done():
            closed = self._channel.closed or self._channel.eof_received
            if self.drain(limits.max_output, on_output):
                last_news = time.monotonic()
                continue
            if closed:
                break
            idle_left = None if limits.idle is None else last_news + limits.idle - time.monotonic()
            if idle_left is not None and idle_left <= 0:
                raise Idle
            if limits.deadline.expired:
                raise TimeUp
            self._wakeup.wait(limits.deadline.remaining(at_most=idle_left))

    def drain(self, max_output: int, on_output: OutputCallback | None = None) -> bool:
        """Take what has come on both streams; False when there was nothing.

        Raises:
            TooMuchOutput: more than ``max_output`` bytes have come by now.
        """
        sources: tuple[tuple[Callable[[], bool], Callable[[int], bytes]], ...] = (
            (self._channel.recv_ready, self._channel.recv),
            (self._channel.recv_stderr_ready, self._channel.recv_stderr),
        )
        news = False
        for stream, (ready, receive) in zip(self._streams, sources, strict=True):
            if not ready():
                continue
            news = True
            for piece in stream.marked.feed(receive(_PIECE)):
                if isinstance(piece, Report):
                    self._note(stream, piece)
                elif taken := stream.take(piece):
                    self._size += len(taken)
                    if on_output is not None:
                        on_output(stream.name, taken)
        if self._size > max_output:
            raise TooMuchOutput
        if news:  # after which both streams are looked at again
            self._note_patience(max_output, on_output)
        return news

    def _note_patience(self, max_output: int, on_output: OutputCallback | None) -> None:
        """Let the last report of stderr wait for that of stdout: one waking for both."""
        counts = on_output is not None or self._size + FEW > max_output
        self._wakeup.patient = self._begun() and not counts and not self._streams[0].ended

    def _note(self, stream: _Stream, report: Report) -> None:
        if self._on_report is not None:
            self._on_report(report)
        if report.kind == self._begins_with:
            stream.started = True
        if report.kind == "W" and report.value:
            self.watcher = int(report.value.split()[0])
        elif report.kind in ("S", "P"):
            self.process_group = int(report.value)
        elif report.kind == "H":
            self.home_missing = report.value
        elif report.kind == "E":
            stream.ended = True
            self._exit_code = int(report.value.split()[0])

    def _begun(self) -> bool:
        return self._streams[0].started and self._streams[1].started

    def _finished(self) -> bool:
        return self._streams[0].ended and self._streams[1].ended

    def _result(self) -> CommandResult:
        if not self._finished():
            self._see_why()
        if self.home_missing is not None:
            raise HomeDirectoryMissing(
                f"The home directory {self.home_missing or '(none)'} of {self._where['user']} on "
                f"{self._where['host']} does not exist or cannot be entered; nothing was run.",
                "Create it, or correct the account.",
                **self._where,
            )
        if self._exit_code is not None and self._streams[0].started:
            return CommandResult(
                exit_code=self._exit_code,
                stdout=self.stdout,
                stderr=self.stderr,
                signal=signal_name(self._exit_code),
                duration=time.monotonic() - self._began,
            )
        if self.watcher is None or (self._exit_code is not None and self.process_group is None):
            raise self._no_shell()
        raise OutcomeUnknown(
            f"The shell that watched over the script on {self._where['host']} was ended there; the script "
            "may have run, wholly or in part.",
            "Look at the host before you run it again.",
            last_words(self),
            **self._where,
        )

    def _see_why(self) -> None:
        """Tell the channel's end from the connection's; the reports of a lost one are incomplete."""
        if self._channel.closed and not self._channel.eof_received:
            # A dying session closes its channels first and says so after.
            self._session.join(SETTLE)
        if not self._session.is_active():
            raise self._lost(None)

    def _lost(self, error: Exception | None) -> TransportError:
        reason = str(
            error or self._session.get_exception() or self._session.farewell or "it was closed"
        ).rstrip(".")
        self.loss = reason
        return lost(self, reason, self._where, sent=self.sent)

    def _no_shell(self) -> ShellUnavailable:
        noise = b"\n".join(
            filter(None, ((bytes(stream.noise) + stream.marked.rest()).strip() for stream in self._streams))
        ).decode("utf-8", "replace")
        says = f'; the host said: "{" ".join(noise.split())[:500]}"' if noise else ""
        return ShellUnavailable(
            f"The login of {self._where['user']} on {self._where['host']} gives no bash{says}.",
            "The account needs a login shell that runs commands (not nologin or a forced command), and bash "
            "must be installed and on its PATH.",
            noise,
            **self._where,
        )


def signal_name(exit_code: int) -> str | None:
    """The signal behind an exit code as shells give it, without ``SIG``; None where there is none."""
    try:
        return signals.Signals(exit_code - 128).name.removeprefix("SIG") if exit_code > 128 else None
    except ValueError:
        return None
