"""Tests against the programs of an older system: with ``--old-system bullseye``, every sshd of the tests, and
all that it starts, is that Debian's: its bash and perl too.

The older system's tree is made once a run by ``debootstrap``, or one that is there is named by its path. The
server sees it as its root, with this machine's processes, devices, homes and temporary files at their usual
places, so that tests find at the same path what a command has left. It needs root. A pytest plugin.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from containers.ssh import build
from tests.side_by_side import is_worker

PACKAGES = ("openssh-server", "rsync", "sudo", "expect", "jq", "procps", "python3-minimal")
_SHARED = ("/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/home")
_VERSIONS = "bash --version | head -n 1; perl -e 'print qq(perl $^V\\n)'; sshd -V 2>&1 | grep OpenSSH"

_root: Path | None = None
_made: Path | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--old-system``."""
    parser.addoption(
        "--old-system",
        metavar="SUITE",
        help="the tests' SSH servers run programs of this Debian suite, or of the tree in this directory",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the tree, in the process that begins a run."""
    global _root, _made
    wanted = config.getoption("--old-system")
    if wanted is None or is_worker(config):
        _root = None if wanted is None else Path(config.workerinput["old system"])  # type: ignore[attr-defined]
        return
    if not Path(wanted).is_absolute():
        _made = Path(tempfile.mkdtemp(prefix="old-system-"))
        build.base_system(_made / wanted, suite=wanted, packages=PACKAGES)
    _root = Path(wanted) if _made is None else _made / wanted
    for place in _SHARED:
        (_root / place.lstrip("/")).mkdir(exist_ok=True)


def pytest_unconfigure() -> None:
    """Remove it."""
    if _made is not None:
        shutil.rmtree(_made)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of the run where it is."""
    node.workerinput["old system"] = str(_root)


def pytest_report_header() -> list[str]:
    """Which versions are tried."""
    if _root is None:
        return []
    said = subprocess.check_output(within(["bash", "-c", _VERSIONS]), text=True)
    return [f"SSH servers with: {', '.join(said.splitlines())}"]


def within(command: list[str]) -> list[str]:
    """How a command is run on the older system, under the same process number; else as it is."""
    if _root is None:
        return command
    binds = "; ".join(f'mount --rbind {place} "$0"{place}' for place in _SHARED)
    shadow = 'mount --bind /etc/shadow "$0/etc/shadow"'  # of servers with passwords of their own
    script = f'set -e; {binds}; {shadow}; exec chroot "$0" "$@"'
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    return [*unshare, "/bin/sh", "-c", script, str(_root), *command]
