"""One command in a shell: started, given its script over stdin, listened to, ended.

Not sent, sent, started, finished: :class:`Command` records how far it came, and every way it can end maps to
one result or error. Only the whole frame, whose last part is the last Send, makes PowerShell run anything:
whatever fails before that part left this machine has run nothing. Only a Receive is ever repeated. An answer
to one that was lost may have had output in it, and no host is known to send it twice; but the same command of
the same shell can be asked again over another connection, and tells how it ended (:class:`OutputLost`). An
answer to the last Send that was lost costs nothing where the script then turns out to run.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandResult,
    ConnectFailed,
    CredentialUnusable,
    HostKeyError,
    OutputCallback,
    OutputLost,
    ShellUnavailable,
    StreamName,
    TransportError,
)
from dlpx_remote.transports.limits import Idle, Limits, TimeUp, TooMuchOutput, lost
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.winrm import soap
from dlpx_remote.transports.winrm.bootstrap import COMMAND_LINE, RESIDENT_LINE
from dlpx_remote.transports.winrm.clixml import ClixmlStream
from dlpx_remote.transports.winrm.outcomes import (
    NOT_FOUND,
    OPERATION_TIMEOUT,
    OutOfTime,
    Refused,
    Unanswered,
)
from dlpx_remote.transports.winrm.wire import Wire

WAIT = 20.0
"""Seconds after which the host answers a Receive, whether anything came or not: a sign of life."""

LOOK = 2.0
"""The same for a command whose end may be asked for: it is seen between two answers."""

ANSWER = 20.0
"""Seconds beyond that after which a host that says nothing is taken for lost."""

LAST_ANSWER = 3.0
"""The same where the command's own time is up then."""

SHORTEST = 0.5
"""Seconds of the shortest operation time-out that hosts take (MaxTimeoutms)."""

_PAUSE = 0.1
_NOT_READING = (NOT_FOUND, 109, 232)  # ERROR_BROKEN_PIPE, ERROR_NO_DATA: stdin is closed
_NOISE_KEPT = 4096
_ASK_AGAIN = 1.0


class Command:
    """A command on its way.

    Args:
        wire: to the host; the caller's for as long as the command lasts.
        shell_id: of an open shell.
        token: that the frame was made with.
        where: host and user for errors.
        settle: seconds for reaching the host again where an answer was lost; 0 does not try.
        closing: set when the connection is being closed.
        resident: the process takes more than one script: this one is over when it says so.
    """

    def __init__(
        self,
        wire: Wire,
        shell_id: str,
        token: str,
        where: dict[str, str],
        *,
        settle: float,
        closing: threading.Event,
        resident: bool = False,
    ) -> None:
        self._wire = wire
        self._settle = settle
        self._closing = closing
        self._resident = resident
        self._patience: Deadline | None = None
        self._loss = ""
        self._in_doubt = False
        self._output_lost = False
        self._wants_more = False
        self._stdout_end = _End(token)
        self._stderr_end = _End(token)
        self._where = where
        self._start = token.encode() + b"\n"
        self.token = token
        self._noise = bytearray()
        self._stdout: list[bytes] = []
        self._stderr: list[bytes] = []
        self._clixml = ClixmlStream()
        self._size = 0
        self._began = time.monotonic()
        self._busy_since: float | None = None
        self.shell_id = shell_id
        self.command_id = soap.new_id()
        self.sent = False
        self.started = False
        self.over = False
        """The process has ended: it takes no other script."""

    @property
    def stdout(self) -> bytes:
        """What the script has written so far."""
        return b"".join(self._stdout) + self._stdout_end.pending

    @property
    def stderr(self) -> bytes:
        """What the script has written so far, as text."""
        return b"".join(self._stderr) + self._stderr_end.pending

    def begin(self, deadline: Deadline) -> None:
        """Start PowerShell.

        Raises:
            Refused, Unanswered, ConnectFailed: nothing has run.
        """
        messages = self._wire.messages
        seconds = _operation(deadline.remaining(at_most=WAIT))
        line = RESIDENT_LINE if self._resident else COMMAND_LINE
        request = messages.command(self.shell_id, self.command_id, line, seconds=seconds)
        self.command_id = soap.read_command_id(self._wire.exchange(request, _answered(deadline)))

    def send(self, frame: bytes, more: Iterable[bytes], limits: Limits) -> None:
        """Hand over the frame, then ``more`` for the script to read, then the end of stdin.

        Raises:
            NotSent, OutcomeUnknown: the connection was lost before or after the last part was sent.
            TimeUp: the host does not take it in time; ``sent`` says whether the script may run.
        """
        pieces = _pieces(frame, more)
        piece, frame_left = next(pieces), len(frame)
        while True:
            following = next(pieces, None)
            frame_left -= len(piece)
            whole = frame_left <= 0  # with this part, the script can run
            self._wants_more = (whole and following is not None) or self._wants_more
            end = following is None and not self._resident
            try:
                if not self._send(piece, whole=whole, end=end, limits=limits):
                    return  # it does not read any more: what it says, and its exit code, tell why
            except Unanswered as error:
                self.sent = self.sent or (whole and error.sent)
                if not (self.sent and error.sent) or following is not None:
                    self._lost(error.reason, error)
                self._in_doubt = True  # all of it may be there: then the script is heard of
                self._again(error.reason, error, limits)
                return
            if following is None:
                return
            piece = following

    def _send(self, piece: bytes, *, whole: bool, end: bool, limits: Limits) -> bool:
        """Hand over one part; False where the process does not read any more."""
        while True:
            deadline = limits.deadline
            seconds = _operation(deadline.remaining(at_most=WAIT))
            request = self._wire.messages.send(
                self.shell_id, self.command_id, piece, end=end, seconds=seconds
            )
            try:
                self._wire.exchange(request, _answered(deadline))
            except Refused as refused:
                if refused.fault.code in _NOT_READING:
                    return False
                if refused.fault.code == OPERATION_TIMEOUT:  # it may have been taken by then
                    self.sent = self.sent or whole
                if not refused.fault.is_passing:
                    self._lost(f"the host did not take it: {refused.fault.in_words}", refused)
                self._pause(limits, refused)  # not taken: the only Send that is repeated
                continue
            except OutOfTime as error:
                self.sent = self.sent or (whole and error.sent)
                raise TimeUp from error
            except ConnectFailed as error:
                self._lost(error.message.rstrip("."), error)
            self.sent = self.sent or whole
            self._busy_since = None
            return True

    def collect(self, limits: Limits, on_output: OutputCallback | None) -> CommandResult:
        """Receive until the command has ended.

        Raises:
            TimeUp, TooMuchOutput: the command still runs.
            ShellUnavailable, OutcomeUnknown: it does not, or nobody knows.
        """
        last_news = time.monotonic()
        while True:
            idle_left = None if limits.idle is None else last_news + limits.idle - time.monotonic()
            if limits.deadline.expired:
                raise TimeUp
            if idle_left is not None and idle_left <= 0:
                raise Idle
            received = self._receive(limits, limits.deadline.remaining(at_most=idle_left))
            if received is None:
                continue
            if received.pieces:
                last_news = time.monotonic()
            self._take(received.pieces, limits.max_output, on_output)
            if self.started and not self._wants_more:
                self._in_doubt = False
            if received.exit_code is not None:
                self.over = True
                return self._result(received.exit_code, on_output)
            if self._stdout_end.exit_code is not None and self._stderr_end.exit_code is not None:
                return self._result(self._stdout_end.exit_code, on_output)

    def terminate(self, deadline: Deadline) -> bool:
        """End it; True when the host says that it did, or that there is no such command."""
        request = self._wire.messages.terminate(
            self.shell_id, self.command_id, seconds=_operation(deadline.remaining(at_most=WAIT))
        )
        try:
            self._wire.exchange(request, deadline)
        except Refused as refused:
            fault = refused.fault
            return fault.code not in (None, OPERATION_TIMEOUT) and not fault.is_passing
        except (Unanswered, ConnectFailed):
            return False
        return True

    def _receive(self, limits: Limits, left: float | None) -> soap.Received | None:
        """What came next; None where the same may be asked again."""
        try:
            received = self._ask(left, limits)
        except Refused as refused:
            if refused.fault.code == OPERATION_TIMEOUT:
                self._reached(refused)
                return None
            if refused.fault.is_passing:
                self._pause(limits, refused)
                return None
            gone = refused.fault.code == NOT_FOUND
            why = "the host does not know the command any more" if gone else "the host answered with a fault"
            why = f"{why}: {refused.fault.in_words}"
            self._lost(f"{self._loss}; {why}" if self._loss else why, refused)
        except OutOfTime as error:
            if limits.deadline.expired:
                raise TimeUp from error
            self._output_lost = self._output_lost or error.sent
            self._again("the host fell silent", error, limits)
            return None
        except Unanswered as error:
            self._output_lost = self._output_lost or error.sent
            self._again(error.reason, error, limits)
            return None
        except ConnectFailed as error:
            self._again(error.message.rstrip("."), error, limits)
            return None
        self._reached(None)
        self._busy_since = None
        return received

    def _again(self, reason: str, error: Exception, limits: Limits) -> None:
        """Before a Receive is made again whose answer, or that of the last Send, was lost."""
        self._loss = self._loss or reason
        at_once = self._patience is None and not isinstance(error, ConnectFailed)
        if self._patience is None:
            self._patience = Deadline(limits.deadline.remaining(at_most=self._settle))
        if (
            self._patience.expired
            or self._closing.is_set()
            or isinstance(error, AuthenticationFailed | CredentialUnusable | HostKeyError)
            # Where it says itself that a script is over, that may be what was lost.
            or (self._resident and (self._output_lost or self._in_doubt))
        ):
            self._lost(reason, error)
        if not at_once:
            self._closing.wait(self._patience.remaining(at_most=_ASK_AGAIN))

    def _reached(self, nothing_came: Exception | None) -> None:
        """The host has answered again."""
        if not self._in_doubt:
            self._patience = None
        elif nothing_came is not None and (self._patience is None or self._patience.expired):
            self._lost(self._loss, nothing_came)

    def _ask(self, left: float | None, limits: Limits) -> soap.Received:
        longest = WAIT if limits.abort is None else LOOK
        wait = longest if left is None else min(longest, left)
        if self._in_doubt and self._patience is not None:
            wait = self._patience.remaining(at_most=wait) or 0.0
        answer = Deadline(wait + (ANSWER if wait == longest else LAST_ANSWER))
        request = self._wire.messages.receive(self.shell_id, self.command_id, seconds=_operation(wait))
        body = self._wire.exchange(request, answer)
        try:
            return soap.read_received(body, self.command_id)
        except soap.NotUnderstood as error:
            self._wire.close()
            raise Unanswered(str(error), sent=True) from error

    def _take(
        self,
        pieces: Iterable[tuple[StreamName, bytes]],
        max_output: int,
        on_output: OutputCallback | None,
    ) -> None:
        for name, raw in pieces:
            data = self._output_of(raw) if name == "stdout" else self._clixml.feed(raw)
            if self._resident and data:
                data = (self._stdout_end if name == "stdout" else self._stderr_end).feed(data)
            self._size += len(raw)
            self._keep(name, data, on_output)
        if self._size > max_output:
            raise TooMuchOutput

    def _output_of(self, data: bytes) -> bytes:
        """What of ``data`` the script wrote: all that follows the token."""
        if self.started:
            return data
        self._noise += data
        before, found, output = bytes(self._noise).partition(self._start)
        if found:
            self.started = True
            self._noise[:] = before
            return output
        return b""

    def _keep(self, name: StreamName, data: bytes, on_output: OutputCallback | None) -> None:
        if not data:
            return
        (self._stdout if name == "stdout" else self._stderr).append(data)
        if on_output is not None:
            on_output(name, data)

    def _result(self, exit_code: int, on_output: OutputCallback | None) -> CommandResult:
        self._keep("stderr", self._stderr_end.rest() + self._clixml.rest(), on_output)
        self._keep("stdout", self._stdout_end.rest(), on_output)
        if self._output_lost:
            raise self._ended_unheard(exit_code)
        if self.started:
            return CommandResult(
                exit_code=exit_code,
                stdout=self.stdout,
                stderr=self.stderr,
                duration=time.monotonic() - self._began,
            )
        noise = (bytes(self._noise[-_NOISE_KEPT:]) + self.stderr[-_NOISE_KEPT:]).decode("utf-8", "replace")
        words = " ".join(noise.split())
        says = f'; the host said: "{words[:500]}"' if words else f"; it ended with exit code {exit_code}"
        raise ShellUnavailable(
            f"Windows PowerShell did not run the script on {self._where['host']}{says}.",
            "powershell.exe 3.0 or newer must be on the PATH of the account, and no policy (AppLocker, "
            "constrained language mode) may restrict it.",
            noise,
            **self._where,
        )

    def _ended_unheard(self, exit_code: int) -> TransportError:
        """It has ended, and an answer was lost on the way."""
        if not self.started:  # whose exit code this is was in that answer
            return lost(self, self._loss, self._where, sent=True)
        return OutputLost(
            f"The connection to {self._where['host']} was lost while the script ran ({self._loss}); it ended "
            f"with exit code {exit_code}, and some of what it wrote may be lost.",
            "Do not run it again without need; look at the host for what it has done.",
            exit_code=exit_code,
            stdout=self.stdout,
            stderr=self.stderr,
            **self._where,
        )

    def _pause(self, limits: Limits, refused: Refused) -> None:
        """Before the same request is made again, which the host had no room for."""
        self._busy_since = self._busy_since or time.monotonic()
        if time.monotonic() - self._busy_since > WAIT + ANSWER:
            self._lost(f"the host is busy all the time: {refused.fault.in_words}", refused)
        if limits.deadline.expired:
            raise TimeUp
        time.sleep(limits.deadline.remaining(at_most=_PAUSE) or 0.0)

    def _lost(self, reason: str, error: Exception) -> NoReturn:
        raise lost(self, reason, self._where, sent=self.sent) from error


class _End:
    """Finds the line with which a resident process says that a script is over.

    Attributes:
        pending: output, unless it is the beginning of that line.
        exit_code: once the line has come.
    """

    def __init__(self, token: str) -> None:
        self._line = re.compile(re.escape(token.encode()) + rb":(-?\d+)\n")
        self._longest = len(token) + 14
        self.pending = b""
        self.exit_code: int | None = None

    def feed(self, data: bytes) -> bytes:
        """What of it is output for certain."""
        self.pending += data
        found = self._line.search(self.pending)
        if found:
            output, self.pending = self.pending[: found.start()], b""
            self.exit_code = int(found[1])
            return output
        cut = max(0, len(self.pending) - self._longest)
        output, self.pending = self.pending[:cut], self.pending[cut:]
        return output

    def rest(self) -> bytes:
        """What was kept back, once nothing more will come."""
        rest, self.pending = self.pending, b""
        return rest


def _pieces(frame: bytes, more: Iterable[bytes]) -> Iterator[bytes]:
    """What goes into one Send each; the frame's end is the end of one."""
    for data in itertools.chain((frame,), more):
        for start in range(0, len(data), soap.PIECE):
            yield data[start : start + soap.PIECE]


def _operation(seconds: float | None) -> float:
    return max(SHORTEST, WAIT if seconds is None else seconds)


def _answered(deadline: Deadline) -> Deadline:
    """By when a request that the host answers at once must be answered."""
    left = deadline.remaining(at_most=WAIT + ANSWER)
    return Deadline(WAIT + ANSWER if left is None else left)
