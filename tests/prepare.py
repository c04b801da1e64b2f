"""Makes sure that the programs which the tests use are there; tox runs it before pytest.

As root on Debian or Ubuntu it installs what is missing, without starting any service. Elsewhere it names what
is missing and the command to type, and ends with exit code 1. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {
    "docker": "docker.io",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sudo": "sudo",
    "rsync": "rsync",
    "expect": "expect",
    "jq": "jq",
    "git": "git",
    "postgres": "postgresql",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
    "losetup": "mount",
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
    "ganesha.nfsd": "nfs-ganesha",
    "libfsalvfs.so": "nfs-ganesha-vfs",
    "dbus-daemon": "dbus",
    "nfs-ls": "libnfs-utils",
    "setfacl": "acl",
    "setfattr": "attr",
    "ps": "procps",
    "pgrep": "procps",
    "openssl": "openssl",
    "perl": "perl",
    "krb5kdc": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
    # What the Kerberos of pywinrm is built with:
    "gcc": "gcc",
    "krb5-config": "libkrb5-dev",
    "stdio.h": "libc6-dev",
    "Python.h": "python3-dev",
}
"""Debian package by program (or plug-in of one, or C header) that a test runs or needs on this machine."""

OWN_ENGINE = {"dockerd": "docker.io", "ip": "iproute2"}
"""What is needed besides where no Docker engine answers, or none that has or can pull an image."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_POSTGRESQL = Path("/usr/lib/postgresql")  # one directory a version, none on the PATH
_PLUGINS = Path("/usr/lib")  # of programs, in <machine type>/<program>
_HEADERS = (Path("/usr/include"), Path(sysconfig.get_paths()["include"]))
_POLICY = Path("/usr/sbin/policy-rc.d")


def main() -> int:
    """Install or name what is missing; the exit code."""
    wanted = {**PACKAGES, **({} if _engine_has_images() else OWN_ENGINE)}
    missing = {program: package for program, package in wanted.items() if not _found(program)}
    if not missing:
        return 0
    packages = sorted(set(missing.values()))
    print(f"Missing for the tests: {', '.join(missing)}", file=sys.stderr)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        command = shlex.join(["apt-get", "install", "--no-install-recommends", *packages])
        print(f"Install them (on Debian, as root: {command}), then run this again.", file=sys.stderr)
        return 1
    _install(packages)
    still = [program for program in missing if not _found(program)]
    if still:
        print(f"Installed {', '.join(packages)}, but still missing: {', '.join(still)}", file=sys.stderr)
    return 1 if still else 0


def _found(program: str) -> bool:
    if program.endswith(".so"):
        return any(_PLUGINS.glob(f"*/*/{program}"))
    if program.endswith(".h"):
        return any((folder / program).exists() for folder in _HEADERS)
    places = [os.environ.get("PATH", ""), _SYSTEM_PATH, *map(str, _POSTGRESQL.glob("*/bin"))]
    return shutil.which(program, path=":".join(places)) is not None


def _engine_has_images() -> bool:
    if shutil.which("docker") is None:
        return False
    listing = subprocess.run(["docker", "images", "--quiet"], capture_output=True, check=False, timeout=30)
    return listing.returncode == 0 and bool(listing.stdout.strip())


def _install(packages: list[str]) -> None:
    print(f"Installing {', '.join(packages)} …", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        subprocess.run(["apt-get", "update", "--quiet=2"], env=environment, check=True)
        subprocess.run(
            ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", *packages],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """A test run must not leave a new sshd or dockerd running on somebody's machine."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main())
