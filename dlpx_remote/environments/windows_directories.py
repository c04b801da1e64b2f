"""The engine's own directory on a Windows host: a root, and ``scratch`` below it. There is no toolkit.

Paths go to PowerShell as variables, never as text of a script.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlpx_remote.environments.directories import DEFAULT_NAME, TIMEOUT, DirectoryUnusable, HostDirectories
from dlpx_remote.transports.base import Connection

PREPARE = r"""
$ErrorActionPreference = 'Stop'
$made = New-Object Collections.ArrayList
function Make($path) {
    if ([IO.Directory]::Exists($path)) { return }
    $parent = [IO.Path]::GetDirectoryName($path)
    if ($parent) { Make $parent }
    [void][IO.Directory]::CreateDirectory($path)
    [void]$made.Add($path)
}
try {
    $root = $env:DLPX_ROOT
    if ($env:DLPX_TEMPORARY) { $root = Join-Path $env:TEMP "dlpx-remote.$([Guid]::NewGuid().ToString('n'))" }
    elseif (-not $root) { $root = Join-Path $env:USERPROFILE $env:DLPX_NAME }
    $scratch = Join-Path $root 'scratch'
    Make $root
    Make $scratch
    $trial = Join-Path $scratch ".trial.$PID"
    [IO.File]::WriteAllText($trial, '')
    [IO.File]::Delete($trial)
    $root
    $made
} catch {
    [Console]::Error.WriteLine($_.Exception.GetBaseException().Message)
    exit 1
}
"""

REMOVE = r"""
$left = 0
foreach ($path in $env:DLPX_PATHS.Split("`n")) {
    $there = Get-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
    if (-not $there) { continue }
    $link = $there.Attributes -band [IO.FileAttributes]::ReparsePoint
    try {
        if ($link -or $there.Name -ne 'scratch') { [IO.Directory]::Delete($path) }
        else { Remove-Item -LiteralPath $path -Recurse -Force -ErrorAction Stop }
    } catch {
        if ($there.Name -eq 'scratch') { [Console]::Error.WriteLine($_.Exception.Message); $left = 1 }
    }
}
exit $left
"""


def prepare(connection: Connection, directory: str | None, *, temporary: bool = False) -> HostDirectories:
    """Make the directories that are missing and see that they can be written.

    Args:
        connection: of the user that operations run as.
        directory: the root; None means ``.dlpx-remote`` in the user's profile.
        temporary: a root of its own among the temporary files, for one quick look.

    Raises:
        DirectoryUnusable: says which one and why.
        TransportError: the host could not be asked.
    """
    variables: dict[str, str | bytes] = {
        "DLPX_ROOT": (directory or "").rstrip("\\"),
        "DLPX_NAME": DEFAULT_NAME,
        "DLPX_TEMPORARY": "yes" if temporary else "",
    }
    result = connection.run(PREPARE, variables=variables, interpreter="powershell", timeout=TIMEOUT)
    words = result.stderr_text.strip()
    lines = [line for line in result.stdout_text.splitlines() if line]
    if result.exit_code != 0 or not lines:
        raise DirectoryUnusable(
            f"The engine's directory on {connection.address} cannot be used: "
            f"{words or f'exit code {result.exit_code}'}.",
            "Give the user write access to it, or choose another one with --directory.",
        )
    root, *made = lines
    return HostDirectories(root, "", f"{root}\\scratch", tuple(made))


def remove(connection: Connection, made: Sequence[str]) -> None:
    """Take away directories that the engine made; a root or parent that holds something else stays.

    Args:
        connection: of the user that made them.
        made: outermost first, as :func:`prepare` reported them.

    Raises:
        DirectoryUnusable: something of them is left that should not be.
        TransportError: the host could not be asked.
    """
    if not made:
        return
    variables: dict[str, str | bytes] = {"DLPX_PATHS": "\n".join(reversed(made))}
    result = connection.run(REMOVE, variables=variables, interpreter="powershell", timeout=TIMEOUT)
    if result.exit_code != 0:
        raise DirectoryUnusable(
            f"The engine's directories on {connection.address} could not all be removed.",
            f"Remove them by hand: {', '.join(made)}.",
            result.stderr_text,
        )
