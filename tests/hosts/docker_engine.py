"""The Docker engine that test hosts run on: the one that answers, else one of our own for this session.

An engine of our own has its socket and data in one temporary directory and a network bridge of its own, and
changes no firewall rule. It is gone afterwards with its containers and mounts. Containers are reached through
ports on loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_LIMIT = 60.0
_STOP_LIMIT = 60.0


@dataclass(frozen=True)
class DockerEngine:
    """A Docker engine that answers.

    Attributes:
        url: for ``DOCKER_HOST``; empty for the client's default.
    """

    url: str


class NoDockerEngine(Exception):
    """No engine answers and none can be started; the text says what to do."""


@contextmanager
def docker_engine() -> Iterator[DockerEngine]:
    """An engine for the ``with`` block; ``DOCKER_HOST`` points to it meanwhile."""
    if _answers():
        yield DockerEngine(os.environ.get("DOCKER_HOST", ""))
        return
    if "DOCKER_HOST" in os.environ:
        raise NoDockerEngine(f"DOCKER_HOST is {os.environ['DOCKER_HOST']}, where no Docker engine answers.")
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoDockerEngine(
            "No Docker engine answers. Start one (or set DOCKER_HOST), or run the tests as root with dockerd "
            "installed: python -m tests.prepare"
        )
    with _own_engine() as engine:
        os.environ["DOCKER_HOST"] = engine.url
        try:
            yield engine
        finally:
            del os.environ["DOCKER_HOST"]


def _answers(url: str | None = None) -> bool:
    environment = {**os.environ, "DOCKER_HOST": url} if url else None
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            env=environment,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def _own_engine() -> Iterator[DockerEngine]:
    # Not below pytest's directory: a socket's path has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="dlpx-docker-"))
    url = f"unix://{directory}/docker.sock"
    bridge = f"dlpx{os.getpid()}"
    log = directory / "log"
    command = [
        "dockerd",
        *("--host", url),
        *("--data-root", str(directory / "data")),
        *("--exec-root", str(directory / "exec")),
        *("--pidfile", str(directory / "pid")),
        # No firewall rules, and a bridge of its own: another engine on this machine keeps its own. (The
        # obvious --bridge=none would delete that engine's bridge.)
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        *("--bridge", bridge),
    ]
    with _bridge(bridge), log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_it_answers(process, url, log)
            yield DockerEngine(url)
        finally:
            if process.poll() is None:
                _remove_containers(url)
            process.terminate()
            try:
                process.wait(_STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _unmount_below(directory)
            shutil.rmtree(directory)


@contextmanager
def _bridge(name: str) -> Iterator[None]:
    """A network bridge with addresses that no route of this machine covers."""
    taken = {line.split()[1] for line in Path("/proc/net/route").read_text().splitlines()[1:]}
    free = (n for n in range(1, 255) if f"00{n:02X}D50A" not in taken)  # little endian: 10.213.n.0
    for command in (
        ["ip", "link", "add", name, "type", "bridge"],
        ["ip", "address", "add", f"10.213.{next(free)}.1/24", "dev", name],
        ["ip", "link", "set", name, "up"],
    ):
        subprocess.run(command, check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-10:]
            raise NoDockerEngine("dockerd did not start. Its last words:\n" + "\n".join(lines))
        time.sleep(0.1)


def _remove_containers(url: str) -> None:
    containers = _docker(url, "ps", "--all", "--quiet").split()
    if containers:
        _docker(url, "rm", "--force", "--volumes", *containers)


def _docker(url: str, *arguments: str) -> str:
    done = subprocess.run(
        ["docker", "--host", url, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
