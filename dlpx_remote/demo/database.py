"""Something to discover on loopback: a small PostgreSQL cluster, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.demo.host import Keeping

_PLACES = ("/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb", "/usr/local/pgsql/bin/initdb")
_LIMIT = 60.0
_STOP_LIMIT = 5.0


def find_programs() -> Path | None:
    """The directory with the newest ``initdb`` and ``pg_ctl`` of this machine."""
    found = [path for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    usable = [path.parent for path in found if (path.parent / "pg_ctl").exists()]
    return max(usable, key=_version, default=None)


@dataclass(frozen=True)
class Cluster:
    """What there is to find.

    Attributes:
        what: the rest of a sentence about it.
        undo: shell commands that remove it, for ``--keep``.
    """

    what: str
    undo: tuple[str, ...] = ()


@contextmanager
def cluster(directory: Path, keep: Keeping) -> Iterator[Cluster]:
    """A running cluster in ``directory``, stopped at the end unless it is kept.

    It listens on a socket in that directory and on no port. The server refuses to run as root; root lends it
    the account ``postgres`` or ``nobody``.

    Yields:
        What is there, or why nothing is.
    """
    programs = find_programs()
    if programs is None:
        yield Cluster("no PostgreSQL server is installed here, so there is no database to find")
        return
    directory.mkdir(mode=0o700)
    owner = _owner()
    if owner is not None:
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    data = directory / "data"
    failure = _run(
        owner,
        programs / "initdb",
        "--pgdata",
        data,
        "--auth=peer",
        "--no-sync",
        "--no-instructions",
        directory=directory,
    )
    if failure is None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{directory}'"
        failure = _run(
            owner,
            programs / "pg_ctl",
            "start",
            "--wait",
            "--pgdata",
            data,
            "--options",
            options,
            "--log",
            directory / "log",
            directory=directory,
        )
    try:
        if failure is None:
            number = _server(data)
            yield Cluster(f"a small PostgreSQL cluster of the programs in {programs}", (f"kill {number}",))
        else:
            yield Cluster(f"PostgreSQL is installed, but a small cluster could not be made: {failure}")
    finally:
        if not keep:
            _stop(owner, programs, data)


def _version(programs: Path) -> tuple[int, ...]:
    return tuple(
        int(part) for part in programs.parent.name.replace("pgsql-", "").split(".") if part.isdigit()
    )


def _owner() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _server(data: Path) -> int | None:
    """The server's process id, while it runs."""
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, IndexError, ValueError):
        return None


def _stop(owner: pwd.struct_passwd | None, programs: Path, data: Path) -> None:
    number = _server(data)
    if number is None:
        return
    _run(owner, programs / "pg_ctl", "stop", "--mode=immediate", "--pgdata", data, directory=data.parent)
    until = time.monotonic() + _STOP_LIMIT
    while Path(f"/proc/{number}").exists() and time.monotonic() < until:
        time.sleep(0.02)  # pg_ctl is content when the file is gone, a moment before the process is


def _run(owner: pwd.struct_passwd | None, *command: str | Path, directory: Path) -> str | None:
    """None when it worked, else the last line of what it said."""
    said = directory / "said"
    # To a file, not a pipe: the server that pg_ctl starts would hold the pipe open.
    with said.open("wb") as out:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=directory,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=() if owner else None,
                check=False,
                timeout=_LIMIT,
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode == 0:
        return None
    return (said.read_text(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
