"""Builds the disk of the virtual test host: Debian's own kernel, an NFS client and server, sshd, PostgreSQL.

Made from packages alone, which takes root, ``debootstrap`` and ``mkfs.ext4``, about a minute and 550 MB,
once: the product stays in the person's cache directory under a digest of this recipe. Users are those of
``containers/ssh``. Of Python only the standard library is needed: the folder is shipped inside the wheel and
used from there. From the command line, ``python -m containers.nfs-vm.build`` prints the product's directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The two folders stay side by side under different names: `containers`, or a part of the installed package.
from ..ssh.build import FOLDER as SSH_FOLDER  # noqa: TID252
from ..ssh.build import ImageError, Log, base_system, follow, print_progress  # noqa: TID252

FOLDER = Path(__file__).resolve().parent
CACHE = "DLPX_REMOTE_CACHE"
"""Environment variable: a directory instead of ``dlpx-remote`` in the person's cache directory."""

_STEPS = 1  # to be raised with a change of what is done below
_DISK_SIZE = "8G"  # sparse: what is not written takes no place
_UNFINISHED = "unfinished-"
_UNUSED_FOR = 14 * 24 * 3600.0
_SHARED = ("users", "admit")  # of containers/ssh
_PROGRAMS = ("start", "agent", "nfsd-up")
# In the order in which they are loaded. The file system itself is built into Debian's kernel.
_MODULES = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
)


@dataclass(frozen=True)
class Image:
    """What a machine starts from; its files are never written to.

    Attributes:
        kernel: Debian's kernel.
        ramdisk: loads the disk's driver and hands over to the disk.
        disk: a raw image of an ext4 file system.
    """

    kernel: Path
    ramdisk: Path
    disk: Path


def build(log: Log = print_progress) -> Image:
    """Make sure that the image exists. A second call, in any process, re-uses it.

    Raises:
        ImageError: a program or a privilege is missing, or a build step failed; the text says what to do.
    """
    directory = cache_directory() / "nfs-vm" / _digest()
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(directory.parent, log):
            if not directory.is_dir():
                _require_programs()
                _build(directory, log)
    os.utime(directory)  # in use: see _remove_unused
    return Image(directory / "vmlinuz", directory / "ramdisk.img", directory / "disk.img")


def cache_directory() -> Path:
    """Where products that take long to make are kept."""
    if CACHE in os.environ:
        return Path(os.environ[CACHE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlpx-remote"


def _digest() -> str:
    digest = hashlib.sha256(f"{_STEPS}\0{_DISK_SIZE}\0{_MODULES}".encode())
    shared = [SSH_FOLDER / "files" / name for name in _SHARED]
    for path in sorted([*(FOLDER / "files").iterdir(), *shared]):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _require_programs() -> None:
    missing = [name for name in ("debootstrap", "mkfs.ext4", "unshare") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        lack = f"{' and '.join(missing)}, which are missing" if missing else "root"
        raise ImageError(
            f"Building the virtual test host takes {lack}. On Debian, run this once as root after: "
            "apt-get install debootstrap e2fsprogs"
        )


def _build(directory: Path, log: Log) -> None:
    log(f"Building the virtual test host in {directory}: once, about a minute.")
    _remove_unused(directory.parent)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=directory.parent) as place:
        root, product = Path(place) / "root", Path(place) / "product"
        base_system(root, log)
        _furnish(root, log)
        product.mkdir()
        shutil.move(root / "boot" / "vmlinuz", product / "vmlinuz")
        (product / "ramdisk.img").write_bytes(b"".join(_ramdisk(root)))
        log("  Writing the disk …")
        make = ["mkfs.ext4", "-q", "-L", "root", "-m", "0", "-d", str(root)]
        follow([*make, str(product / "disk.img"), _DISK_SIZE], log, "mkfs.ext4", shown=())
        product.rename(directory)
    log("Built the virtual test host.")


def _furnish(root: Path, log: Log) -> None:
    setup = root / "root" / "setup"
    setup.mkdir()
    shutil.copy(FOLDER / "files" / "install", setup)
    for name in _SHARED:
        shutil.copy(SSH_FOLDER / "files" / name, setup)
    script = (
        'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/bash -ec '
        '"bash /root/setup/install; bash /root/setup/users"'
    )
    # In namespaces of its own: no mount and no process outlives it.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script, str(root)]
    log("  Installing packages …")
    follow(command, log, "The installation of packages", shown=("Setting up postgresql-15",))
    shutil.copy(setup / "admit", root / "usr/local/sbin/admit")
    shutil.rmtree(setup)
    for name in _PROGRAMS:
        shutil.copy(FOLDER / "files" / name, root / "usr/local/sbin" / name)
    for program in (root / "usr/local/sbin").iterdir():
        program.chmod(0o755)  # a wheel need not keep the executable bit


def _ramdisk(root: Path) -> Iterator[bytes]:
    """The pieces of an archive in the form that kernels take (Documentation/driver-api/early-userspace)."""
    modules = next((root / "usr/lib/modules").iterdir()) / "kernel"
    for directory in ("bin", "dev", "proc", "root", "modules"):
        yield _member(directory, stat.S_IFDIR | 0o755)
    yield _member("init", stat.S_IFREG | 0o755, (FOLDER / "files" / "ramdisk").read_bytes())
    yield _member("bin/busybox", stat.S_IFREG | 0o755, (root / "usr/bin/busybox").read_bytes())
    names = [f"{Path(module).name}.ko" for module in _MODULES]
    yield _member("modules/order", stat.S_IFREG | 0o644, "\n".join(names).encode())
    for module, name in zip(_MODULES, names, strict=True):
        yield _member(f"modules/{name}", stat.S_IFREG | 0o644, (modules / f"{module}.ko").read_bytes())
    yield _member("TRAILER!!!", 0)


def _member(name: str, mode: int, content: bytes = b"") -> bytes:
    links = 2 if stat.S_ISDIR(mode) else 1
    numbers = (0, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _remove_unused(products: Path) -> None:
    """Take away what recipes of long ago have made, and what a build left that was killed."""
    for product in products.iterdir():
        old = time.time() - product.stat().st_mtime > _UNUSED_FOR
        if product.is_dir() and (old or product.name.startswith(_UNFINISHED)):
            shutil.rmtree(product, ignore_errors=True)


@contextmanager
def _one_at_a_time(directory: Path, log: Log) -> Iterator[None]:
    """Builders wait for each other; the lock is on the directory itself and leaves no file."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("Another process is building the virtual test host; waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    try:
        print(build().disk.parent)
    except ImageError as error:
        sys.exit(str(error))
