"""Files over a shell channel: to a name of their own beside the destination, compared, then renamed over it.

A shell and not SFTP: it is faster, it can compare checksums, and it can tidy up. When the connection is cut,
the script on the host reads the end of its input, misses the seal that only a whole file has, and removes
what it wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import FileCopied, OutcomeUnknown, TransferFailed
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.local_files import beside, regular
from dlpx_remote.transports.ssh.scripted import Scripted, assignments
from dlpx_remote.transports.ssh.session import SessionLost

STALLED = 60.0
"""Seconds without a byte after which a transfer is given up, where the connection has no idle time-out."""

_PIECE = 1 << 20
_SEAL = b"%s%020d%s\n"
_SEAL_LENGTH = 32 + 20 + 64 + 1

_COMMON = rb"""
fail() { report F "$1"; exit 1; }
digest() { # FILE; openssl is three times as fast as coreutils where the processor helps
  local sum= tool
  for tool in 'openssl dgst -sha256 -r' sha256sum 'shasum -a 256' 'sha256 -q'; do
    command -v ${tool%% *} >/dev/null || continue
    sum=$($tool <"$1") && [ ${#sum} -ge 64 ] && break
    sum=
  done 2>/dev/null
  printf %s "${sum:0:64}"
}
# Signs of life while nothing else is to be said. A client that is gone without a word (its machine lost
# power) shows in a file that does not grow: then the reading of it ends.
pulse() {
  (
    trap 'kill $nap; exit' TERM; size= quiet=0
    while kill -0 $$; do
      sleep $every & nap=$!; wait $nap
      report A '' 2>&8
      [ -n "$temporary" ] || continue
      now=$(wc -c <"$temporary")
      if [ "$now" = "$size" ]; then quiet=$((quiet + every)); else quiet=0 size=$now; fi
      [ $quiet -lt $patience ] || kill $cat
    done
  ) 8>&2 2>/dev/null >/dev/null </dev/null & pulse=$!
}
trap 'exit 1' HUP INT TERM
trap '{ rm -f -- "$temporary"; kill $pulse $cat; } 2>/dev/null' EXIT
temporary= cat= pulse=
cd 2>/dev/null || [ "${folder#/}" != "$folder" ] || fail home
path=$folder/$name
"""

_PUT = rb"""
exec 9<&0 </dev/null; umask 077
[ -d "$path" ] && fail directory
case $(uname -s) in Linux) over=-fT;; FreeBSD) over=-fh;; *) over=-f;; esac
temporary=$folder/$temporary_name
set -C; exec 7>"$temporary" || { temporary=; fail create; }
set +C
cat <&9 >&7 & cat=$!
exec 9<&-; pulse
wait $cat || fail write
exec 7>&-; cat=
size=$(($(wc -c <"$temporary") - length))
[ $size -ge 0 ] || fail cut
seal=$(tail -c $length <"$temporary" 2>/dev/null | tr -d '\0')
[ "${seal:0:32}" = "$frame" ] && [ $((10#${seal:32:20})) = $size ] || fail cut
dd if=/dev/null of="$temporary" bs=1 seek=$size 2>/dev/null || fail write
sum=$(digest "$temporary")
[ -z "$sum" ] || [ "$sum" = "${seal:52:64}" ] || fail checksum
[ -z "$owner" ] || chown -- "$owner" "$temporary" || fail owner
chmod $mode "$temporary" || fail mode
mv $over "$temporary" "$path" || fail rename
temporary=
report D "$sum"
"""

_GET = rb"""
exec </dev/null
[ -d "$path" ] && fail directory
[ -f "$path" ] || [ ! -e "$path" ] || fail special
exec 7<"$path" || fail open
file=$path; [ -e /proc/self/fd/7 ] && file=/proc/self/fd/7
look() {
  stat -L -c '%s %y %i' "$file" 2>/dev/null || stat -L -f '%z %Fm %i' "$file" 2>/dev/null ||
    { set -- $(ls -lLnd "$file"); printf '%s %s' "$5" "$*"; }
}
before=$(look)
report S "${before%% *}"
pulse
report C "$(digest "$file")" & sum=$!
begin
cat <&7 || fail read
wait $sum
[ "$(look)" = "$before" ] || fail changed
report D ''
"""

_WHY = {
    "home": "the account's home directory cannot be entered, and the path is relative",
    "directory": "{path} is a directory",
    "special": "{path} is no regular file",
    "cut": "it did not arrive whole",
    "checksum": "its checksum on the host is another one",
    "changed": "it changed while it was copied",
    "owner": "the owner {owner} could not be given to it",
    "mode": "the mode could not be given to it",
}
_ACTIONS = {
    "directory": "Name a file in it.",
    "special": "Only regular files can be copied.",
    "owner": "Log in as root, or leave the owner to the account; check that the names exist on the host.",
    "checksum": "Try again; look at the host's memory and disks when it happens twice.",
    "cut": "Try again.",
    "changed": "Try again when nothing writes to it.",
    "read": "Check the host's disks.",
}


@dataclass(frozen=True)
class TransferLimits:
    """How long a transfer may take and be silent.

    Attributes:
        idle: seconds without a byte.
        total: seconds for all of it; None for no limit.
    """

    idle: float
    total: float | None


class Transfer:
    """Copies one file; made for one script that is not started yet."""

    def __init__(self, script: Scripted, limits: TransferLimits, where: dict[str, str]) -> None:
        self._script = script
        self._limits = limits
        self._where = where
        self._sealed = False

    def put(self, source: Path, destination: str, *, mode: int, owner: str) -> FileCopied:
        """Local ``source`` to ``destination`` on the host.

        Args:
            source: a regular file.
            destination: relative to the home directory; a symbolic link there is itself replaced.
            mode: permissions.
            owner: ``user``, ``user:group`` or ``:group``, names or numbers; empty leaves it to the account.
        """
        folder, name = _split(destination)
        temporary = b".dlpx-remote." + os.urandom(8).hex().encode() + b".part"
        frame = self._script.token.frame.encode()
        head = self._head(folder, name) + assignments(
            temporary_name=temporary,
            mode=b"%o" % mode,
            owner=owner.encode(),
            frame=frame,
            length=_SEAL_LENGTH,
        )
        what = f"{source} could not be copied to {self._where['host']}:{destination}"
        with self._failing(what, path=destination, owner=owner), regular(source) as (local, before):
            self._script.start(head + _COMMON + _PUT)
            size, sum = self._send(local)
            after = os.fstat(local.fileno())
            if (size, after.st_size, after.st_mtime_ns) != (
                before.st_size,
                before.st_size,
                before.st_mtime_ns,
            ):
                raise _Refused("changed")
            self._sealed = True
            self._script.write(_SEAL % (frame, size, sum.encode()))
            self._script.end_input()
            self._script.wait_for("D", "F")
            self._require("D")
            return FileCopied(size, sum, verified=bool(self._script.reports["D"]))

    def get(self, source: str, destination: Path, *, mode: int) -> FileCopied:
        """``source`` on the host to local ``destination``; a symbolic link there is itself replaced."""
        folder, name = _split(source)
        what = f"{self._where['host']}:{source} could not be copied to {destination}"
        with self._failing(what, path=source), beside(destination) as (local, temporary):
            self._script.start(self._head(folder, name) + _COMMON + _GET)
            self._script.end_input()
            size, sum = self._receive(local)
            self._require("D")
            reports = self._script.reports
            if str(size) != reports.get("S"):
                raise _Refused("changed")
            if reports.get("C") not in ("", sum):
                raise _Refused("checksum")
            local.flush()
            os.fchmod(local.fileno(), mode)
            temporary.replace(destination)
            return FileCopied(size, sum, verified=bool(reports["C"]))

    def _head(self, folder: bytes, name: bytes) -> bytes:
        return assignments(
            folder=folder,
            name=name,
            every=max(1, int(min(self._limits.idle / 3, 10))),
            patience=int(self._limits.idle * 2 + STALLED),
        )

    def _send(self, local: BinaryIO) -> tuple[int, str]:
        size = 0
        with _Digest() as digest:
            while piece := local.read(_PIECE):
                digest.update(piece)
                if not self._script.write(piece):
                    self._script.wait_for("F")  # it has ended, and says why
                    self._require("D")
                size += len(piece)
            return size, digest.value()

    def _receive(self, local: BinaryIO) -> tuple[int, str]:
        size = 0
        digest = hashlib.sha256()
        while piece := self._script.read():
            digest.update(piece)
            local.write(piece)
            size += len(piece)
        return size, digest.hexdigest()

    def _require(self, kind: str) -> None:
        reports = self._script.reports
        if "F" in reports:
            raise _Refused(reports["F"])
        if kind not in reports:
            raise EOFError

    @contextlib.contextmanager
    def _failing(self, what: str, **names: str) -> Iterator[None]:
        """Make every failure one of ours."""
        try:
            yield
        except TimeUp as error:
            raise self._given_up(what) from error
        except _Refused as error:
            raise self._refused(what, error.kind, names) from error
        except (SessionLost, EOFError) as error:
            raise self._cut(what, error) from error
        except OSError as error:  # the script's own are SessionLost
            raise TransferFailed(
                f"{what}: {error.strerror or error}.",
                "Check the path, the permissions and the free space on this machine.",
                **self._where,
            ) from error

    def _given_up(self, what: str) -> TransferFailed | OutcomeUnknown:
        over = self._limits.total is not None and self._script.out_of_time
        why = (
            f"not done within {self._limits.total:g} s"
            if over
            else f"nothing came for {self._limits.idle:g} s"
        )
        return self._unfinished(what, why)

    def _cut(self, what: str, error: Exception) -> TransferFailed | OutcomeUnknown:
        if not self._script.lost and "H" not in self._script.reports:
            return TransferFailed(
                f"{what}: the login of {self._where['user']} gives no bash.",
                "The account needs a login shell that runs commands, and bash must be on its PATH.",
                self._script.noise,
                **self._where,
            )
        why = "the connection was lost" if self._script.lost else "the script that wrote it was ended there"
        return self._unfinished(what, f"{why}: {error}" if str(error) else why)

    def _unfinished(self, what: str, why: str) -> TransferFailed | OutcomeUnknown:
        if not self._sealed:
            return TransferFailed(f"{what}: {why}.", "Try again.", self._script.noise, **self._where)
        return OutcomeUnknown(
            f"{what}, or it was: {why} after the last byte was sent.",
            "Look at the destination: it is either as before, or the whole new file.",
            self._script.noise,
            **self._where,
        )

    def _refused(self, what: str, kind: str, names: dict[str, str]) -> TransferFailed:
        noise = self._script.noise
        why = _WHY[kind].format(**names) if kind in _WHY else noise.rpartition(": ")[2].rstrip(".")
        action = _ACTIONS.get(kind, "Check the path, the permissions and the free space on the host.")
        return TransferFailed(f"{what}: {why or kind}.", action, noise, **self._where)


def in_words(copied: FileCopied) -> str:
    """For the trace."""
    how = "checksum compared" if copied.verified else "size compared; the host has no tool for SHA-256"
    return f", {how}"


class _Refused(Exception):
    """The transfer does not go on; ``kind`` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Digest:
    """SHA-256 in a thread of its own, one piece behind."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "digest")
        self._sum = hashlib.sha256()
        self._last: Future[None] | None = None

    def __enter__(self) -> _Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def update(self, piece: bytes) -> None:
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(self._sum.update, piece)

    def value(self) -> str:
        if self._last is not None:
            self._last.result()
        return self._sum.hexdigest()


def _split(path: str) -> tuple[bytes, bytes]:
    """Folder and name; the folder begins with a slash or a dot, so that nothing takes it for an option.

    Raises:
        InvalidRequest: there is no such path.
    """
    encoded = os.fsencode(path)
    if not encoded or b"\0" in encoded:
        raise InvalidRequest(f"{path!r} is no path of a file.", "Give a path without a NUL character.")
    folder, name = posixpath.split(encoded)
    if name in (b"", b".", b".."):
        folder, name = encoded, b"."  # a directory: the host will say so
    if not folder.startswith(b"/"):
        folder = b"./" + folder
    return folder, name
