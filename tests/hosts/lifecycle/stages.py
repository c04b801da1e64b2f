"""The stage of the kill tests: a site that is put back to what it was before each operation.

What is made once is kept as a copy: of the directory, or on Btrfs of the file system's image, which holds the
subvolumes too. Everything lies in memory: what SIGKILL leaves does not depend on a disk.
"""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from dlpx_remote.storage.initialise import BackendKind
from tests.hosts.lifecycle import upgrading, victims
from tests.hosts.lifecycle.kill_table import BEFORE, OPERATIONS
from tests.hosts.lifecycle.site import Site
from tests.hosts.lifecycle.upgrading import Found
from tests.hosts.lifecycle.victims import Outcome, Step
from tests.hosts.sshd import Sshd
from tests.storage.file_systems import MAKE, SIZES, run

PATIENCE = 180.0  # seconds for any process
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tests.hosts.lifecycle.victims",
        "tests.hosts.lifecycle.upgrading",
        "dbos",
        "dbos._sys_db_sqlite",
        "paramiko",
        "jsonschema",
        "encodings.idna",
        "fqdn",
        "dlpx_remote.transports.ssh.connection",
    ]
)


class Stage:
    """Operations are killed on it, one after the other.

    Args:
        root: an empty directory.
        server: the host.
        pool: kind of the pool: ``copy`` or ``btrfs``.
    """

    def __init__(self, root: Path, server: Sshd, pool: BackendKind = "copy") -> None:
        self.site = Site(root / "site")
        self.pool = pool
        self._server = server
        self._image = root / "image"
        self._kept = root / "kept"
        self._kept.mkdir()
        self.site.root.mkdir()
        self._made = False

    def put(self, before: str) -> None:
        """Have there what is to be there before an operation."""
        if not self._made:
            self._begin()
        if not (self._kept / before).exists():
            earlier = BEFORE[before][0]
            assert earlier is not None
            self.put(earlier)
            self.process(victims.make, before)
            self._keep(before)
        self._put(before)

    def steps(self, operation: str) -> list[Step]:
        """The steps of an operation, from a rehearsal."""
        if operation == upgrading.UPGRADE:
            return upgrading.STEPS
        self.put(OPERATIONS[operation].before)
        ours, theirs = _CONTEXT.Pipe()
        with ours, theirs:
            self.process(victims.rehearse, operation, theirs)
            found: list[Step] = ours.recv()
        return found

    @contextmanager
    def killed(
        self, operation: str, number: int, point: str, recovery: float
    ) -> Iterator[tuple[Outcome, Callable[[], str]]]:
        """Have an operation die at a point of a step, and the next process come.

        Gives what that found, and what has it ask again for what did not succeed, delete everything, and say
        what stands against that.
        """
        self.put(OPERATIONS[operation].before)
        self.process(victims.run_until_killed, operation, number, point, dies=True)
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=victims.come_next, args=(self.site.root, operation, recovery, theirs)
        )
        process.start()
        theirs.close()
        with ours:
            try:
                yield _received(ours), lambda: _cleared(ours)
            finally:
                process.kill()
                process.join()

    def upgraded(self, number: int) -> Found:
        """Have a plugin upgrade die at the point of that number; the next process deletes everything."""
        self.put(upgrading.BEFORE)
        self.process(upgrading.upgrade_until_killed, upgrading.POINTS[number - 1], dies=True)
        ours, theirs = _CONTEXT.Pipe()
        with ours, theirs:
            self.process(upgrading.come_next, theirs)
            found: Found = ours.recv()
        return found

    def process(self, target: Callable[..., None], *arguments: object, dies: bool = False) -> None:
        """Run a function in a process of its own."""
        process = _CONTEXT.Process(target=target, args=(self.site.root, *arguments))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode == (-9 if dies else 0), f"{target.__name__}{arguments}: {process.exitcode}"

    def close(self) -> None:
        """Leave nothing mounted."""
        self.site.unmount_all()
        if self.pool == "btrfs":
            subprocess.run(["umount", str(self.site.root)], check=False)

    def _begin(self) -> None:
        if self.pool == "btrfs":
            with self._image.open("wb") as file:
                file.truncate(SIZES["btrfs"])
            run(*MAKE["btrfs"], str(self._image))
            self._mount()
        self.site.prepare(self._server, pool=self.pool, extended_hooks=True)
        self._made = True
        self._keep("nothing")

    def _keep(self, name: str) -> None:
        if self.pool != "btrfs":
            shutil.copytree(self.site.root, self._kept / name, symlinks=True)
            return
        run("umount", str(self.site.root))
        run("cp", "--sparse=always", str(self._image), str(self._kept / name))
        self._mount()

    def _put(self, before: str) -> None:
        self.site.unmount_all()
        if self.pool != "btrfs":
            shutil.rmtree(self.site.root)
            shutil.copytree(self._kept / before, self.site.root, symlinks=True)
            return
        run("umount", str(self.site.root))
        self._image.unlink()  # a loop device may hold on to it for a moment, and must see no other content
        run("cp", "--sparse=always", str(self._kept / before), str(self._image))
        self._mount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", str(self._image), str(self.site.root))


def _received(ours: Connection) -> Outcome:
    assert ours.poll(PATIENCE), "the next process says nothing"
    outcome: Outcome = ours.recv()
    return outcome


def _cleared(ours: Connection) -> str:
    ours.send("clear")
    assert ours.poll(PATIENCE), "the next process does not delete everything"
    said: str = ours.recv()
    return said
