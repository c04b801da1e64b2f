"""A bash script on a channel of its own whose stdin and stdout carry a caller's bytes; it reports on stderr.

For what moves many bytes: files, rsync. Commands go another way (``commands``): they want their output whole,
their processes ended, and every one of their states known.

Reports are lines ``<token>:<kind>:<value>`` on stderr. What else comes there is noise, kept for messages. On
stdout the script writes the token and a line feed before its first byte; start-up files may write before.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import paramiko

from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh.bootstrap import EXEC, Token, quote
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session, SessionLost
from dlpx_remote.transports.ssh.wakeup import Wakeup

_LOST = (paramiko.SSHException, EOFError, OSError, SessionLost)
_PIECE = 1 << 20
_SEND_PIECE = 1 << 18
_NOISE_KEPT = 16_384

# The script is one group, so that bash has read all of it before something in it takes over stdin.
_FRAME = rb"""{ set +eu; trap '' PIPE; export LC_ALL=C
report() { printf '%%s%%s:%%s:%%s\n' %s %s "$1" "${2//$'\n'/ }" >&2; }
begin() { printf '%%s%%s\n' %s %s; }
report H ''
%s
exit; }
"""


class Scripted:
    """A running script; made by :func:`scripted`.

    Args:
        session: for knowing whether the connection still stands.
        channel: fresh and open.
        idle: seconds that may pass without anything coming or going.
        deadline: for all of it.

    Attributes:
        token: of the reports.
        reports: the values that came, by kind.
    """

    def __init__(self, session: Session, channel: paramiko.Channel, idle: float, deadline: Deadline) -> None:
        self.token = Token.new()
        self.reports: dict[str, str] = {}
        self._session = session
        self._channel = channel
        self._idle = idle
        self._deadline = deadline
        self._wakeup = Wakeup(channel)
        self._last_news = time.monotonic()
        self._sending_since: float | None = None
        self._stalled = False
        self._gone = False
        self._line = bytearray()
        self._noise = bytearray()
        self._before: bytearray | None = bytearray()  # what came on stdout before the script began

    @property
    def said(self) -> str:
        """What start-up files and programs wrote on stderr, or on stdout before the script began."""
        both = bytes((self._before or b"")[-_NOISE_KEPT:] + self._noise + self._line)
        return both.decode("utf-8", "replace")

    @property
    def noise(self) -> str:
        """The same on one line."""
        return " ".join(self.said.split())

    @property
    def ended(self) -> bool:
        """True once the script sends nothing more."""
        return bool(self._channel.closed or self._channel.eof_received)

    @property
    def out_of_time(self) -> bool:
        """True once the deadline for all of it is over."""
        return self._deadline.expired

    @property
    def lost(self) -> bool:
        """True once the connection is known to be gone; that the channel is closed shows a little earlier."""
        if self._channel.closed and not self._channel.eof_received:
            self._session.join(1.0)
        return self._gone or not self._session.is_active()

    def start(self, script: bytes) -> None:
        """Hand over the script.

        Raises:
            TimeUp: the host does not take it.
            SessionLost: the connection is gone.
        """
        first, second = (half.encode() for half in self.token.halves)
        with self._sending():
            self._session.request(self._channel, "exec", EXEC)
        self.write(_FRAME % (first, second, first, second, script))

    def write(self, data: bytes) -> bool:
        """Send all of ``data``; False when the script takes no more.

        Raises:
            TimeUp: it took nothing for too long.
            SessionLost: the connection is gone.
        """
        view = memoryview(data)
        while view:
            with self._sending():
                self._channel.settimeout(self._deadline.remaining(at_most=self._idle))
                try:
                    taken = self._session.send(self._channel, view[:_SEND_PIECE])
                except TimeoutError as error:
                    raise TimeUp from error
                except OSError as error:
                    if self.lost:
                        raise SessionLost(_reason(error)) from error
                    return False  # only the channel is closed
            if not taken:
                return False
            if self._deadline.expired:
                raise TimeUp
            view = view[taken:]
        return True

    def end_input(self) -> None:
        """Let the script read the end of its stdin."""
        with self._sending(), contextlib.suppress(OSError):
            self._channel.shutdown_write()
        self._last_news = time.monotonic()

    def read(self) -> bytes:
        """The next bytes of the script's stdout; empty at its end. Takes in reports on the way.

        Raises:
            TimeUp: nothing came for too long.
        """
        while True:
            ended = self.ended
            piece, news = self._take()
            if self._deadline.expired and not ended:
                raise TimeUp
            if piece:
                return piece
            if not news:
                if ended:
                    return b""
                self._wait()

    def wait_for(self, *kinds: str) -> None:
        """Wait until one of ``kinds`` is reported, or the script ends.

        Raises:
            TimeUp: nothing came for too long.
        """
        while not any(kind in self.reports for kind in kinds):
            ended = self.ended
            _, news = self._take()
            if not news:
                if ended:
                    return
                self._wait()

    def _wait(self) -> None:
        left = self._last_news + self._idle - time.monotonic()
        if left <= 0 or self._deadline.expired:
            raise TimeUp
        self._wakeup.wait(self._deadline.remaining(at_most=left))

    def close(self) -> None:
        """Close the channel: the script reads the end of its input, and cannot write any more."""
        with self._sending(), contextlib.suppress(*_LOST):
            self._channel.close()

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        self._sending_since = time.monotonic()
        try:
            yield
        except _LOST as error:
            if self._stalled:
                raise TimeUp from error
            self._gone = True
            raise SessionLost(_reason(error)) from error
        finally:
            self._sending_since = None

    def watch(self, stop: threading.Event) -> None:
        """End a connection that takes nothing: paramiko itself would wait in the socket for ever.

        For a thread of its own. The slack lets the channel's own time-out be first.
        """
        while not stop.wait(min(1.0, self._idle / 4)):
            since = self._sending_since
            if (
                since is not None
                and time.monotonic() - since > (self._deadline.remaining(self._idle) or 0) + 2
            ):
                self._stalled = True
                self._session.end()
                return

    def _take(self) -> tuple[bytes, bool]:
        """What has come: bytes of stdout, and whether anything came at all."""
        news = False
        if self._channel.recv_stderr_ready():
            news = True
            self._take_reports(self._channel.recv_stderr(_PIECE))
        piece = b""
        if self._channel.recv_ready():
            news = True
            piece = self._after_begin(self._channel.recv(_PIECE))
        if news:
            self._last_news = time.monotonic()
        return piece, news

    def _take_reports(self, data: bytes) -> None:
        *lines, rest = (bytes(self._line) + data).split(b"\n")
        self._line = bytearray(rest[-_NOISE_KEPT:])
        mark = self.token.value.encode() + b":"
        for line in lines:
            noise, found, report = line.partition(mark)  # a start-up file's last line may have no end
            if found:
                kind, _, value = report.decode("utf-8", "replace").partition(":")
                self.reports[kind] = value
            if noise:
                self._noise += noise + b"\n"
                del self._noise[:-_NOISE_KEPT]

    def _after_begin(self, piece: bytes) -> bytes:
        if self._before is None:
            return piece
        self._before += piece
        mark = self.token.value.encode() + b"\n"
        place = self._before.find(mark)
        if place < 0:
            del self._before[: -(_NOISE_KEPT + len(mark))]
            return b""
        first = bytes(self._before[place + len(mark) :])
        self._noise += self._before[:place]
        self._before = None
        return first


@contextlib.contextmanager
def scripted(
    session: Session, channel: paramiko.Channel, *, idle: float, deadline: Deadline
) -> Iterator[Scripted]:
    """A script to be started on ``channel``; the channel is closed at the end."""
    script = Scripted(session, channel, idle, deadline)
    stop = threading.Event()
    watch = threading.Thread(target=script.watch, args=(stop,), name="watch a transfer", daemon=True)
    watch.start()
    try:
        yield script
    finally:
        try:
            script.close()
        finally:
            stop.set()
            watch.join()


def _reason(error: BaseException) -> str:
    return str(error).strip().rstrip(".")


def assignments(**values: bytes | int) -> bytes:
    """Shell variables for a script, whatever their bytes."""
    return b"".join(
        b"%s=%s\n" % (name.encode(), quote(value if isinstance(value, bytes) else b"%d" % value))
        for name, value in values.items()
    )
