"""A directory of a host into one of this machine, by rsync over the connection that is open already.

The rsync of this machine is given a "remote shell" that hands its pipes to us; we join them to a channel on
which the host's rsync runs. So there is no second login, no credential leaves the engine, and every way in
works, jump hosts included. Paths of the host travel inside rsync's own protocol, not on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import SyncFailed, SyncProgress, SyncResult
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.privilege import reason_in
from dlpx_remote.transports.ssh import remote_shell
from dlpx_remote.transports.ssh.bootstrap import quote
from dlpx_remote.transports.ssh.scripted import Scripted
from dlpx_remote.transports.ssh.session import SessionLost

_PIECE = 1 << 18
_SAID_KEPT = 16_384
_ENDING = 5.0
_PROGRESS = re.compile(rb"^\s*(\d+)\s+(\d+)%")
_STATISTIC = re.compile(rb"^(Number of regular files transferred|Total transferred file size): (\d+)")

VANISHED = 24
PARTIAL = 23


@dataclass(frozen=True)
class SyncRequest:
    """What to copy, and how.

    Attributes:
        source: directory on the host, relative to the home directory.
        destination: an existing local directory.
        excluded: rsync patterns; one that begins with a slash is relative to ``source``.
        followed: symbolic links whose target is copied in their place, relative to ``source``.
        delete: remove what is at the destination and not at the source.
        rsync: the words that start rsync on the host.
        idle: seconds without a byte.
        total: seconds for all of it; None for no limit.
        on_progress: called now and then, from the calling thread.
        abort: ends the copying.
    """

    source: str
    destination: Path
    excluded: tuple[str, ...]
    followed: tuple[str, ...]
    delete: bool
    rsync: tuple[str, ...]
    idle: float
    total: float | None
    on_progress: Callable[[SyncProgress], None] | None
    abort: Abort | None = None

    def waking(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, ``wake`` is called when the end is asked for."""
        return contextlib.nullcontext() if self.abort is None else self.abort.wakes(wake)


class RefusedByHost(Exception):
    """The program between us and the host's rsync (sudo) did not start it; ``said`` is what it said."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


OpenScript = Callable[[], AbstractContextManager[Scripted]]


def sync(request: SyncRequest, open_script: OpenScript, where: dict[str, str]) -> SyncResult:
    """Copy; first everything but the links to follow, then what each of them leads to.

    Args:
        request: what to copy.
        open_script: gives a channel for a script.
        where: host and user, for errors.

    Raises:
        InvalidRequest: a path cannot be meant.
        SyncFailed: what is at the destination is not whole.
        RefusedByHost: rsync was not started.
    """
    program = shutil.which("rsync")
    if program is None:
        raise SyncFailed("rsync is not installed on this machine.", "Install the package rsync.", **where)
    if not request.destination.is_dir():
        raise InvalidRequest(f"{request.destination} is no directory.", "Make it first.")
    root = request.source.rstrip("/")
    followed = [_beneath(path, root) for path in request.followed]
    excluded = [_pattern(path, root) for path in request.excluded]
    copied = _Copied()
    for place in ["", *followed]:
        rules = [*_rules(excluded, place), *(_literally(link) for link in _below(followed, place))]
        destination = request.destination / place
        destination.parent.mkdir(parents=True, exist_ok=True)
        run = _Run(request, program, open_script, where, copied)
        source = posixpath.join(root, place) if root else f"/{place}"
        if place:
            if destination.is_symlink() or destination.is_file():
                destination.unlink()  # what an earlier copy left in its place
            if run.of(f"{source}/", f"{destination}/", rules, link=True):
                continue
            if destination.is_dir():
                shutil.rmtree(destination)
            _Run(request, program, open_script, where, copied).of(source, str(destination), ["--copy-links"])
        else:
            run.of(f"{source}/", f"{destination}/", rules)
    return SyncResult(copied.files, copied.size, tuple(copied.vanished))


@dataclass
class _Copied:
    """What several runs copied together."""

    files: int = 0
    size: int = 0
    vanished: list[str] = field(default_factory=list)


class _Run:
    """One run of rsync."""

    def __init__(
        self,
        request: SyncRequest,
        program: str,
        open_script: OpenScript,
        where: dict[str, str],
        copied: _Copied,
    ) -> None:
        self._request = request
        self._program = program
        self._open_script = open_script
        self._where = where
        self._copied = copied
        self._failure: Exception | None = None
        self._said = bytearray()

    def of(self, source: str, destination: str, rules: Sequence[str], *, link: bool = False) -> bool:
        """Copy; False when ``link`` and the source turns out to be no directory."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = self._start(theirs, source, destination, rules)
            theirs.close()
            listener = threading.Thread(target=self._listen, args=(process,), name="rsync's errors")
            listener.start()
            try:
                with (
                    self._request.waking(partial(_ask_to_end, process)),
                    self._bridged(ours, process) as script,
                ):
                    self._follow(process)
                    process.wait()
            finally:
                _end(process)
                listener.join()
                for stream in (process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()
        return self._judge(process.returncode, script, source, link)

    def _start(
        self, theirs: socket.socket, source: str, destination: str, rules: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        shell = [sys.executable, "-I", "-S", remote_shell.__file__, str(theirs.fileno())]
        command = [
            self._program,
            "--archive",
            "--hard-links",
            "--numeric-ids",
            "--protect-args",
            "--no-human-readable",
            "--info=progress2,stats2",
            f"--timeout={max(1, int(self._request.idle))}",
            *(["--delete"] if self._request.delete else []),
            *rules,
            # rsync splits this at blanks, and knows quotes.
            f"--rsh={' '.join(_rsync_word(word) for word in shell)}",
            f"host:{_glob_escaped(source)}",
            destination,
        ]
        variables = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={**variables, "LC_ALL": "C"},
            start_new_session=True,
        )

    @contextlib.contextmanager
    def _bridged(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> Iterator[Scripted]:
        """rsync's pipes joined to a channel on which the host's rsync runs."""
        with self._open_script() as script:
            message, descriptors, _, _ = socket.recv_fds(ours, 1 << 16, 2)
            if not descriptors:  # rsync did not even come so far; it has said why
                yield script
                return
            for descriptor in descriptors:
                os.set_blocking(descriptor, True)  # rsync makes both ends of its pipes non-blocking
            arguments = json.loads(message)[2:]  # after the host's name and rsync's
            words = b" ".join(quote(os.fsencode(word)) for word in (*self._request.rsync, *arguments))
            threads = [
                threading.Thread(target=self._up, args=(script, descriptors[0], process), name="rsync up"),
                threading.Thread(
                    target=self._down, args=(script, descriptors[1], ours, process), name="rsync down"
                ),
            ]
            try:
                script.start(b"cd 2>/dev/null || cd /\nbegin\n%s\nreport X $?" % words)
            except (TimeUp, SessionLost) as error:
                self._give_up(error, process)
            for thread in threads:
                thread.start()
            try:
                yield script
            finally:
                _end(process)
                for thread in threads:
                    thread.join()

    def _up(self, script: Scripted, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        try:
            while (piece := _read(descriptor)) and script.write(piece):
                pass
            script.end_input()
        except (TimeUp, SessionLost) as error:
            self._give_up(error, process)
        finally:
            os.close(descriptor)

    def _down(
        self, script: Scripted, descriptor: int, ours: socket.socket, process: subprocess.Popen[bytes]
    ) -> None:
        try:
            while piece := script.read():
                _write(descriptor, piece)
            if script.lost:
                raise SessionLost("it was lost")
        except (TimeUp, SessionLost) as error:
            self._give_up(error, process)
        except OSError:  # our rsync has ended, and says why
            script.close()
        finally:
            os.close(descriptor)  # so that rsync reads the end, also when the connection is lost
        code = int(script.reports.get("X", "255"))
        with contextlib.suppress(OSError):
            ours.send(bytes([code & 0xFF]))

    def _give_up(self, error: Exception, process: subprocess.Popen[bytes]) -> None:
        self._failure = self._failure or error
        _end(process)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        while process.stderr is not None and (piece := _read(process.stderr.fileno())):
            self._said += piece
            del self._said[:-_SAID_KEPT]

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read what rsync says of its progress, until it ends."""
        rest = b""
        while process.stdout is not None and (piece := _read(process.stdout.fileno())):
            *lines, rest = re.split(rb"[\r\n]", rest + piece)
            for line in lines:
                if (found := _PROGRESS.match(line)) and self._request.on_progress is not None:
                    done = SyncProgress(self._copied.size + int(found[1]), int(found[2]))
                    self._request.on_progress(done)
                elif found := _STATISTIC.match(line):
                    if found[1].startswith(b"Number"):
                        self._copied.files += int(found[2])
                    else:
                        self._copied.size += int(found[2])

    def _judge(self, code: int, script: Scripted, source: str, link: bool) -> bool:
        ours = self._said.decode("utf-8", "replace")
        said = f"{script.said}\n{ours}".strip()  # the host's first: they are the cause of ours
        if code == 0:
            return True
        if code == VANISHED:
            self._copied.vanished += re.findall(r'file has vanished: "(.*?)"(?: \(in .*\))?$', said, re.M)
            return True
        if link and "failed: Not a directory (20)" in said:
            return False
        host = self._where["host"]
        what = f"{source.rstrip('/') or '/'} on {host} could not be copied to {self._request.destination}"
        if self._request.abort is not None and self._request.abort.asked:
            raise self._failed(what, "it was cancelled", "What has come is kept.", said)
        if isinstance(self._failure, TimeUp):
            over = self._request.total is not None and script.out_of_time
            why = f"not done within {self._request.total:g} s" if over else "the host was silent for too long"
            raise self._failed(what, why, "Raise the time-out, or try again.", said)
        if isinstance(self._failure, SessionLost) or script.lost:
            raise self._failed(what, "the connection was lost", "Try again; what has come is kept.", said)
        if reason_in(script.said) is not None:
            raise RefusedByHost(script.said)
        if script.reports.get("X") in ("126", "127"):
            raise self._failed(what, "rsync could not be started there", "Install rsync on the host.", said)
        raise self._failed(what, *_explained(code, said), said)

    def _failed(self, what: str, why: str, action: str, said: str) -> SyncFailed:
        return SyncFailed(f"{what}: {why}.", action, said, **self._where)


def _explained(code: int, said: str) -> tuple[str, str]:
    """What rsync's exit code and words come to, and what to do."""
    found = re.search(r'change_dir (?:#\d+ )?".*" (?:\(in .*\) )?failed: (.*) \(\d+\)', said)
    if found:
        return f"its directory: {found[1]}", "Check the path, and that the account may read it."
    if re.search(r"No space left on device|Disk quota exceeded", said):
        return "no space is left here", "Make room on this machine."
    denied = re.findall(r'"(.*?)"(?: \(in .*?\))?(?: failed)?: Permission denied \(13\)', said)
    if denied:
        more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
        return f"{denied[0]}{more} may not be read", "Copy as a user who may read it, or exclude it."
    first = next((line for line in said.splitlines() if line.startswith("rsync")), "")
    first = re.sub(r"^rsync(: | error: )(\[\w+\] )?", "", first).rstrip(".")
    return f"rsync ended with {code}" + (f": {first}" if first else ""), "See what rsync says."


def _beneath(path: str, root: str) -> str:
    """A path of a link relative to the source directory."""
    relative = path[len(root) :] if root and path.startswith(f"{root}/") else path
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        raise InvalidRequest(
            f"{path!r} is no symbolic link below {root or '/'}.", "Give its path relative to that directory."
        )
    return "/".join(parts)


def _pattern(path: str, root: str) -> str:
    if not path.strip("/") or "\0" in path:
        raise InvalidRequest(f"{path!r} is nothing that can be excluded.", "Give a path or a pattern.")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _rules(excluded: Sequence[str], place: str) -> list[str]:
    """The rules for a run that begins at ``place``: those anchored elsewhere do not concern it."""
    rules = []
    for pattern in excluded:
        if pattern.startswith("/") and place:
            if pattern.startswith(f"/{place}/"):
                rules.append(f"--filter=- {pattern[len(place) + 1 :]}")
        else:
            rules.append(f"--filter=- {pattern}")
    return rules


def _below(followed: Sequence[str], place: str) -> list[str]:
    if not place:
        return list(followed)
    return [link[len(place) + 1 :] for link in followed if link.startswith(f"{place}/")]


def _literally(path: str) -> str:
    return f"--filter=- /{_glob_escaped(path)}"


def _glob_escaped(path: str) -> str:
    """rsync reads a backslash as one where a path holds no wildcard."""
    return re.sub(r"([*?\[\\])", r"\\\1", path) if re.search(r"[*?\[]", path) else path


def _rsync_word(word: str) -> str:
    return shlex.quote(word) if "'" not in word else f'"{word}"'


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End rsync and all that it started, unless it has ended by itself. It removes its temporary file."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)
