"""A PostgreSQL source for the whole tour: a database with something to mask, and who may copy it."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.demo.database import find_programs
from dlpx_remote.demo.host import DemoUnavailable
from dlpx_remote.demo.loopback import free_port

_LIMIT = 120.0
_ACCOUNT = "postgres"
_ROWS = 50_000
_SHOP = f"""
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
CREATE DATABASE shop;
\\connect shop
CREATE TABLE entries (id bigserial PRIMARY KEY, card text DEFAULT '4111 1111 1111 1111');
INSERT INTO entries SELECT FROM generate_series(1, {_ROWS});
"""


@dataclass(frozen=True)
class Source:
    """A running source.

    Attributes:
        account: who owns it, and runs copies of it.
        programs: directory of PostgreSQL's programs.
        data: its data directory.
        port: on loopback.
        password_file: with the password of the role ``replicator``.
    """

    account: pwd.struct_passwd
    programs: Path
    data: Path
    port: int
    password_file: Path

    def ask(self, directory: Path, port: int, statement: str) -> str:
        """What the server with its socket in ``directory`` answers to the owner of its files."""
        psql: list[str | Path] = [self.programs / "psql", "-XAtq", "-h", directory, "-p", str(port)]
        words = ["--username", self.account.pw_name, "--command", statement, "shop"]
        return _run(self.account, [*psql, *words], self.data.parent).strip()

    def enter(self, rows: int) -> None:
        """Write more rows."""
        self.ask(self.data.parent, self.port, f"INSERT INTO entries SELECT FROM generate_series(1, {rows})")


def account() -> pwd.struct_passwd:
    """Who PostgreSQL runs as: the current user, or where that is root, ``postgres``.

    Raises:
        DemoUnavailable: there is no such account, or it cannot log in.
    """
    name = getpass.getuser() if os.geteuid() else _ACCOUNT
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        found = None
    if found is None or Path(found.pw_shell).name in ("nologin", "false"):
        raise DemoUnavailable(
            f"PostgreSQL does not run as root, and there is no account {name} that can log in.",
            "Install PostgreSQL (Debian, Ubuntu: apt-get install postgresql), or be another user.",
        )
    return found


@contextmanager
def source(directory: Path, owner: pwd.struct_passwd) -> Iterator[Source]:
    """Make and start it in ``directory``; it is stopped at the end.

    Raises:
        DemoUnavailable: PostgreSQL is not installed here, or does not start.
    """
    programs = find_programs()
    if programs is None:
        raise DemoUnavailable(
            "PostgreSQL's server is needed for the whole tour, and is not installed here.",
            "Install it (Debian, Ubuntu: apt-get install postgresql), or run the demo without --full.",
        )
    directory.mkdir(mode=0o700)
    password = directory / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    script = directory / "shop.sql"
    # Read by psql itself, so that the password is in no process list.
    script.write_text(f"\\set password `cat '{password}'`\n{_SHOP}")
    for path in (directory, password, script):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    made = Source(owner, programs, directory / "data", free_port("127.0.0.1"), password)
    options = f"-p {made.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{directory}'"
    authentication = ("--auth-local=peer", "--auth-host=scram-sha-256")
    _run(owner, [programs / "initdb", "--pgdata", made.data, *authentication, "--no-sync"], directory)
    control: list[str | Path] = [programs / "pg_ctl", "--pgdata", made.data, "--wait"]
    try:
        _run(owner, [*control, "start", "--log", directory / "log", "--options", options], directory)
        where = ("-h", directory, "-p", str(made.port), "--username", owner.pw_name)
        _run(owner, [programs / "psql", "-Xq", *where, "-f", script, "postgres"], directory)
        yield made
    finally:
        if (made.data / "postmaster.pid").exists():
            _run(owner, [*control, "stop", "--mode", "immediate"], directory)


def _run(owner: pwd.struct_passwd, command: Sequence[str | Path], directory: Path) -> str:
    own = owner.pw_uid == os.geteuid()
    said = directory / "said"
    # To a file, not a pipe: the server that pg_ctl starts would hold the pipe open.
    with said.open("wb") as out:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=directory,
            user=None if own else owner.pw_uid,
            group=None if own else owner.pw_gid,
            extra_groups=None if own else (),
            check=False,
            timeout=_LIMIT,
            start_new_session=True,
        )
    text = said.read_text(errors="replace")
    if done.returncode:
        raise DemoUnavailable(f"{Path(command[0]).name} failed.", "See its own words below.", text.strip())
    return text
