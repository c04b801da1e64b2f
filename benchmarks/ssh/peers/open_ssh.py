"""OpenSSH's own client: a master connection (``ControlMaster``) and ``ssh``, ``scp`` over it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, Session, check_exit


class OpenSshSession(Session):
    """One master process; each command is a client of it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # Of its own, and short: the path of a socket has little more than a hundred characters.
        self._directory = tempfile.mkdtemp(prefix="cm")
        self._socket = Path(self._directory) / "s"
        started = subprocess.run(
            ["ssh", *_options(host, "-p"), "-M", "-S", self._socket, "-f", "-N", host.host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        check_exit(started.returncode, "ssh -M")

    def run(self, command: str) -> bytes:
        done = subprocess.run(
            ["ssh", "-S", self._socket, self._host.host, command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        check_exit(done.returncode, command)
        return done.stdout

    def put(self, source: Path, destination: Path) -> None:
        self._copy(str(source), f"{self._host.host}:{destination}")

    def get(self, source: Path, destination: Path) -> None:
        self._copy(f"{self._host.host}:{source}", str(destination))

    def close(self) -> None:
        subprocess.run(
            ["ssh", "-S", self._socket, "-O", "exit", self._host.host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        shutil.rmtree(self._directory, ignore_errors=True)

    def _copy(self, source: str, destination: str) -> None:
        done = subprocess.run(
            [
                "scp",
                "-q",
                *_options(self._host, "-P"),
                "-o",
                f"ControlPath={self._socket}",
                source,
                destination,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        check_exit(done.returncode, "scp")


class OneShotSession(Session):
    """No master: what a person's first ``ssh host true`` costs."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def run(self, command: str) -> bytes:
        done = subprocess.run(
            ["ssh", *_options(self._host, "-p"), self._host.host, command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        check_exit(done.returncode, command)
        return done.stdout

    def close(self) -> None:
        """Nothing is left."""


class OpenSsh(BlockingPeer):
    def open(self, host: Host) -> Session:
        return OpenSshSession(host)

    def first_result(self, host: Host, times: int) -> dict[str, float]:
        return _OneShot().first_result(host, times)


class _OneShot(BlockingPeer):
    def open(self, host: Host) -> Session:
        return OneShotSession(host)


def _options(host: Host, port_flag: str) -> list[str]:
    settings = {
        "User": host.user,
        "IdentityFile": host.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": host.known_hosts,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
    }
    options = ["-F", "none", port_flag, str(host.port)]
    for name, value in settings.items():
        options += ["-o", f"{name}={value}"]
    return options
