"""Files through a shell: to a name of their own beside the destination, compared, then put in its place.

A file goes to the host as lines of base64 on the stdin of one script, and comes as plain bytes on its stdout;
both sides count SHA-256. A script that is ended there cannot tidy up: then another one does, at once where
the host can be reached. Written against the running of one script only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import (
    CommandEnded,
    CommandResult,
    FileCopied,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    OutputLost,
    ShellUnavailable,
    StreamName,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.limits import Limits
from dlpx_remote.transports.local_files import beside, regular

if TYPE_CHECKING:
    from dlpx_remote.transports.winrm.running import Invocation

STALLED = 60.0
"""Seconds without a byte after which a transfer is given up, where the connection has no idle time-out."""

PIECE = 57_000
"""Bytes of a file in one line: a multiple of three, and in base64 (twice) below one message."""

Run = Callable[["Invocation", OutputCallback | None], CommandResult]

PUT = r"""
$ErrorActionPreference = 'Stop'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($env:DLPX_PATH)
if ([IO.Directory]::Exists($path)) { throw "$path is a directory" }
$folder = [IO.Path]::GetDirectoryName($path)
# What an engine that is gone has left; nobody can delete one that is still written to.
foreach ($old in [IO.Directory]::GetFiles($folder, '.dlpx-remote.*.part')) {
    if ([IO.File]::GetLastWriteTimeUtc($old) -lt [DateTime]::UtcNow.AddHours(-1)) {
        try { [IO.File]::Delete($old) } catch { }
    }
}
$part = Join-Path $folder $env:DLPX_PART
$sum = [Security.Cryptography.SHA256]::Create()
$file = [IO.File]::Open($part, 'CreateNew', 'Write', 'None')
try {
    while (-not ($line = [Console]::In.ReadLine()).StartsWith('=')) {
        $bytes = [Convert]::FromBase64String($line)
        $file.Write($bytes, 0, $bytes.Length)
        [void]$sum.TransformBlock($bytes, 0, $bytes.Length, $null, 0)
    }
    $file.Close()
    [void]$sum.TransformFinalBlock([byte[]]@(), 0, 0)
    $found = [BitConverter]::ToString($sum.Hash).Replace('-', '').ToLower()
    if ($line -cne "=$found") { throw 'its checksum on the host is another one' }
    if (-not [IO.File]::Exists($path)) { [IO.File]::Move($part, $path) }
    else { [IO.File]::Replace($part, $path, [NullString]::Value) }
    [Console]::Out.Write($found)
} finally {
    $file.Close()
    if ([IO.File]::Exists($part)) { [IO.File]::Delete($part) }
}
"""

REMOVE = r"""
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($env:DLPX_PATH)
[IO.File]::Delete((Join-Path ([IO.Path]::GetDirectoryName($path)) $env:DLPX_PART))
"""
"""Takes away what a script that was ended has left; it is no error where there is nothing."""

REMOVING = 5.0
"""Seconds for that."""

GET = r"""
$ErrorActionPreference = 'Stop'
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($env:DLPX_PATH)
if ([IO.Directory]::Exists($path)) { throw "$path is a directory" }
$sum = [Security.Cryptography.SHA256]::Create()
$output = [Console]::OpenStandardOutput()
$file = [IO.File]::Open($path, 'Open', 'Read', 'ReadWrite')
try {
    $bytes = New-Object byte[] 57000
    while (($count = $file.Read($bytes, 0, $bytes.Length)) -gt 0) {
        $output.Write($bytes, 0, $count)
        [void]$sum.TransformBlock($bytes, 0, $count, $null, 0)
    }
    $output.Flush()
} finally { $file.Close() }
[void]$sum.TransformFinalBlock([byte[]]@(), 0, 0)
[Console]::Error.Write('=' + [BitConverter]::ToString($sum.Hash).Replace('-', '').ToLower())
"""


class Transfer:
    """Copies one file.

    Args:
        run: carries out a script.
        limits: of the copying.
        where: host and user for errors.
        leave: takes an invocation that is to be carried out later, since it could not be now.
    """

    def __init__(
        self, run: Run, limits: Limits, where: dict[str, str], leave: Callable[[Invocation], None]
    ) -> None:
        self._run = run
        self._limits = limits
        self._where = where
        self._leave = leave

    def put(self, source: Path, destination: str, *, owner: str) -> FileCopied:
        """The local ``source`` to ``destination`` on the host; as ``Connection.put``."""
        _check(destination)
        if owner:
            raise InvalidRequest(
                "A file on a Windows host gets no owner.",
                "Leave it out; it belongs to the account that logs in.",
            )
        what = f"{source} could not be copied to {self._where['host']}:{destination}"
        reading = _Reading()
        with self._failing(what, lambda: reading.sealed), regular(source) as (reading.local, _):
            result = self._send(destination, reading.pieces())
            if result is None:
                return FileCopied(reading.size, reading.sum, verified=True)
            if result.exit_code != 0:
                raise self._refused(what, result)
            if result.stdout_text != reading.sum:
                raise TransferFailed(
                    f"{what}: the host did not say that it arrived.", "Try again.", **self._where
                )
            return FileCopied(reading.size, reading.sum, verified=True)

    def get(self, source: str, destination: Path, *, mode: int) -> FileCopied:
        """``source`` on the host to the local ``destination``; as ``Connection.get``."""
        _check(source)
        what = f"{self._where['host']}:{source} could not be copied to {destination}"
        with self._failing(what, lambda: False), beside(destination) as (local, temporary):
            digest = hashlib.sha256()

            def take(name: StreamName, piece: bytes) -> None:
                if name == "stdout":
                    digest.update(piece)
                    local.write(piece)

            result = self._execute(GET, source, take)
            if result.exit_code != 0:
                raise self._refused(what, result)
            if result.stderr_text.strip() != f"={digest.hexdigest()}":
                raise TransferFailed(
                    f"{what}: its checksum here is another one.", "Try again.", **self._where
                )
            size = local.tell()
            local.flush()
            os.fchmod(local.fileno(), mode)
            temporary.replace(destination)
            return FileCopied(size, digest.hexdigest(), verified=True)

    def _send(self, destination: str, pieces: Iterable[bytes]) -> CommandResult | None:
        """Carry out ``PUT``; None where all that is known is that it succeeded."""
        from dlpx_remote.transports.winrm.running import Invocation

        part = f".dlpx-remote.{uuid.uuid4().hex}.part"
        names = {"DLPX_PATH": destination.encode(), "DLPX_PART": part.encode()}
        try:
            return self._run(Invocation(PUT.encode(), self._limits, names, pieces), None)
        except OutputLost as error:
            if error.exit_code == 0:  # it has compared the checksum itself
                return None
            raise
        except (NotSent, ShellUnavailable):
            raise
        except BaseException:  # it was ended, or may have been
            removal = Invocation(REMOVE.encode(), Limits(REMOVING, None, 1 << 16), names)
            try:
                removed = self._run(removal, None).exit_code == 0
            except TransportError:
                removed = False
            if not removed:
                self._leave(removal)
            raise

    def _execute(self, script: str, path: str, on_output: OutputCallback) -> CommandResult:
        from dlpx_remote.transports.winrm.running import Invocation

        names = {"DLPX_PATH": path.encode()}
        return self._run(Invocation(script.encode(), self._limits, names), on_output)

    @contextlib.contextmanager
    def _failing(self, what: str, sealed: Callable[[], bool]) -> Iterator[None]:
        """Make every failure one of the contract's; what is not ``sealed`` has changed nothing there."""
        try:
            yield
        except OutcomeUnknown as error:
            if not sealed():
                raise TransferFailed(f"{what}: {error.message}", "Try again.", **self._where) from error
            raise
        except OutputLost as error:
            raise TransferFailed(
                f"{what}: {error.message}",
                "Try again.",
                error.stderr.decode("utf-8", "replace"),
                **self._where,
            ) from error
        except CommandEnded as error:
            if not sealed():
                raise TransferFailed(f"{what}: {error.message}", error.action, **self._where) from error
            raise OutcomeUnknown(
                f"{what}, or it was: {error.message}",
                "Look at the destination: it is either as before, or the whole new file.",
                **self._where,
            ) from error
        except (NotSent, ShellUnavailable) as error:
            raise TransferFailed(
                f"{what}: {error.message}", error.action, error.output, **self._where
            ) from error
        except OSError as error:
            raise TransferFailed(
                f"{what}: {error.strerror or error}.",
                "Check the path, the permissions and the free space on this machine.",
                **self._where,
            ) from error

    def _refused(self, what: str, result: CommandResult) -> TransferFailed:
        lines = [line.strip() for line in result.stderr_text.splitlines() if line.strip()]
        why = lines[0].rstrip(".") if lines else f"exit code {result.exit_code}"
        return TransferFailed(
            f"{what}: {why}.",
            "Check the path, the permissions and the free space on the host.",
            result.stderr_text,
            **self._where,
        )


class _Reading:
    """A local file on its way, line by line, and what is known of it afterwards."""

    local: BinaryIO

    def __init__(self) -> None:
        self.size = 0
        self.sum = ""

    @property
    def sealed(self) -> bool:
        """The host may have all of it."""
        return bool(self.sum)

    def pieces(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        while piece := self.local.read(PIECE):
            digest.update(piece)
            self.size += len(piece)
            yield base64.b64encode(piece) + b"\n"
        self.sum = digest.hexdigest()
        yield b"=" + self.sum.encode() + b"\n"


def _check(path: str) -> None:
    if not path or "\0" in path or "\n" in path:
        raise InvalidRequest(f"{path!r} is no path of a file.", r"Give one such as C:\data\file.txt.")
