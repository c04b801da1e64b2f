"""A Kerberos realm of a test's own: a real MIT KDC on loopback, as root or as an ordinary user."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from dlpx_remote.demo.loopback import free_port

NAME = "WINDOWS.TEST"

_CONFIG = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    default_rcache_name = none:
[realms]
    {realm} = {{
        kdc = {address}:{port}
    }}
[domain_realm]
    localhost = {realm}
"""
_KDC = """\
[kdcdefaults]
    kdc_listen = {address}:{port}
    kdc_tcp_listen = {address}:{port}
[realms]
    {realm} = {{
        database_name = {directory}/principal
        key_stash_file = {directory}/stash
        acl_file = {directory}/acl
        max_life = 10h
    }}
[logging]
    kdc = FILE:{directory}/kdc.log
"""
_SYSTEM_PATH = "/usr/sbin:/sbin:/usr/local/sbin"


class Realm:
    """A realm, for a ``with`` block. Nobody has a password there: all keys are in keytabs.

    Args:
        directory: an empty directory of its own.

    Attributes:
        environment: what a process needs in its environment to use the realm; its tickets are this one's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            "KRB5_CONFIG": str(directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.tickets}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def tickets(self) -> Path:
        """The cache of tickets."""
        return self.directory / "tickets"

    def __enter__(self) -> Self:
        address = "127.0.0.1"
        values = {
            "realm": NAME,
            "address": address,
            "port": free_port(address),
            "directory": self.directory,
        }
        (self.directory / "krb5.conf").write_text(_CONFIG.format(**values))
        (self.directory / "kdc.conf").write_text(_KDC.format(**values))
        self._run("kdb5_util", "create", "-s", "-r", NAME, "-P", secrets.token_hex())
        self._process = subprocess.Popen(
            [_program("krb5kdc"), "-n"],
            env=self._whole_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.add("trial")
        until = time.monotonic() + 60
        while self._ask("kinit", "-k", "-t", str(self.keytab("trial")), "trial").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise RuntimeError(f"The KDC does not answer: {(self.directory / 'kdc.log').read_text()}")
            time.sleep(0.05)
        self.forget()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def keytab(self, principal: str) -> Path:
        """The file with the key of a principal."""
        return self.directory / f"{principal.replace('/', '-')}.keytab"

    def add(self, principal: str) -> Path:
        """A user, or the service of a host (``HTTP/host``); gives its keytab."""
        self._run("kadmin.local", "-r", NAME, "addprinc", "-randkey", principal)
        return self.take_key(principal)

    def take_key(self, principal: str) -> Path:
        """Give a principal another key, and put it into its keytab."""
        keytab = self.keytab(principal)
        self._run("kadmin.local", "-r", NAME, "ktadd", "-q", "-k", str(keytab), principal)
        return keytab

    def change_key(self, principal: str) -> None:
        """Another key than the one in the principal's keytab."""
        self._run("kadmin.local", "-r", NAME, "cpw", "-randkey", principal)

    def log_in(self, user: str, *, seconds: int = 3600) -> None:
        """Get a ticket, as ``kinit`` does."""
        self._run("kinit", "-l", f"{seconds}s", "-k", "-t", str(self.keytab(user)), user)

    def get(self, service: str) -> None:
        """Get a ticket for a service with the one that is there."""
        self._run("kvno", service)

    def forget(self) -> None:
        """Have no ticket any more."""
        self.tickets.unlink(missing_ok=True)

    @property
    def has_ticket(self) -> bool:
        """Whether there is one that has not expired."""
        return self._ask("klist", "-s").returncode == 0

    def _run(self, *command: str) -> None:
        done = self._ask(*command)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")

    def _ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [_program(program), *arguments],
            env=self._whole_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )

    def _whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "LC_ALL": "C"}


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    if found is None:
        raise RuntimeError(f"{name} is missing: install krb5-kdc, krb5-admin-server and krb5-user.")
    return found
