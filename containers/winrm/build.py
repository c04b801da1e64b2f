"""Builds the image of the WinRM test host.

The base system and the building are those of ``containers/ssh``. ``pyspnego`` is copied from the environment
that this runs in, so that the build needs no package index of Python's. From the command line, in the
project's folder, ``python -m containers.winrm.build`` prints the image's name on stdout.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from containers.ssh.build import ImageError, Log, build_from, print_progress

FOLDER = Path(__file__).resolve().parent
REPOSITORY = "dlpx-remote/winrm-host"
READY = "host is ready"
"""What a container prints once it answers."""
HTTP, HTTPS, CONTROL = 5985, 5986, 5980
"""Ports of a container."""


def build(log: Log = print_progress) -> str:
    """Make sure that the image exists, and return its name. A second call, in any process, re-uses it.

    Raises:
        ImageError: ``pyspnego`` is not installed, or what ``containers.ssh.build`` raises.
    """
    with tempfile.TemporaryDirectory(prefix="winrm-host-") as directory:
        context = Path(directory)
        shutil.copy(FOLDER / "Dockerfile", context)
        _copy_code(FOLDER / "responder", context / "responder")
        _copy_code(_library("spnego"), context / "libraries" / "spnego")
        return build_from(context, f"{REPOSITORY}:{_digest(context)}", log)


def _library(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ImageError(
            f"The WinRM test host needs {name}. Install the tests' packages: pip install -e '.[test]'"
        )
    return Path(found.origin).parent


def _copy_code(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    try:
        print(build())
    except ImageError as error:
        sys.exit(str(error))
