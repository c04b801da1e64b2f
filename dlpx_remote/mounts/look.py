"""Looking at a mount path on a host: its mount table, what the path is, and who holds it.

Nothing here changes anything on the host, and nothing hangs: the mount table is read before a path is
touched, a path under a mount is not touched at all, and every question has its deadline. All scripts are
constant; what they are about comes as variables.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.base import MountFailed, MountUnderWay
from dlpx_remote.mounts.mountinfo import MountEntry
from dlpx_remote.mounts.timely import WINDOW, Clock
from dlpx_remote.transports.base import CommandResult, CommandTimeout, Connection
from dlpx_remote.transports.privilege import Privileged, PrivilegeRefused

PATIENCE = 20.0
"""Seconds for one look at a host."""
SETTLING = 10.0
"""Seconds that a mount has which an earlier call has begun."""

Kind = Literal["mounted", "missing", "empty", "full", "closed", "file", "dangling"]

_LOOK = r"""
set -u
point() { # the form of a path in the mount table
    local p=${1//\\/\\134}
    p=${p// /\\040}; p=${p//$'\t'/\\011}; printf '%s' "${p//$'\n'/\\012}"
}
mounted() {
    local wanted; wanted=$(point "$1")
    while IFS=' ' read -r _ _ _ _ at _; do
        [ "$at" = "$wanted" ] && return 0
    done <<<"$table"
    return 1
}
whole() { # a command's answer with its newlines, less the one that ends it
    local answer; answer=$("$@" && printf x) || return 1
    answer=${answer%x}; printf '%s' "${answer%$'\n'}x"
}
table=$(cat /proc/self/mountinfo)  # once, so that the answer has no contradictions
printf '%s\n\0' "$table"
cat /proc/uptime; printf '\0'
path=$MOUNT_PATH
parent=${path%/*}
if [ -n "$parent" ]; then
    parent=$(whole readlink -m -- "$parent") && parent=${parent%x} || parent=${path%/*}
    [ "$parent" = / ] && parent=
fi
path=$parent/${path##*/}
kind=
if mounted "$path"; then kind=mounted
elif [ -L "$path" ]; then
    if target=$(whole readlink -e -- "$path"); then
        path=${target%x}
        mounted "$path" && kind=mounted
    else kind=dangling
    fi
fi
missing=()
if [ -n "$kind" ]; then :
elif [ ! -e "$path" ]; then
    kind=missing
    above=$path
    while [ -n "$above" ] && [ ! -e "$above" ]; do
        missing=("$above" ${missing[@]+"${missing[@]}"})
        above=${above%/*}
    done
elif [ ! -d "$path" ]; then kind=file
elif [ ! -r "$path" ] || [ ! -x "$path" ]; then kind=closed
else
    shopt -s nullglob dotglob
    held=("$path"/*)
    if [ ${#held[@]} -eq 0 ]; then kind=empty; else kind=full; fi
    missing=("${held[@]:0:3}")
fi
answers=yes
if [ -n "$SERVER" ] && [ "$kind" != mounted ]; then
    # found out in seconds, not in the minutes that mount would take
    timeout -s KILL 8 bash -c ': <"/dev/tcp/$SERVER/$PORT"' </dev/null >/dev/null 2>&1 || answers=no
fi
printf '%s\0' "$answers" "$kind" "$path" ${missing[@]+"${missing[@]}"}
"""

_TABLE = "cat /proc/uptime /proc/self/mountinfo"

_SETTLED = (
    r"""
up() { local up=0; read -r up _ </proc/uptime; printf '%s' "${up%%.*}"; }
under_way() { # sudo, mount or mount.nfs with both the path and the source among its words, or umount
    local found
    found=$(LC_ALL=C grep -lszxF -e "$MOUNT_PATH" /proc/[0-9]*/cmdline)
    [ -n "$found" ] && LC_ALL=C grep -qszxF -e "$SOURCE" -e umount $found
}
[ -n "$UNTIL" ] && late=$((UNTIL - $(up))) || late=0
[ $late -gt 0 ] && [ $late -le "$WINDOW" ] && sleep $((late + 1)) # else the host was restarted since
answer=yes
for _ in $(seq "$TIMES"); do
    under_way || { answer=no; break; }
    sleep 0.2
done
printf '%s\n' "$answer"
"""
    + _TABLE
)

_PROBE = r"""
# How full it is, nobody caches: the server itself has to answer.
timeout -s KILL 5 stat -f -c ok -- "$MOUNT_PATH" 2>&1
code=$?
[ $code -lt 124 ] || echo 'no answer'
exit 0
"""

_WRITE_OUT = r"""
timeout -s KILL 5 sync -- "$MOUNT_PATH" 2>/dev/null || true
"""

_HOLDERS = r"""
path=$1 pattern=$2
{
    LC_ALL=C find /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd -maxdepth 1 -type l \
        \( -lname "$pattern" -o -lname "$pattern/*" \) -printf '%p\n'
    grep -lsF -e " $path/" /proc/[0-9]*/maps
} 2>/dev/null | cut -d / -f 3 | sort -un | while read -r process; do
    name=$(cat "/proc/$process/comm") || continue
    printf '%s\0%s\0%s\0' "$process" "$(stat -c %U "/proc/$process")" "$name"
done 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class PathState:
    """A mount path as a host has it.

    Attributes:
        path: absolute, symbolic links resolved.
        kind: ``mounted`` (something is mounted there, and it was not touched), ``missing``, ``empty``,
            ``full`` (a directory with something in it), ``closed`` (a directory that the account may not
            look into), ``file`` (no directory), ``dangling`` (a symbolic link to nothing).
        entries: the host's mount table.
        missing: directories that would have to be made, outermost first.
        holds: up to three names of what a full directory has in it.
        reached: whether the server that was asked about takes connections; True where none was.
    """

    path: str
    kind: Kind
    entries: list[MountEntry]
    missing: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    reached: bool = True

    @property
    def mounted(self) -> list[MountEntry]:
        """What is mounted there, the topmost last."""
        return mountinfo.at(self.entries, self.path)


@dataclass(frozen=True)
class Holder:
    """A process on a host that uses a mount.

    Attributes:
        process: its number.
        user: whose it is.
        command: its name; not its arguments, which may have secrets in them.
    """

    process: int
    user: str
    command: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.process} of {self.user})"


def look(
    connection: Connection, path: str, server: tuple[str, int] | None = None, clock: Clock | None = None
) -> PathState:
    """What a mount path is on a host.

    Args:
        connection: of any account.
        path: absolute and plain.
        server: address and port of a server that the host is to reach, where nothing is mounted yet.
        clock: takes what the host says of its time.

    Raises:
        MountFailed: the host has no mount table like Linux, or the path does not answer: a directory above
            it lies on a file server that is away.
        TransportError: the host could not be asked.
    """
    clock = clock or Clock()
    address, port = server or ("", 0)
    result = asked(connection, _LOOK, path, f"Looking at {path}", SERVER=address, PORT=str(port))
    fields = result.stdout.split(b"\x00")
    entries = mountinfo.parse(fields[0])
    if result.exit_code != 0 or len(fields) < 6 or not entries:
        raise MountFailed(
            f"{connection.address} could not say what is mounted there.",
            "Mounts need a Linux host with /proc, and readlink from coreutils.",
            result.stderr_text,
        )
    uptime, answers, kind, found, *rest = [os.fsdecode(field) for field in fields[1:-1]]
    clock.heard(uptime)
    names = tuple(rest)
    reached = answers == "yes"
    if kind == "full":
        holds = tuple(name.rpartition("/")[2] for name in names)
        return PathState(found, "full", entries, holds=holds, reached=reached)
    return PathState(found, kind, entries, missing=names, reached=reached)  # type: ignore[arg-type]


def table(connection: Connection, clock: Clock) -> list[MountEntry]:
    """The host's mount table, without a look at any path.

    Args:
        connection: of any account.
        clock: takes what the host says of its time.

    Raises:
        MountFailed, TransportError: as :func:`look`.
    """
    result = asked(connection, _TABLE, "/", "Reading the mount table")
    return _entries(connection, result.stdout, clock)


def settled(
    connection: Connection, path: str, source: str, until: int | None, clock: Clock
) -> list[MountEntry]:
    """The mount table once nothing that an earlier call began can change it any more.

    Processes of root are seen where the host shows them to its users, as Linux does unless told otherwise.

    Args:
        connection: of any account.
        path: where something may be about to be mounted.
        source: what.
        until: the moment by the host's clock at which no command of that call begins any more; None where
            no connection was lost.
        clock: takes what the host says of its time.

    Raises:
        MountUnderWay: a mount goes on for longer than :data:`SETTLING`.
        MountFailed, TransportError: as :func:`look`.
    """
    given = {"SOURCE": source, "UNTIL": str(until or ""), "WINDOW": str(WINDOW)}
    doing = f"Waiting for a mount at {path}"
    result = asked(
        connection, _SETTLED, path, doing, WINDOW + SETTLING, TIMES=str(int(SETTLING * 5)), **given
    )
    answer, _, rest = result.stdout.partition(b"\n")
    if answer == b"yes":
        raise MountUnderWay(
            f"A mount or unmount of {source} at {path} that was begun earlier is still under way on "
            f"{connection.address}: its server does not answer.",
            "Bring the NFS server back, or end that process on the host, and try again.",
        )
    return _entries(connection, rest, clock)


def _entries(connection: Connection, said: bytes, clock: Clock) -> list[MountEntry]:
    """Of an answer of the host's time and its mount table."""
    uptime, _, rest = said.partition(b"\n")
    clock.heard(os.fsdecode(uptime))
    entries = mountinfo.parse(rest)
    if not entries:
        raise MountFailed(
            f"{connection.address} shows no mount table.", "Mounts need a Linux host with /proc."
        )
    return entries


def probe(connection: Connection, path: str) -> Literal["ok", "stale", "dead"]:
    """Whether the server behind a mounted path answers; what a refusal to look means is ``ok``."""
    said = asked(connection, _PROBE, path, f"Looking at {path}").stdout_text
    if "no answer" in said:
        return "dead"
    return "stale" if "Stale" in said or "stale" in said else "ok"


def write_out(connection: Connection, directory: str) -> None:
    """Have what a directory lists outlive a loss of power, as far as the host can within some seconds."""
    with contextlib.suppress(MountFailed):
        asked(connection, _WRITE_OUT, directory, f"Writing out {directory}")


def holders(connection: Connection, privileged: Privileged, path: str) -> tuple[tuple[Holder, ...], bool]:
    """The processes that use a mounted path, and whether root looked for them: others' are hidden else."""
    pattern = re.sub(r"([\\*?\[])", r"\\\1", path)
    arguments = ["bash", "-c", _HOLDERS, "bash", path, pattern]
    complete = True
    try:
        result = privileged.run(arguments, timeout=PATIENCE)
    except CommandTimeout:
        return (), False
    except PrivilegeRefused:
        complete = False
        script = f'set -- "$MOUNT_PATH" "$PATTERN"\n{_HOLDERS}'
        result = connection.run(script, variables={"MOUNT_PATH": path, "PATTERN": pattern}, timeout=PATIENCE)
    fields = result.stdout_text.split("\x00")[:-1]
    found = (Holder(int(fields[i]), fields[i + 1], fields[i + 2]) for i in range(0, len(fields) - 2, 3))
    return tuple(found), complete


def asked(
    connection: Connection, script: str, path: str, doing: str, more: float = 0.0, **variables: str
) -> CommandResult:
    """Run a script about a path within :data:`PATIENCE`, and some seconds more where it has to wait."""
    given: dict[str, str | bytes] = {"MOUNT_PATH": os.fsencode(path), **variables}
    return in_time(
        lambda: connection.run(script, variables=given, timeout=PATIENCE + more),
        f"{doing} on {connection.address}",
    )


def in_time(action: Callable[[], CommandResult], doing: str) -> CommandResult:
    """A command whose running out of time means one thing here.

    Raises:
        MountFailed: a file server does not answer.
    """
    try:
        return action()
    except CommandTimeout as error:
        raise MountFailed(
            f"{doing} got no answer in time: a file server that this needs is probably away.",
            "Bring the server back, or take away what is mounted from it with umount -f -l, and try again.",
        ) from error


def named(found: Sequence[Holder], complete: bool) -> str:
    """The holders for a message."""
    words = ", ".join(str(each) for each in found[:8])
    if len(found) > 8:
        words += f" and {len(found) - 8} more"
    if not complete:
        words = f"{words}; " if words else ""
        words += "processes of other users could not be seen"
    return words
