"""Builds the image of a Unix test host, and lets users into its containers.

For the tests and for the throw-away host of the demo. Needs the ``docker`` command-line client and a Docker
engine that answers, and of Python only the standard library: the folder is shipped inside the wheel and used
from there. Where no image registry answers, the base system comes from Debian's package mirror, which takes
root and ``debootstrap``. From the command line, ``python build.py`` prints the image's name on stdout.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
REPOSITORY = "dlpx-remote/ssh-host"
REGISTRY_BASE = "debian:bookworm-slim"
LOCAL_BASE = "dlpx-remote/debian:bookworm"
USERS = ("engine", "plain", "password", "csh", "fish", "noisy", "sleepy", "homeless", "nologin")
"""The login users; ``files/users`` says what is special about each."""
READY = "host is ready"
"""What a container prints once sshd and the databases answer."""

_REGISTRY_PATIENCE = 10.0
_PULL_LIMIT = 300.0

Log = Callable[[str], None]


class ImageError(Exception):
    """The image could not be built, or a container could not be prepared; the text says what to do."""


def print_progress(line: str) -> None:
    """The default progress: lines on stderr."""
    print(line, file=sys.stderr, flush=True)


def image_name() -> str:
    """Repository and tag; the tag is a digest of everything in this folder that goes into the image."""
    digest = hashlib.sha256()
    for path in sorted([FOLDER / "Dockerfile", *(FOLDER / "files").iterdir()]):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def build(log: Log = print_progress) -> str:
    """Make sure that the image exists, and return its name. A second call, in any process, re-uses it.

    Raises:
        ImageError: no Docker engine, no base system to be had, or a build step failed.
    """
    return build_from(FOLDER, image_name(), log)


def build_from(folder: Path, name: str, log: Log = print_progress) -> str:
    """Make sure that an image of any folder with a Dockerfile on this base exists; its name.

    Args:
        folder: the build's context.
        name: repository and tag; the tag has to change with the folder's content.
        log: takes lines of progress.

    Raises:
        ImageError: no Docker engine, no base system to be had, or a build step failed.
    """
    _require_engine()
    if _exists(name):
        return name
    with _one_at_a_time(log):
        if not _exists(name):
            log(f"Building {name}: once, about a minute.")
            base = _base(log)
            _build(folder, base, name, log)
            log(f"Built {name}.")
    return name


def admit(container: str, passwords: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Let users into a running container. The secrets travel on stdin.

    Args:
        container: name or id.
        passwords: password by user.
        keys: public key, as in ``authorized_keys``, by user.
    """
    lines = [f"password {user} {password}\n" for user, password in passwords.items()]
    lines += [f"key {user} {key.strip()}\n" for user, key in keys.items()]
    done = _docker("exec", "--interactive", container, "/usr/local/sbin/admit", stdin="".join(lines))
    if done.returncode:
        raise ImageError(f"Users could not be let into {container}: {_last_line(done.stderr)}")


def host_key(container: str) -> str:
    """The running container's public Ed25519 host key (``ssh-ed25519 AAAA…``)."""
    done = _docker("exec", container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    if done.returncode:
        raise ImageError(f"The host key of {container} could not be read: {_last_line(done.stderr)}")
    return " ".join(done.stdout.split()[:2])


def _require_engine() -> None:
    if shutil.which("docker") is None:
        raise ImageError("No docker command was found. Install Docker (Debian: apt-get install docker.io).")
    done = _docker("version", "--format", "{{.Server.Version}}")
    if done.returncode:
        raise ImageError(
            f"No Docker engine answers: {_last_line(done.stderr)} Start one, or set DOCKER_HOST to one."
        )


def _exists(image: str) -> bool:
    return _docker("image", "inspect", "--format", "{{.Id}}", image).returncode == 0


def _base(log: Log) -> str:
    """The name of a base image: pulled, or where no registry answers, made from Debian's mirror."""
    for image in (REGISTRY_BASE, LOCAL_BASE):
        if _exists(image):
            return image
    refusal = _pull(REGISTRY_BASE, log)
    if refusal is None:
        return REGISTRY_BASE
    log(f"No base image from a registry ({refusal}); making one with debootstrap.")
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise ImageError(
            f"The base image {REGISTRY_BASE} could not be pulled ({refusal}), and making one instead takes "
            "root and debootstrap. Pull it yourself, or run this once as root after: "
            "apt-get install debootstrap"
        )
    _debootstrap(log)
    return LOCAL_BASE


def _pull(image: str, log: Log) -> str | None:
    """None when pulled, else why not. A registry that says nothing for ten seconds does not answer."""
    log(f"Pulling {image} …")
    with subprocess.Popen(
        ["docker", "pull", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        silence = threading.Timer(_REGISTRY_PATIENCE, process.kill)
        limit = threading.Timer(_PULL_LIMIT, process.kill)
        silence.start()
        limit.start()
        last = f"no answer within {_REGISTRY_PATIENCE:.0f} s"
        try:
            for line in process.stdout or ():
                silence.cancel()
                last = line.strip() or last
        finally:
            silence.cancel()
            limit.cancel()
    return None if process.returncode == 0 else last


def _debootstrap(log: Log) -> None:
    with tempfile.TemporaryDirectory(prefix="dlpx-remote-base-") as directory:
        root = Path(directory) / "root"
        base_system(root, log)
        log("Importing the base system …")
        with subprocess.Popen(
            ["tar", "--create", "--directory", str(root), "."], stdout=subprocess.PIPE
        ) as archive:
            done = subprocess.run(
                ["docker", "import", "-", LOCAL_BASE],
                stdin=archive.stdout,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode or archive.returncode:
            raise ImageError(f"The base system could not be imported: {_last_line(done.stderr)}")


def base_system(
    root: Path, log: Log = print_progress, *, suite: str = "bookworm", packages: Sequence[str] = ()
) -> None:
    """Make a tree with Debian's smallest system, from the mirror that this machine's apt uses.

    Args:
        root: a directory that does not exist yet.
        log: takes lines of progress.
        suite: which Debian.
        packages: what is to be in it besides.

    Raises:
        ImageError: debootstrap failed; it needs root.
    """
    # In a mount namespace of its own, whatever it mounts below the directory is gone when it ends.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase"]
    command += [f"--include={','.join(packages)}"] if packages else []
    command += [suite, str(root), *_mirror()]
    follow(command, log, "debootstrap", shown=("I: Retrieving InRelease", "I: Base"))
    for leftover in [*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")]:
        leftover.unlink()


def _mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses; empty where there is none: debootstrap has one."""
    sources = Path("/etc/apt")
    for path in [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        found = re.search(r"^(?:URIs:|deb)\s(?:.*\s)?(https?://\S+/debian/?)(?:\s|$)", text, re.MULTILINE)
        if found:
            return [found.group(1)]
    return []


def _build(folder: Path, base: str, name: str, log: Log) -> None:
    # The classic builder: the newer one is a plug-in of its own that many engines' clients lack. The host's
    # network: package mirrors are then reached exactly as from here.
    command = [
        "docker",
        "build",
        "--force-rm",
        "--network",
        "host",
        "--build-arg",
        f"BASE={base}",
        "--tag",
        name,
    ]
    for variable in ("http_proxy", "https_proxy", "no_proxy"):
        if variable in os.environ:
            command += ["--build-arg", variable]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    follow(
        [*command, str(folder)],
        log,
        "docker build",
        shown=("Step ", "Setting up postgresql-15"),
        env=environment,
    )


def follow(
    command: list[str], log: Log, title: str, *, shown: tuple[str, ...], env: Mapping[str, str] | None = None
) -> None:
    """Run a long command; pass on the lines that begin with one of ``shown``.

    Raises:
        ImageError: it failed; the text has its last lines.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            if line.startswith(shown):
                log(f"  {line.strip()}")
    if process.returncode:
        raise ImageError(f"{title} failed with exit code {process.returncode}:\n" + "\n".join(lines[-15:]))


def _docker(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


@contextmanager
def _one_at_a_time(log: Log) -> Iterator[None]:
    """Builders of this folder wait for each other; the lock is on the folder itself and leaves no file."""
    descriptor = os.open(FOLDER, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("Another process is building the image; waiting for it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    try:
        print(build())
    except ImageError as error:
        sys.exit(str(error))
