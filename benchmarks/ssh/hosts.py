"""The hosts that are measured: real ``sshd`` processes on loopback, run as the current user, with own keys.

One account is plain: its home has no start-up files, whatever this machine's own account has. One is slow:
each of its shells first waits. A fleet is one machine on many addresses of 127.0.0.0/8; nothing ever listens
on any other network.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.sshd import Sshd

ADDRESSES_A_SERVER = 16
"""OpenSSH's own limit on ``ListenAddress`` lines (``MAX_LISTEN_SOCKS`` in sshd.c)."""

_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
)

_SETTINGS = (
    "UsePAM no",
    "LogLevel ERROR",
    "MaxStartups 2000",
    # Ten commands in flight need more than the ten sessions of the default: the next one is opened before the
    # server has done with the last.
    "MaxSessions 100",
)


@dataclass(frozen=True)
class Host:
    """Where to log in, and how.

    Attributes:
        host, port: the address.
        user: the login name.
        key: path of the private key, ed25519, without a passphrase.
        known_hosts: path of a file that has the host's key for this address.
        fingerprint: ``SHA256:…`` of that key.
    """

    host: str
    port: int
    user: str
    key: str
    known_hosts: str
    fingerprint: str


class Servers:
    """Starts servers below one directory, and ends all of them.

    Args:
        directory: an empty directory of ours.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = ExitStack()
        self._count = 0

    def close(self) -> None:
        """End every server and its sessions."""
        self._running.close()

    def host(self, *, start_up: str = "") -> Host:
        """Start one host.

        Args:
            start_up: shell text of the account's ``.bashrc``, which ``.profile`` reads too.
        """
        server = self._running.enter_context(self._server(["127.0.0.1"], self._home(start_up)))
        return self._hosts(server, [server.address], server.port, self._new_file(), server)[0]

    def moved(self, host: Host, port: int) -> Host:
        """A host of ours as it is reached through another port."""
        known = self._new_file()
        old = f"[{host.host}]:{host.port} "
        known.write_text(Path(host.known_hosts).read_text().replace(old, f"[{host.host}]:{port} "))
        return Host(host.host, port, host.user, host.key, str(known), host.fingerprint)

    def fleet(self, number: int) -> list[Host]:
        """Start ``number`` hosts on addresses of their own, all on one port."""
        addresses = [f"127.77.{index // 250}.{index % 250 + 1}" for index in range(number)]
        home = self._home("")
        known = self._new_file()
        hosts: list[Host] = []
        first: Sshd | None = None
        for start in range(0, number, ADDRESSES_A_SERVER):
            own = addresses[start : start + ADDRESSES_A_SERVER]
            server = self._server(own, home)
            first = first or server
            server.port = first.port
            server.authorize(first.user_key)
            self._running.enter_context(server)
            hosts += self._hosts(server, own, first.port, known, first)
        return hosts

    def _server(self, addresses: Sequence[str], home: Path) -> Sshd:
        sftp = next((place for place in _SFTP_SERVERS if Path(place).exists()), "internal-sftp")
        others = [f"ListenAddress {address}" for address in addresses[1:]]
        settings = [*_SETTINGS, f"SetEnv HOME={home}", f"Subsystem sftp {sftp}", *others]
        directory = self._new_file()
        directory.mkdir()
        return Sshd(directory, settings, address=addresses[0])

    def _hosts(
        self, server: Sshd, addresses: Sequence[str], port: int, known: Path, key_of: Sshd
    ) -> list[Host]:
        with known.open("a") as lines:
            lines.writelines(f"[{address}]:{port} {server.public_key()}\n" for address in addresses)
        fingerprint = server.fingerprint()
        return [
            Host(address, port, server.user, str(key_of.user_key), str(known), fingerprint)
            for address in addresses
        ]

    def _home(self, start_up: str) -> Path:
        home = self._new_file()
        home.mkdir()
        (home / ".bashrc").write_text(start_up)
        (home / ".profile").write_text(". ~/.bashrc\n")
        return home

    def _new_file(self) -> Path:
        self._count += 1
        return self._directory / str(self._count)


def allow_many_files() -> None:
    """Raise the limit on open files as far as it goes: a fleet needs one for each host and more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
