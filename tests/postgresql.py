"""A real PostgreSQL server for the tests: one a run, on loopback, and for each test a database of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SERVER_ACCOUNT = "postgres"  # PostgreSQL refuses to run as root


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        raise FileNotFoundError("These tests need PostgreSQL: python -m tests.prepare installs it.")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _run(*command: str, directory: Path) -> None:
    """As the server's account, where we are root."""
    account = pwd.getpwnam(_SERVER_ACCOUNT) if os.geteuid() == 0 else None
    subprocess.run(
        command,
        cwd=directory,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=() if account else None,
    )


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """``host:port`` of the server; its superuser is ``postgres``, without a password."""
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="dlpx-pg-"))
    if os.geteuid() == 0:
        shutil.chown(directory, _SERVER_ACCOUNT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(directory / "data")
    _run(
        *(str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"),
        directory=directory,
    )
    options = f"-F -c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={directory}"
    control = (str(programs / "pg_ctl"), "-D", data, "-w")
    try:
        _run(*control, "-o", options, "-l", str(directory / "log"), "start", directory=directory)
        yield f"127.0.0.1:{port}"
    finally:
        _run(*control, "-m", "immediate", "stop", directory=directory)
        shutil.rmtree(directory)


@pytest.fixture
def postgresql_url(postgresql_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLAlchemy URL of an empty database that is dropped after the test."""
    import psycopg

    host, port = postgresql_server.split(":")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(host=host, port=int(port), user="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield f"postgresql+psycopg://postgres@{postgresql_server}/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
