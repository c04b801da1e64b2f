"""Files through a shell: to a name of their own beside the destination, compared, then put in its place.

A file goes to the host as lines of base64 on the stdin of one script, and comes as plain bytes on its stdout;
both sides count SHA-256. Written against the running of one script only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
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
    ShellUnavailable,
    StreamName,
    TransferFailed,
)
from dlpx_remote.transports.local_files import beside, regular

if TYPE_CHECKING:
    from dlpx_remote.transports.limits import Limits
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
$part = Join-Path ([IO.Path]::GetDirectoryName($path)) ".dlpx-remote.$([Guid]::NewGuid().ToString('n')).part"
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
    """

    def __init__(self, run: Run, limits: Limits, where: dict[str, str]) -> None:
        self._run = run
        self._limits = limits
        self._where = where

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
            result = self._execute(PUT, destination, reading.pieces(), None)
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

            result = self._execute(GET, source, (), take)
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

    def _execute(
        self, script: str, path: str, stdin: Iterable[bytes], on_output: OutputCallback | None
    ) -> CommandResult:
        from dlpx_remote.transports.winrm.running import Invocation

        variables = {"DLPX_PATH": path.encode()}
        return self._run(Invocation(script.encode(), self._limits, variables, stdin), on_output)

    @contextlib.contextmanager
    def _failing(self, what: str, sealed: Callable[[], bool]) -> Iterator[None]:
        """Make every failure one of the contract's; what is not ``sealed`` has changed nothing there."""
        try:
            yield
        except OutcomeUnknown as error:
            if not sealed():
                raise TransferFailed(f"{what}: {error.message}", "Try again.", **self._where) from error
            raise
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
