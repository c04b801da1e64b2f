"""Where the kill sweep over NFS kills: the operations, all in them that changes something, and the fork."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dlpx_remote.mounts import attaching, ganesha, kernelmounts, service
from dlpx_remote.mounts.ganesha_bus import ExportManager
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.storage import btrfs_calls
from dlpx_remote.store.ledger import Ledger
from tests.nfs.kill_site import AREA, Opened, Site
from tests.nfs.mounts_world import on

STEPS: tuple[tuple[Any, str], ...] = (
    *((Ledger, name) for name in ("intend", "present", "removing", "gone")),
    *((btrfs_calls, name) for name in ("snapshot", "destroy", "synchronize")),
    *((kernelmounts, name) for name in ("bind", "unmount")),
    *((Path, name) for name in ("replace", "unlink", "mkdir", "rmdir", "touch")),
    (ganesha, "_write"),
    *((ExportManager, name) for name in ("add", "remove")),
    (GaneshaServer, "_start"),
    *((HostMounts, name) for name in ("_run_mount", "_either", "_unmount")),
    (attaching, "make_within"),
    (service, "remove_within"),
)
"""All that changes the ledger, this machine, the NFS server or the host. After one is before the next."""
_LASTING = ("_run_mount", "_either", "_unmount", "add", "remove", "_start", "bind")
"""Steps in the middle of which somebody else is at work, who goes on when the engine has died."""
_MAY_DO_NOTHING = ("mkdir", "unlink", "rmdir")  # as it is made already, or gone
_NEAR = 6
_MIDDLE = 0.03  # seconds into such a step


@dataclass(frozen=True)
class Operation:
    """What is killed.

    Attributes:
        call: may be made again.
        provisioned: what it is called on has been provisioned, by the engine that is to die; else there is
            nothing but a snapshot.
        around: only points near the first step of that name are of interest; of all others another
            operation has the like.
        cold: no NFS server runs.
    """

    call: Callable[[Opened], object]
    provisioned: bool = False
    around: str = ""
    cold: bool = False


def provision(opened: Opened) -> None:
    """A clone, mounted at two places of which one lies in the other one."""
    opened.pool.clone("snapshot", "v")
    wanted = [on("one", f"{AREA}/x/y/in/deep", "data"), on("one", f"{AREA}/x/y")]
    opened.world.mounts.attach("v", opened.pool.path("v"), wanted, owner=opened.owner)


def move(opened: Opened) -> None:
    """One place stays, one goes and one comes."""
    wanted = [on("one", f"{AREA}/x/y"), on("one", f"{AREA}/z/deep", "data")]
    opened.world.mounts.attach("v", opened.pool.path("v"), wanted, owner=opened.owner)


def hand_over(opened: Opened) -> None:
    """Of another owner: all is taken away and comes again."""
    wanted = [on("one", f"{AREA}/x/y")]
    opened.world.mounts.attach("v", opened.pool.path("v"), wanted, owner=None)


def delete(opened: Opened) -> None:
    """All of it."""
    opened.world.mounts.detach("v")
    opened.pool.delete("v")


OPERATIONS = {
    "provision": Operation(provision),
    "provision, cold": Operation(provision, around="_start", cold=True),
    "move": Operation(move, provisioned=True),
    "hand over": Operation(hand_over, provisioned=True, around="bind"),
    "delete": Operation(delete, provisioned=True),
}


@dataclass(frozen=True)
class Point:
    """Where the process dies.

    Attributes:
        operation: of :data:`OPERATIONS`.
        number: of the step, from 0; one more than there are is after the last.
        moment: ``before`` the step or in the ``middle`` of it.
    """

    operation: str
    number: int
    moment: str = "before"

    def __str__(self) -> str:
        return f"{self.operation}/{self.number}/{self.moment}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """What :meth:`__str__` gave."""
        operation, number, moment = text.split("/")
        return cls(operation, int(number), moment)


def points_of(operation: str, steps: list[str]) -> list[Point]:
    """All of interest of an operation with these steps."""
    first, last = 0, len(steps)
    if around := OPERATIONS[operation].around:
        first, last = steps.index(around) - _NEAR, steps.index(around) + _NEAR
    before = [Point(operation, number) for number in range(first, last + 1)]
    middle = [Point(operation, number, "middle") for number, name in enumerate(steps) if name in _LASTING]
    return before + [point for point in middle if first <= point.number <= last]


def killed(site: Site, point: Point) -> tuple[bool, int]:
    """Make the call in a process that dies at a point; whether it did, and the session of its processes."""
    child = os.fork()
    if child == 0:
        _live(site, point, None)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL), f"it failed before {point}"
    return ended != 0, child


def rehearsed(site: Site, operation: str) -> list[str]:
    """The steps of an operation, which is made."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _live(site, Point(operation, 10_000), theirs)
    os.close(theirs)
    with os.fdopen(ours) as said:
        steps = said.read().split()
    assert os.waitpid(child, 0)[1] == 0, f"{operation} failed"
    return steps


def _live(site: Site, point: Point, say: int | None) -> NoReturn:
    """In the forked child only: nothing is put back."""
    os.setsid()
    left, strike = point.number, point.moment

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wait_and_end() -> None:
        time.sleep(_MIDDLE)
        end()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if name in _MAY_DO_NOTHING and os.path.lexists(arguments[0]) is (name == "mkdir"):
                return call(*arguments, **options)
            if say is not None:
                os.write(say, f"{name}\n".encode())
            if left == 0 and strike == "before":
                end()
            if left == 0:
                threading.Thread(target=wait_and_end, daemon=True).start()
            left -= 1
            return call(*arguments, **options)

        return run

    try:
        operation = OPERATIONS[point.operation]
        with site.opened() as opened:
            if operation.provisioned:
                provision(opened)
            for owner, name in STEPS:
                setattr(owner, name, counted(name, getattr(owner, name)))
            operation.call(opened)
            if strike == "middle" and left < 0:
                time.sleep(60)  # until the other thread has struck
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
