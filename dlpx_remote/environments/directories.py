"""The engine's own directories on a host: ``toolkit`` and ``scratch`` below one root.

Only what was made here is ever removed, and the caller keeps the list of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import ModuleType

from dlpx_remote.environments.model import HostType
from dlpx_remote.errors import RemoteError
from dlpx_remote.transports.base import CommandResult, Connection

DEFAULT_NAME = ".dlpx-remote"
TIMEOUT = 120.0  # seconds; a home on a dead network file system must not hold everything up


class DirectoryUnusable(RemoteError):
    """The engine's directory on a host cannot be made, written or removed."""


@dataclass(frozen=True)
class HostDirectories:
    """Where the engine may write on a host.

    Attributes:
        root: absolute path.
        toolkit: for programs of plugins; empty on Windows hosts.
        scratch: for files of a running operation.
        made: what did not exist before, outermost first.
    """

    root: str
    toolkit: str
    scratch: str
    made: tuple[str, ...] = ()


def prepare(
    connection: Connection, directory: str | None, host_type: HostType = HostType.UNIX
) -> HostDirectories:
    """Make the directories that are missing and see that they can be written.

    Args:
        connection: of the user that operations run as.
        directory: the root; None means ``.dlpx-remote`` in the user's home.
        host_type: of the host.

    Raises:
        DirectoryUnusable: says which one and why.
        TransportError: the host could not be asked.
    """
    if host_type is HostType.WINDOWS:
        return _windows().prepare(connection, directory)  # type: ignore[no-any-return]
    root = '"$HOME"/' + DEFAULT_NAME if directory is None else shlex.quote(directory)
    return _prepared(connection, connection.run(_PREPARE.replace("@ROOT@", root), timeout=TIMEOUT))


def prepare_temporary(connection: Connection, host_type: HostType = HostType.UNIX) -> HostDirectories:
    """Directories for one quick look, to be removed by :func:`remove` when it is over."""
    if host_type is HostType.WINDOWS:
        return _windows().prepare(connection, None, temporary=True)  # type: ignore[no-any-return]
    script = _PREPARE.replace("@ROOT@", '"$(mktemp -d "${TMPDIR:-/tmp}/dlpx-remote.XXXXXXXXXX")"')
    directories = _prepared(connection, connection.run(script, timeout=TIMEOUT))
    return HostDirectories(
        directories.root, directories.toolkit, directories.scratch, (directories.root, *directories.made)
    )


def remove(connection: Connection, made: Sequence[str], host_type: HostType = HostType.UNIX) -> None:
    """Take away directories that the engine made; a root or parent that holds something else stays.

    Args:
        connection: of the user that made them.
        made: outermost first, as :func:`prepare` reported them.
        host_type: of the host.

    Raises:
        DirectoryUnusable: something of them is left that should not be.
        TransportError: the host could not be asked.
    """
    if not made:
        return
    if host_type is HostType.WINDOWS:
        _windows().remove(connection, made)
        return
    lines = []
    for path in reversed(made):
        quoted = shlex.quote(path)
        if PurePosixPath(path).name in ("toolkit", "scratch"):
            lines.append(f"if [ -d {quoted} ] && [ ! -L {quoted} ]; then rm -rf -- {quoted} || failed=1; fi")
        else:
            lines.append(f"rmdir -- {quoted} 2>/dev/null")
    result = connection.run("\n".join(["failed=0", *lines, "exit $failed"]), timeout=TIMEOUT)
    if result.exit_code != 0:
        raise DirectoryUnusable(
            f"The engine's directories on {connection.address} could not all be removed.",
            f"Remove them by hand: {', '.join(made)}.",
            result.stderr_text,
        )


def _windows() -> ModuleType:
    from dlpx_remote.environments import windows_directories  # which has its values from here

    return windows_directories


def _prepared(connection: Connection, result: CommandResult) -> HostDirectories:
    words = result.stderr_text.strip()
    if result.exit_code != 0:
        raise DirectoryUnusable(
            f"The engine's directory on {connection.address} cannot be used: "
            f"{words or f'exit code {result.exit_code}'}.",
            "Give the user write access to it, or choose another one with --directory.",
        )
    root, *made = [line for line in result.stdout_text.split("\n") if line]
    return HostDirectories(root, f"{root}/toolkit", f"{root}/scratch", tuple(made))


# mkdir without -p tells who made a directory when two discoveries prepare at once: only one mkdir succeeds.
_PREPARE = r"""
set -u
umask 077
fail() { printf '%s\n' "$1" >&2; exit 1; }
made=()
make() {
    [ -d "$1" ] && return
    [ "${1%/*}" = "" ] || make "${1%/*}"
    reason=$(LC_ALL=C mkdir -- "$1" 2>&1)
    if [ $? -eq 0 ]; then made+=("$1"); else [ -d "$1" ] || fail "${reason#mkdir: }"; fi
}
root=@ROOT@
case $root in (/*) ;; (*) fail "it has no absolute path ($root)" ;; esac
make "$root"
for directory in "$root/toolkit" "$root/scratch"; do
    make "$directory"
    if [ -L "$directory" ] || [ ! -O "$directory" ]; then
        fail "$directory belongs to somebody else"
    fi
    trial="$directory/.trial.$$"
    (: >"$trial") 2>/dev/null || fail "$directory cannot be written"
    rm -f -- "$trial"
done
printf '%s\n' "$root" ${made[@]+"${made[@]}"}
"""
