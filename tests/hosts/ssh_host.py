"""Test hosts: containers of the image in ``containers/ssh``, one way in for each of its users.

Passwords and keys are made afresh for every host, are known to the secret scan, and reach the container over
stdin. A host knows what it held when it started, so that what a test leaves behind can be named.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from containers.ssh import build
from dlpx_remote.environments.model import Authentication, EnvironmentSpec, SecretReference
from tests.secret_scan import remember, secret

PASSWORD_USERS = ("password", "plain")
KEY_USERS = tuple(user for user in build.USERS if user != "password")

# Where a login user could leave something. /run and /var/lib belong to the system's own services.
_WATCHED = "/home /root /tmp /var/tmp /dev/shm /etc /srv /opt /mnt /usr/local"
_PATIENCE = 5.0


@dataclass(frozen=True, eq=False, kw_only=True)
class LoginHost:
    """A running test host that users log in to.

    Attributes:
        address, port: where sshd answers.
        fingerprint: ``SHA256:…`` of its Ed25519 host key.
        host_key: the host key as in ``known_hosts``, without the name.
        users: every login user; :mod:`containers.ssh.build` says what is special about each.
        key: private key file of every user but ``password``.
        encrypted_key: the same key under a passphrase.
        passphrase: of ``encrypted_key``; ``passphrase_file`` holds it.
        passwords: by user; ``password`` and ``plain`` have one.
        password_files: a file with the password, by user.
    """

    address: str
    port: int
    fingerprint: str
    host_key: str
    key: Path
    encrypted_key: Path
    passphrase_file: Path
    passphrase: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    password_files: Mapping[str, Path]
    users: tuple[str, ...] = build.USERS

    @property
    def known_hosts_line(self) -> str:
        """The line that a ``known_hosts`` file needs to know this host."""
        return f"[{self.address}]:{self.port} {self.host_key}\n"

    def spec(self, name: str = "host", user: str = "engine", **changes: Any) -> EnvironmentSpec:
        """What a person would say to add this host: the user's own way in, the host key pinned."""
        return EnvironmentSpec(
            **{
                "name": name,
                "host": self.address,
                "port": self.port,
                "user": user,
                "authentication": self.authentication(user),
                "fingerprint": self.fingerprint,
                **changes,
            }
        )

    def authentication(self, user: str = "engine") -> Authentication:
        """The user's way in: the password for ``password``, the key for everyone else."""
        if user == "password":
            return Authentication(password_from=SecretReference("file", str(self.password_files[user])))
        return Authentication(key=str(self.key))

    def root(self, script: str) -> str:
        """Run a bash script as root on the host, not over SSH; its stdout. Raises when it fails."""
        raise NotImplementedError

    def contents(self) -> frozenset[str]:
        """Processes of login users, and the files where one could leave something."""
        return frozenset(self.root(self.listing).splitlines())

    @property
    def listing(self) -> str:
        """The script that lists :meth:`contents`."""
        users = "|".join(self.users)
        return (
            # The databases write into their own directories whenever they like; what vanishes is no error.
            f"find {_WATCHED} -xdev ! -user postgres -printf 'file %p\\n' || true\n"
            # A session that is just ending is not left behind, and sshd's own child belongs to sshd.
            f'ps -eo user:32=,args= | awk \'$1 ~ /^({users})$/ && $2 != "sshd:" {{print "process", $0}}\'\n'
        )

    def left_behind(self, before: frozenset[str]) -> list[str]:
        """What is there now and was not ``before``; waits a moment for processes that are ending."""
        deadline = time.monotonic() + _PATIENCE
        while (extra := self.contents() - before) and time.monotonic() < deadline:
            time.sleep(0.1)
        return sorted(extra)


@dataclass(frozen=True, eq=False, kw_only=True)
class SshHost(LoginHost):
    """A test host in a container.

    Attributes:
        container: its id.
        published: the port of loopback that leads to a port of the host, besides SSH's.
    """

    container: str
    published: Mapping[int, int] = field(default_factory=dict)

    def root(self, script: str) -> str:
        """See :meth:`LoginHost.root`."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", self.container, "bash", "-s"],
            input=f"set -e\n{script}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"exit {done.returncode} from {script!r}: {done.stderr}")
        return done.stdout


@contextmanager
def ssh_host(
    image: str,
    directory: Path,
    *,
    small_tmp: bool = False,
    small_disk: bool = False,
    mounts: bool = False,
    publish: tuple[int, ...] = (),
) -> Iterator[SshHost]:
    """A host for the ``with`` block.

    Args:
        image: name of the built image.
        directory: empty; key and password files go there.
        small_tmp: ``/tmp`` of 64 KiB, so that a full disk can be tried.
        small_disk: the same with 16 MiB at ``/small``, for what needs more to begin with.
        mounts: root in it may mount, in the container's own mount namespace.
        publish: ports of the host, besides SSH's, that this machine's loopback shall lead to.
    """
    # Read when the library is imported: no second container that cleans up (we do), and ports on this
    # machine's own address even where the tests themselves run in a container.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    ready = LogMessageWaitStrategy(build.READY).with_poll_interval(timedelta(milliseconds=50))
    container = DockerContainer(image).waiting_for(ready.with_startup_timeout(timedelta(seconds=60)))
    for port in (22, *publish):
        container.ports[f"{port}/tcp"] = ("127.0.0.1",)  # type: ignore[assignment]  # a free port, loopback only
    if small_tmp:
        container.with_tmpfs_mount("/tmp", "size=64k,mode=1777")
    if small_disk:
        container.with_tmpfs_mount("/small", "size=16m,mode=1777")
    if mounts:
        container.with_kwargs(
            cap_add=["SYS_ADMIN"], security_opt=["apparmor=unconfined", "seccomp=unconfined"]
        )
    with container:
        identifier = container.get_container_id()
        ways_in = WaysIn.make(directory)
        build.admit(identifier, ways_in.passwords, ways_in.keys)
        yield SshHost(
            **ways_in.of_host(build.host_key(identifier)),
            container=identifier,
            address="127.0.0.1",
            port=int(container.get_exposed_port(22)),
            published={port: int(container.get_exposed_port(port)) for port in publish},
        )


@dataclass(frozen=True)
class WaysIn:
    """Fresh passwords and keys for the users of a host.

    Attributes:
        passwords: by user.
        keys: public key by user.
    """

    passwords: Mapping[str, str] = field(repr=False)
    keys: Mapping[str, str]
    _files: Mapping[str, Any] = field(repr=False)

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make them; their files go to the empty ``directory``."""
        passwords = {user: secret(f"password of {user}") for user in PASSWORD_USERS}
        passphrase = secret("passphrase of a key")
        key, encrypted_key = _make_keys(directory, passphrase)
        files = {
            "key": key,
            "encrypted_key": encrypted_key,
            "passphrase": passphrase,
            "passphrase_file": _write(directory / "passphrase", passphrase),
            "password_files": {
                user: _write(directory / f"password-{user}", password) for user, password in passwords.items()
            },
        }
        return cls(passwords, dict.fromkeys(KEY_USERS, _public(key)), files)

    def of_host(self, host_key: str) -> dict[str, Any]:
        """What a :class:`LoginHost` knows of them and of its host key."""
        return {
            **self._files,
            "passwords": self.passwords,
            "host_key": host_key,
            "fingerprint": _fingerprint(host_key),
        }


def _make_keys(directory: Path, passphrase: str) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from paramiko import Ed25519Key

    # By a library and not by ssh-keygen, whose -N would put the passphrase into the process list.
    private = Ed25519PrivateKey.generate()
    plain, encrypted = directory / "key", directory / "encrypted-key"
    for path, encryption in (
        (plain, serialization.NoEncryption()),
        (encrypted, serialization.BestAvailableEncryption(passphrase.encode())),
    ):
        text = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption
        ).decode()
        _write(path, text)
        remember(text, f"private key {path.name}")
    public = Ed25519Key.from_private_key_file(str(plain))
    for path in (plain, encrypted):
        path.with_suffix(".pub").write_text(f"{public.get_name()} {public.get_base64()}\n")
    return plain, encrypted


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _fingerprint(host_key: str) -> str:
    import base64
    import hashlib

    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
