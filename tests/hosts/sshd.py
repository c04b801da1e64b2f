"""A real sshd on loopback for tests: its own keys, configuration and port, as root or as an ordinary user."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from dlpx_remote.demo.loopback import answers, find_sshd, free_port
from tests.hosts import old_system


def sshd_binary() -> str:
    """Path of sshd; a missing one fails with what to install."""
    found = find_sshd()
    if found is None:
        raise RuntimeError("sshd is missing: install openssh-server.")
    return str(found)


class Sshd:
    """A server that lets the current user in with the key :attr:`user_key`.

    Args:
        directory: an empty directory of its own, for example ``tmp_path``.
        options: lines of ``sshd_config`` that come first and so win.
        key_types: types of host keys.
        address: loopback address to listen on.
        user_key_type: type of the key that may log in.
        quick: sshd does not execute itself anew for every connection, which is a third of a login's cost.
    """

    def __init__(
        self,
        directory: Path,
        options: Sequence[str] = (),
        key_types: Iterable[str] = ("ed25519",),
        address: str = "127.0.0.1",
        user_key_type: str = "ed25519",
        quick: bool = False,
    ) -> None:
        self.directory = directory
        self.address = address
        self.user = getpass.getuser()
        self.options = tuple(options)
        self.quick = quick
        self.authorized_keys = directory / "authorized_keys"
        self.user_key = self.make_key("user", user_key_type)
        self.host_keys = {kind: self.make_key(f"host_{kind}", kind) for kind in key_types}
        self.authorize(self.user_key)
        self.port = free_port(address)
        self.log = directory / "sshd.log"
        self.home = directory / "home"
        self.home.mkdir(exist_ok=True)
        self.temporary = directory / "tmp"  # so that what sessions leave is not among what others leave
        self.temporary.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def make_key(
        self, name: str, kind: str = "ed25519", passphrase: str = "", form: Sequence[str] = ()
    ) -> Path:
        """A new key pair in the server's directory; returns the private file."""
        path = self.directory / name
        command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, *form, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def authorize(self, key: Path, options: str = "") -> None:
        """Let ``key`` in."""
        public = key.with_name(key.name + ".pub").read_text()
        with self.authorized_keys.open("a") as file:
            file.write(f"{options} {public}".lstrip())
        self.authorized_keys.chmod(0o600)

    def public_key(self, kind: str = "ed25519") -> str:
        """Type and base64 of a host key, as ``known_hosts`` has them."""
        return " ".join(self.host_keys[kind].with_suffix(".pub").read_text().split()[:2])

    def fingerprint(self, kind: str = "ed25519") -> str:
        """``SHA256:…`` of a host key, from ssh-keygen."""
        command = ["ssh-keygen", "-l", "-f", str(self.host_keys[kind])]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    @property
    def known_hosts(self) -> Path:
        """A fresh file that knows all keys of this server."""
        path = self.directory / "known_hosts"
        lines = [f"[{self.address}]:{self.port} {self.public_key(kind)}\n" for kind in self.host_keys]
        path.write_text("".join(lines))
        return path

    @property
    def empty_config(self) -> Path:
        """A client configuration that says nothing, in place of the person's own."""
        path = self.directory / "ssh_config"
        path.touch()
        return path

    @property
    def pid(self) -> int:
        """Of the listening process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start, and wait until the port answers."""
        configuration = self.directory / "sshd_config"
        configuration.write_text("\n".join(self._lines()) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = [sshd_binary(), "-D", "-f", str(configuration), "-E", str(self.log)]
        if self.quick:
            sshd.append("-r")
        command = self.command(sshd)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        if not answers(self._process, self.address, self.port):
            said = self.log.read_text() if self.log.exists() else ""
            self.stop()
            raise RuntimeError(f"sshd did not start: {said}")
        return self

    def command(self, sshd: list[str]) -> list[str]:
        """How the server is started; it must keep the process's number."""
        return old_system.within(sshd)

    def stop(self) -> None:
        """End the server with all its sessions. Idempotent."""
        if self._process is None:
            return
        for child in _descendants(self._process.pid):
            _end(child)
        self._process.terminate()
        self._process.wait(10)
        self._process = None

    def sessions(self) -> list[int]:
        """The processes that serve logins, and what runs in those."""
        return [] if self._process is None else _descendants(self._process.pid)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lines(self) -> list[str]:
        lines = [
            *self.options,
            f"ListenAddress {self.address}",
            f"Port {self.port}",
            f"PidFile {self.directory / 'sshd.pid'}",
            # The person's own start-up files may be slow, and a killed shell may leave their locks behind.
            f'SetEnv "HOME={self.home}" "TMPDIR={self.temporary}"',
            f"AuthorizedKeysFile {self.authorized_keys}",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            f"UsePAM {'yes' if os.geteuid() == 0 else 'no'}",
            "PrintMotd no",
            "UseDNS no",
            "LogLevel VERBOSE",
        ]
        if not any(line.lower().startswith("subsystem") for line in self.options):
            lines.append("Subsystem sftp internal-sftp")
        lines += [f"HostKey {path}" for path in self.host_keys.values()]
        return lines


class PasswordSshd(Sshd):
    """A server whose account has a password of its own, which no other program on this machine sees.

    It has its own view of ``/etc/shadow`` (a mount namespace), which only root can make.

    Args:
        directory: see :class:`Sshd`.
        password: of the current user, for this server alone.
        options: see :class:`Sshd`.
    """

    def __init__(self, directory: Path, password: str, options: Sequence[str] = ()) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("A server with passwords of its own needs root: run these tests as root.")
        super().__init__(directory, (*options, "UsePAM yes"))
        self._shadow = directory / "shadow"
        self._shadow.touch(0o600)
        digest = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
        ).stdout.strip()
        others = [
            line
            for line in Path("/etc/shadow").read_text().splitlines()
            if not line.startswith(f"{self.user}:")
        ]
        self._shadow.write_text("\n".join([*others, f"{self.user}:{digest}:20000:0:99999:7:::"]) + "\n")

    def command(self, sshd: list[str]) -> list[str]:
        """See :meth:`Sshd.command`."""
        script = 'mount --bind "$0" /etc/shadow && exec "$@"'
        unshare = ["unshare", "--mount", "--propagation", "private", "--"]
        return [*unshare, "/bin/sh", "-c", script, str(self._shadow), *super().command(sshd)]


def _descendants(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [parent]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 9)
