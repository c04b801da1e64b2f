"""The hosts that are measured: real ``sshd`` processes on loopback, run as the current user, with own keys.

One account is plain: its home has no start-up files, whatever this machine's own account has. One is slow:
each of its shells first waits. A fleet is one machine on many addresses of 127.0.0.0/8; nothing ever listens
on any other network.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESSES_A_SERVER = 16
"""OpenSSH's own limit on ``ListenAddress`` lines (``MAX_LISTEN_SOCKS`` in sshd.c)."""

_PLACES = "/usr/sbin:/usr/local/sbin:/sbin:/usr/lib/ssh"
_START_LIMIT = 15.0
_ATTEMPTS = 5


class CannotMeasure(Exception):
    """Something that the benchmark needs is missing; the sentence says what to do."""


@dataclass(frozen=True)
class Host:
    """Where to log in, and how.

    Attributes:
        host, port: the address.
        user: the login name.
        key: path of the private key, ed25519, without a passphrase.
        known_hosts: path of a file that has the host's key for this address.
    """

    host: str
    port: int
    user: str
    key: str
    known_hosts: str


class Servers:
    """Starts servers below one directory, and ends all of them.

    Args:
        directory: an empty directory of ours.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._count = 0
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:{_PLACES}")
        if sshd is None:
            raise CannotMeasure("OpenSSH's server (sshd) is not installed; install openssh-server.")
        self._sshd = sshd
        if os.geteuid() == 0:
            # sshd started by root insists on it. It is left there: another server may already rely on it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.key = directory / "client_key"
        self._host_key = directory / "host_key"
        for key in (self.key, self._host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (directory / "authorized_keys").write_bytes(self.key.with_suffix(".pub").read_bytes())

    def close(self) -> None:
        """End every server and its sessions."""
        self._stack.close()

    def known_hosts(self, addresses: Sequence[tuple[str, int]]) -> Path:
        """A new file that has our host key for each of the addresses."""
        self._count += 1
        path = self._directory / f"known_hosts.{self._count}"
        key = " ".join(self._host_key.with_suffix(".pub").read_text().split()[:2])
        path.write_text("".join(f"[{host}]:{port} {key}\n" for host, port in addresses))
        return path

    def host(self, *, address: str = "127.0.0.1", start_up: str = "") -> Host:
        """Start one host.

        Args:
            address: a loopback address.
            start_up: shell text of the account's ``.bashrc``, which ``.profile`` reads too.
        """
        home = self._home(start_up)
        port = self._start_somewhere([[address]], home)
        return self.at(address, port)

    def fleet(self, number: int) -> list[Host]:
        """Start ``number`` hosts on addresses of their own, all on one port."""
        addresses = [f"127.77.{index // 250}.{index % 250 + 1}" for index in range(number)]
        groups = [
            addresses[index : index + ADDRESSES_A_SERVER] for index in range(0, number, ADDRESSES_A_SERVER)
        ]
        port = self._start_somewhere(groups, self._home(""))
        known = str(self.known_hosts([(address, port) for address in addresses]))
        return [Host(address, port, self.user, str(self.key), known) for address in addresses]

    def at(self, address: str, port: int) -> Host:
        """A host of ours as reached at another address or port."""
        known = self.known_hosts([(address, port)])
        return Host(address, port, self.user, str(self.key), str(known))

    def _home(self, start_up: str) -> Path:
        self._count += 1
        home = self._directory / f"home.{self._count}"
        home.mkdir()
        (home / ".bashrc").write_text(start_up)
        (home / ".profile").write_text(". ~/.bashrc\n")
        return home

    def _start_somewhere(self, groups: Sequence[Sequence[str]], home: Path) -> int:
        for _ in range(_ATTEMPTS):
            port = _free_port(groups[0][0])
            with ExitStack() as started:
                servers = [started.enter_context(self._server(group, port, home)) for group in groups]
                if all(
                    _answers(server, group[-1], port) for server, group in zip(servers, groups, strict=True)
                ):
                    self._stack.push(started.pop_all())
                    return port
        raise CannotMeasure(f"sshd does not start: {self._log().read_text(errors='replace')}")

    def _log(self) -> Path:
        return self._directory / "sshd.log"

    @contextmanager
    def _server(self, addresses: Sequence[str], port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
        self._count += 1
        configuration = self._directory / f"sshd_config.{self._count}"
        lines = [
            f"Port {port}",
            *(f"ListenAddress {address}" for address in addresses),
            f"HostKey {self._host_key}",
            f"AuthorizedKeysFile {self._directory / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "AuthenticationMethods publickey",
            "PermitRootLogin prohibit-password",
            "MaxStartups 2000",
            # Ten commands in flight need more than the ten sessions of the default: the next one is opened
            # before the server has done with the last.
            "MaxSessions 100",
            "PrintMotd no",
            f"AllowUsers {self.user}",
            f"SetEnv HOME={home}",
            f"Subsystem sftp {_sftp_server()}",
        ]
        configuration.write_text("".join(f"{line}\n" for line in lines))
        process = subprocess.Popen(
            [self._sshd, "-D", "-f", configuration, "-E", self._log()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def allow_many_files() -> None:
    """Raise the limit on open files as far as it goes: a fleet needs one for each host and more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _sftp_server() -> str:
    """The separate program that distributions configure, where it is found; sshd's own otherwise."""
    for place in (
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/lib/ssh/sftp-server",
    ):
        if Path(place).exists():
            return place
    return "internal-sftp"


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _answers(process: subprocess.Popen[bytes], address: str, port: int) -> bool:
    until = time.monotonic() + _START_LIMIT
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection((address, port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the sessions it still has: they are in its process group until a shell starts."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=5)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()
