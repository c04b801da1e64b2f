"""Mounting on a host over a connection: the directory, the mount, and both away again.

Every verb may be called again from any state of the host and ends in the same one. What changes something
is one program with its arguments, run through the account's way to become root: ``mount``, ``umount``,
``mkdir`` and ``rmdir``, options before source before path. What else is asked of the host needs no root.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.base import MountBusy, MountFailed, MountRefused, MountUnderWay
from dlpx_remote.mounts.look import PathState, holders, in_time, look, named, probe, settled, table, write_out
from dlpx_remote.mounts.mountinfo import MountEntry
from dlpx_remote.mounts.source import Source, matches, not_in_force, options_of, version_of
from dlpx_remote.mounts.timely import Changes
from dlpx_remote.transports.base import CommandResult, CommandTimeout, Connection
from dlpx_remote.transports.privilege import Privilege, Privileged

MOUNTING = 90.0
"""Seconds for one mount; a server that is away is found out before."""
UNMOUNTING = 20.0
"""Seconds for each rung of the ladder ``umount``, ``umount -f``, ``umount -l``."""
# Without these, umount looks at the mounted directory and asks NFS 3 servers for leave, and hangs with them.
_UMOUNT = ("umount", "-c", "-i")


@dataclass(frozen=True)
class HostMount:
    """A mount that is in force.

    Attributes:
        path: where, symbolic links resolved.
        made: directories that were made for it, outermost first; :meth:`HostMounts.unmount` wants them.
        options: in force, from the mount table.
        version: of NFS, in use; empty for a bind mount.
        remarks: a sentence each.
    """

    path: str
    made: tuple[str, ...]
    options: str
    version: str
    remarks: tuple[str, ...] = ()


class HostMounts:
    """Mounts of one host, through one account.

    Args:
        connection: stays the caller's property.
        privilege: how the account becomes root.
    """

    def __init__(self, connection: Connection, privilege: Privilege | None = None) -> None:
        self._connection = connection
        self._privileged = Privileged(connection, privilege)
        self._changes = Changes(connection, self._privileged)

    @property
    def until(self) -> int | None:
        """After this, by the host's clock, nothing begins any more that was asked for and not answered."""
        return self._changes.until

    def look(self, path: str, source: Source | None = None, *, hides: bool = False) -> PathState:
        """What is at a mount path, and whether ``source`` may be mounted there.

        Args:
            path: absolute and plain.
            source: None only looks.
            hides: a directory that is not empty is no reason to refuse.

        Raises:
            MountRefused: something else is there.
            MountFailed, TransportError: the host could not say.
        """
        nfs = source is not None and source.file_system == "nfs"
        server = (source.server, source.port or 2049) if source is not None and nfs else None
        state = look(self._connection, path, server, self._changes.clock)
        if source is None:
            return state
        where = f"{state.path} on {self._connection.address}"
        if state.kind == "mounted" and not matches(state.entries, state.mounted[-1], source):
            raise MountRefused(
                f"{state.mounted[-1].source} is mounted at {where} already.",
                "Unmount it, or choose another mount path.",
            )
        if state.kind == "full" and not hides:
            raise MountRefused(
                f"{where} is not empty (it holds {', '.join(state.holds)}): a mount would hide it.",
                "Empty or move the directory, or choose another mount path.",
            )
        if state.kind == "file":
            raise MountRefused(f"{where} is no directory.", "Remove it, or choose another mount path.")
        if state.kind == "dangling":
            raise MountRefused(
                f"{where} is a symbolic link that leads nowhere.", "Remove it, or choose another mount path."
            )
        return state

    def mount(
        self, path: str, source: Source, *, hides: bool = False, state: PathState | None = None
    ) -> HostMount:
        """Mount, or see that it is mounted already.

        Args:
            path: absolute and plain; missing directories are made.
            source: what.
            hides: see :meth:`look`.
            state: what :meth:`look` just said, to save asking again.

        Raises:
            MountRefused: something else is there, or came there meanwhile.
            MountFailed: says what mount said; nothing is mounted, and what was made for it is gone.
            PrivilegeRefused: the account may not mount.
            TransportError: the host could not be asked, or the connection was lost; call again.
        """
        state = state or self.look(path, source, hides=hides)
        remarks: list[str] = []
        if state.path != path:
            remarks.append(f"{path} is {state.path}, by a symbolic link; it is mounted there.")
        if state.kind == "mounted":
            kept = self._kept(state, source, remarks)
            if kept is not None:
                return kept
            state = self.look(path, source, hides=hides)
        if state.kind == "closed":
            remarks.append(f"{state.path} may not be looked into: whether it was empty is not known.")
        if not state.reached:
            raise MountFailed(
                f"{self._connection.address} does not reach the NFS server at {source.server} port "
                f"{source.port or 2049}.",
                "See that the server runs, that this is its address as the host sees it, and that no "
                "firewall is between.",
            )
        made = self._make(state)
        try:
            used = self._mount(state.path, source, remarks)
            return self._verified(state.path, used, made, remarks)
        except BaseException:
            # What failed half is taken away, unless the host no longer answers: then the next call finds it.
            with contextlib.suppress(Exception):
                self._undo(state.path, source, made)
            raise

    def unmount(
        self,
        path: str,
        source: Source,
        made: Sequence[str] = (),
        *,
        force: bool = False,
        begun: bool = False,
        until: int | None = None,
    ) -> tuple[str, ...]:
        """Take a mount of ``source`` away, and the directories that were made for it.

        Args:
            path: as :attr:`HostMount.path` gave it.
            source: what was mounted; something else that is there now stays.
            made: as :attr:`HostMount.made` gave it.
            force: go on to ``umount -f`` and ``umount -l``.
            begun: a call that mounts or unmounts it was cut off, and may still be at work on the host.
            until: of that call, see :attr:`until`.

        Returns:
            Remarks, a sentence each.

        Raises:
            MountUnderWay: it is being mounted, for longer than one can wait.
            MountBusy: names the processes; only without ``force``.
            MountFailed: it is still mounted, and says why.
            PrivilegeRefused: the account may not unmount.
            TransportError: the host could not be asked, or the connection was lost; call again.
        """
        remarks: list[str] = []
        entries = self._for_unmounting(path, source, force, until) if begun else self._table()
        while True:
            there = mountinfo.at(entries, path)
            ours = [entry for entry in there if matches(entries, entry, source)]
            if not ours:
                break
            if there[-1] not in ours:
                raise MountBusy(
                    f"{there[-1].source} is mounted over {source.name} at {path} on "
                    f"{self._connection.address}.",
                    "Unmount it first.",
                )
            entries = self._unmount(path, entries, force, remarks)
        if there:
            remarks.append(f"{there[-1].source} is mounted at {path} now, and was left alone.")
        self._remove(made, remarks)
        return tuple(remarks)

    def shown(self, path: str, source: Source) -> MountEntry | None:
        """The mount table's entry of ``source`` at ``path``; None when it is not mounted there."""
        entries = self._table()
        for entry in reversed(mountinfo.at(entries, path)):
            if matches(entries, entry, source):
                return entry
        return None

    def settled(self, path: str, source: Source, until: int | None = None) -> list[MountEntry]:
        """The mount table, once nothing goes on any more of a call that was cut off.

        Args and Raises: as :meth:`unmount`.
        """
        return settled(self._connection, path, source.name, until, self._changes.clock)

    def _for_unmounting(self, path: str, source: Source, force: bool, until: int | None) -> list[MountEntry]:
        try:
            return self.settled(path, source, until)
        except MountUnderWay:
            entries = self._table()
            if force and any(matches(entries, entry, source) for entry in mountinfo.at(entries, path)):
                return entries  # an umount that waits for its server ends when another one is forced
            raise

    def _table(self) -> list[MountEntry]:
        return table(self._connection, self._changes.clock)

    # ------------------------------------------------------------------ what is mounted

    def _kept(self, state: PathState, source: Source, remarks: list[str]) -> HostMount | None:
        """The mount that is there already, when it does what was asked; else it is taken away."""
        entry = state.mounted[-1]
        answer = probe(self._connection, state.path) if source.file_system == "nfs" else "ok"
        if answer == "dead":
            raise MountFailed(
                f"{source.name} is mounted at {state.path} on {self._connection.address}, but its server "
                "does not answer.",
                "Start the NFS server, and see that the host reaches its port.",
            )
        wrong = not_in_force(entry, source)
        if answer == "ok" and not wrong:
            return HostMount(state.path, (), options_of(entry), version_of(entry), tuple(remarks))
        reason = "its file handle was stale" if answer == "stale" else f"it had not {', '.join(wrong)}"
        for remark in self.unmount(state.path, source, force=answer == "stale"):
            remarks.append(remark)
        remarks.append(f"{state.path} was mounted already and is mounted anew, because {reason}.")
        return None

    def _verified(self, path: str, source: Source, made: tuple[str, ...], remarks: list[str]) -> HostMount:
        entries = self._table()
        there = mountinfo.at(entries, path)
        where = f"{path} on {self._connection.address}"
        if not there or not matches(entries, there[-1], source):
            raise MountFailed(
                f"mount reported success, but {source.name} is not mounted at {where}.",
                "See whether something on the host unmounts it, or whether the account has a mount namespace "
                "of its own.",
                there[-1].source if there else "",
            )
        if len(there) > 1:
            raise MountRefused(
                f"Something else was mounted at {where} at the same time.",
                "See who mounts there, and try again.",
            )
        entry = there[-1]
        remarks += [
            f"The option {option} of {where} is not in force; the host shows {options_of(entry)}."
            for option in not_in_force(entry, source)
        ]
        return HostMount(path, made, options_of(entry), version_of(entry), tuple(remarks))

    # ------------------------------------------------------------------ changing the host

    def _make(self, state: PathState) -> tuple[str, ...]:
        made: list[str] = []
        for directory in state.missing:
            result = self._either(["mkdir", "--", directory], f"Making {directory}")
            if result.exit_code == 0:
                made.append(directory)
            elif "File exists" not in result.stderr_text:
                with contextlib.suppress(Exception):
                    self._remove(made, [])
                raise MountFailed(
                    f"The directory {directory} cannot be made on {self._connection.address}: "
                    f"{_said(result, 'mkdir')}.",
                    "Make it by hand, or choose another mount path.",
                )
        return tuple(made)

    def _remove(self, made: Sequence[str], remarks: list[str]) -> None:
        """Take away what was made; what holds something by now, or is gone, stays as it is."""
        outermost = ""
        for directory in reversed(made):
            result = self._either(["rmdir", "--", directory], f"Removing {directory}")
            said = result.stderr_text
            if result.exit_code != 0 and "No such file" not in said:
                remarks.append(f"The directory {directory} was left behind: {_said(result, 'rmdir')}.")
                break
            outermost = directory
        if outermost:
            # Else a loss of power brings it back, and then nobody knows any more who made it.
            write_out(self._connection, posixpath.dirname(outermost))

    def _either(self, arguments: list[str], doing: str) -> CommandResult:
        """As root, or else as the account itself, which may do it where root may not (a home on NFS)."""
        doing = f"{doing} on {self._connection.address}"
        result = in_time(lambda: self._changes.run(arguments, timeout=UNMOUNTING), doing)
        if result.exit_code == 0 or self._connection.facts().uid == 0 or "File exists" in result.stderr_text:
            return result
        user = self._connection.facts().user
        own = in_time(lambda: self._changes.run(arguments, user=user, timeout=UNMOUNTING), doing)
        return own if own.exit_code == 0 else result

    def _mount(self, path: str, source: Source, remarks: list[str]) -> Source:
        """Run mount; gives back the source with the version that was used."""
        used = source
        result = self._run_mount(path, used)
        if result.exit_code != 0 and source.version != "3" and _unsupported(result.stderr_text):
            used = replace(source, version="3")
            result = self._run_mount(path, used)
        if result.exit_code != 0 and used.version == "3" and "statd" in result.stderr_text:
            used = replace(used, options=(*used.options, "nolock"))
            result = self._run_mount(path, used)
        if result.exit_code != 0:
            raise MountFailed(
                f"{source.name} cannot be mounted at {path} on {self._connection.address}: "
                f"{_said(result, 'mount')}.",
                _advice(result.stderr_text, source),
            )
        if source.file_system == "nfs" and used.version == "3":
            remarks += self._of_version_3(source, used)
        return used

    def _of_version_3(self, asked: Source, used: Source) -> Iterator[str]:
        """What is to be said where the host mounts with NFS 3."""
        if asked.version == "3":
            yield f"The NFS server at {asked.server} serves no NFS 4.1; version 3 is used."
        else:
            yield (
                f"{self._connection.address} and {asked.server} do not agree on NFS {asked.version}; "
                "version 3 is used."
            )
        if used.options != asked.options:
            yield (
                f"rpc.statd does not run on {self._connection.address}: locks on files hold among its own "
                "processes only (nolock)."
            )

    def _run_mount(self, path: str, source: Source) -> CommandResult:
        options = list(source.options)
        if source.file_system == "nfs":
            options = [f"vers={source.version}", *options, "retry=0"]
            if source.port is not None:
                options.append(f"port={source.port}")
            arguments = ["mount", "-t", "nfs", "-o", ",".join(options), source.name, path]
        else:
            arguments = ["mount", "-o", ",".join(["bind", *options]), source.name, path]
        return in_time(
            lambda: self._changes.run(arguments, timeout=MOUNTING),
            f"Mounting {source.name} at {path} on {self._connection.address}",
        )

    def _unmount(
        self, path: str, entries: Sequence[MountEntry], force: bool, remarks: list[str]
    ) -> list[MountEntry]:
        """One entry of the table less, see :meth:`unmount`; gives back the table."""
        before = len(mountinfo.at(entries, path))
        reasons: list[str] = []
        for rung in ((), ("-f",), ("-l",)) if force else ((),):
            words = " ".join(["umount", *rung])
            try:
                result = self._changes.run([*_UMOUNT, *rung, "--", path], timeout=UNMOUNTING)
                reason = _said(result, "umount") if result.exit_code else ""
            except CommandTimeout:
                reason = f"no answer within {UNMOUNTING:.0f} s"
            left = self._table()
            if len(mountinfo.at(left, path)) < before:
                if rung:
                    remarks.append(f"{path} was taken away by {words}, because of: {'; '.join(reasons)}.")
                elif reason.startswith("no answer"):
                    remarks.append(f"umount of {path} did not end in time, but it is no longer mounted.")
                return left
            reasons.append(f"{words}: {reason or 'it is still mounted'}")
        if not force and ("busy" in reasons[0] or "no answer" in reasons[0]):
            raise self._busy(path, entries, reasons[0])
        raise MountFailed(
            f"{path} on {self._connection.address} cannot be unmounted: {'; '.join(reasons)}.",
            "Unmount it by hand, or with force.",
        )

    def _busy(self, path: str, entries: Sequence[MountEntry], reason: str) -> MountBusy:
        where = f"{path} on {self._connection.address}"
        if "no answer" in reason:
            return MountBusy(
                f"{where} cannot be unmounted: {reason}; its server is probably away.",
                "Bring the server back, or use force.",
            )
        inside = mountinfo.beneath(entries, path)
        if inside:
            return MountBusy(
                f"{where} is in use: {', '.join(entry.point for entry in inside[:5])} is mounted below it.",
                "Unmount that first, or use force.",
            )
        found, complete = holders(self._connection, self._privileged, path)
        words = named(found, complete)
        return MountBusy(
            f"{where} is in use{f' by {words}' if words else ''}.",
            "End these processes, or use force." if words else "See what uses it, or use force.",
        )

    def _undo(self, path: str, source: Source, made: Sequence[str]) -> None:
        entries = self.settled(path, source, self.until)
        there = mountinfo.at(entries, path)
        if there and matches(entries, there[-1], source):
            self._changes.run([*_UMOUNT, "--", path], timeout=UNMOUNTING)
        self._remove(made, [])


def _unsupported(said: str) -> bool:
    return "not supported" in said or "incorrect mount option" in said


def _said(result: CommandResult, program: str) -> str:
    """What a program said, as the end of a sentence."""
    lines = [line.strip() for line in result.stderr_text.splitlines() if line.strip()]
    words = "; ".join(line.removeprefix(f"{program}: ").removeprefix("mount.nfs: ") for line in lines)
    return words.rstrip(".") or f"exit code {result.exit_code}"


def _advice(said: str, source: Source) -> str:
    if "wrong fs type" in said or "bad option" in said or "unknown filesystem" in said:
        if source.file_system == "nfs":
            return "Install the NFS client on the host (nfs-common or nfs-utils)."
        return "See the host's kernel log (dmesg) for more."
    if "access denied" in said or "No such file" in said:
        return "See that the address under which the server sees the host is the one that it is exported to."
    if "statd" in said:
        return "Start rpc.statd (rpcbind and nfs-common) on the host, which NFS 3 needs for locks."
    return "See the host's kernel log (dmesg) for more."
