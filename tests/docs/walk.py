"""Walks a tutorial from nothing, as a new user would: on an empty Debian, with no more than the page says.

    python -m tests.docs.walk [--write] [--from DIR] [PAGE …]    # needs root, debootstrap, apt and pip

The machine is a fresh ``debootstrap``, in which only a copy of the checkout lies; apt and pip are configured
there as they are here. Blocks that are not run elsewhere because they fetch packages are run, too. Told is
how long the commands took, of which a page has a line; ``--write`` puts it there. ``--from`` takes a tree
that debootstrap made before, and leaves it as it is: making one takes longer than a walk.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.machine import Ended, Machine, MachineUnusable
from tests.docs.markdown import ROOT, Block, blocks
from tests.docs.running import NotAsItStands, Session, carry_out_block

PAGES = ("docs/tutorial.md", "docs/plugin-tutorial.md", "README.md")
WALK = "tox -e walks"
"""Is in the reason of a block that is not run elsewhere, and is run here."""
TIMES = re.compile(r"^Walked from [^.]*?(?P<minutes>\d+) min \d+ s\.$", re.MULTILINE)
"""The sentence of a page that tells how long it takes."""

_RELEASE = "bookworm"
_CHECKOUT = "/root/dlpx-remote"
_ALIKE = (
    "etc/apt",
    "etc/pip.conf",
    "etc/xdg/pip",
    "etc/resolv.conf",
    "usr/share/keyrings",
)
"""How packages are fetched here."""
_TRUSTED = "/etc/authorities-there.crt"
"""Whom pip trusts; a package would write the system's own file anew."""
_HOSTS = "127.0.0.1 localhost\n"
"""Debian's installer writes it; debootstrap does not."""
_SETUP = """\
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
for each in /opt/*; do mkdir -p "opt/${each##*/}"; mount --rbind "$each" "opt/${each##*/}"; done
touch run/ready
exec chroot . /bin/sh -c 'sleep infinity & wait'
"""


class EmptyMachine(Machine):
    """A Debian with nothing but itself."""

    def __init__(self, process: int) -> None:
        super().__init__(process)
        self._path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def run(
        self,
        script: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 1800.0,
        program: Sequence[str] = ("/bin/bash",),
    ) -> Ended:
        """See :meth:`Machine.run`; packages may take long to fetch."""
        fetching = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        fetching |= {"PIP_CERT": _TRUSTED, "DEBIAN_FRONTEND": "noninteractive"}
        told = {**fetching, **(environment or {})}
        return super().run(script, environment=told, timeout=timeout, program=program)


@dataclass
class Walk(Session):
    """A page that is walked: in the checkout, with the user's own state."""

    @property
    def _directory(self) -> str:
        return _CHECKOUT

    def start(self) -> None:
        """Nothing is made ready."""

    def anew(self) -> None:
        """Nothing is taken away."""

    def _environment(self) -> dict[str, str]:
        return {}


@contextmanager
def empty_machine(made_before: Path | None = None) -> Iterator[EmptyMachine]:
    """One for the ``with`` block.

    Args:
        made_before: a tree of debootstrap's, to be copied; without it one is made.

    Raises:
        MachineUnusable: not root, no debootstrap, or it failed.
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise MachineUnusable("Walks need root and debootstrap (apt-get install debootstrap).")
    with tempfile.TemporaryDirectory(prefix="dlpx-walk-") as place:
        root = Path(place) / "root"
        command = ["debootstrap", "--variant=minbase", _RELEASE, str(root)]
        if made_before is not None:
            command = ["cp", "-a", str(made_before), str(root)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise MachineUnusable(f"{command[0]} failed: {(made.stdout + made.stderr)[-2000:]}")
        for name in _ALIKE:
            _copy(Path("/") / name, root / name)
        _copy(Path("/etc/ssl/certs/ca-certificates.crt"), root / _TRUSTED[1:])
        (root / "etc" / "hosts").write_text(_HOSTS)
        (root / "root" / "dlpx-remote").mkdir()
        tree = subprocess.run(
            ["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(root / _CHECKOUT[1:])], input=tree, check=True)
        command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        process = subprocess.Popen([*command, "/bin/sh", "-c", _SETUP, "setup", str(root)])
        try:
            inside = EmptyMachine(_inside(process, root))
            inside.run("apt-get -q update")
            yield inside
        finally:
            process.kill()
            process.wait()


def _copy(here: Path, there: Path) -> None:
    if here.is_dir():
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(here, there, symlinks=True)
    elif here.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here, there)


def _inside(process: subprocess.Popen[bytes], root: Path) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(500):
        found = children.read_text().split()
        if found and Path(f"/proc/{found[0]}/root/run/ready").exists():
            return int(found[0])
        time.sleep(0.02)
    raise MachineUnusable(f"The machine in {root} does not come up.")


def walk(machine: Machine, page: Path) -> tuple[list[str], float, int]:
    """What is not as it stands, how long the blocks took in seconds, and how many there were."""
    session, troubles, ran = Walk(machine, "walk"), [], 0
    began = time.monotonic()
    for block in blocks(page):
        if not walked(block):
            continue
        ran += 1
        try:
            carry_out_block(session, block, fetching=_waits_for_a_walk(block))
        except NotAsItStands as trouble:
            troubles.append(f"{block.place}: {trouble}")
    return troubles, time.monotonic() - began, ran


def walked(block: Block) -> bool:
    """Whether a walk carries the block out: each of a tutorial, and the README's that run nowhere else."""
    return block.page.name != "README.md" or _waits_for_a_walk(block)


def _waits_for_a_walk(block: Block) -> bool:
    return WALK in (block.marked("not run") or "")


def sentence(seconds: float, load: float = 0) -> str:
    """What a page says of it.

    Args:
        seconds: that the commands took.
        load: how many processes wanted to compute on this machine before.
    """
    minutes, rest = divmod(round(seconds), 60)
    others = f" busy with {load:.0f} other processes" if load >= 1 else ""
    where = (
        f"an empty Debian 12 with a mirror of packages nearby, on a machine of {os.cpu_count()} cores{others}"
    )
    return f"Walked from {where}:\nall commands of this page took {minutes} min {rest} s."


def main(arguments: list[str]) -> int:
    """The exit code: 1 where a block is not as it stands."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.walk", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the times into the pages")
    parser.add_argument("--from", dest="made_before", type=Path, help="a tree that debootstrap made")
    parser.add_argument("pages", nargs="*", default=PAGES)
    asked, code = parser.parse_args(arguments), 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so take the machine away
    for name in asked.pages:
        with empty_machine(asked.made_before) as machine:
            load = os.getloadavg()[0]
            troubles, seconds, ran = walk(machine, ROOT / name)
        told = sentence(seconds, load)
        print(f"{name}: {ran} blocks. {told}", flush=True)
        for trouble in troubles:
            print(trouble, end="\n\n", flush=True)
            code = 1
        if asked.write and not troubles:
            text = (ROOT / name).read_text("utf-8")
            (ROOT / name).write_text(TIMES.sub(told, text), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
