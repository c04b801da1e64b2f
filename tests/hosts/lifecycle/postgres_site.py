"""This machine as host of a PostgreSQL source, its staging and its VDBs, and an engine with storage.

PostgreSQL does not run as root. Where the tests do, the environment user is ``postgres``, and becomes root
for mounting by logging in to the same server as root: nothing of the machine's own configuration is touched.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.engine_sources import Given
from dlpx_remote.mounts import mountinfo
from dlpx_remote.storage.initialise import PoolChoice, initialise
from dlpx_remote.store import Ledger, Settings, Store
from tests.hosts.examples import POSTGRES
from tests.hosts.sshd import Sshd
from tests.secret_scan import secret

# Both tables change in the same transaction: a copy in which they differ has been torn.
_SHOP = (
    "CREATE TABLE entries (id bigserial PRIMARY KEY, card text DEFAULT '4111 1111 1111 1111')",
    "CREATE TABLE total (entries bigint)",
    "INSERT INTO total VALUES (0)",
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk",
)


class PostgresSite:
    """Where a test works.

    Attributes:
        root: everything is below it; others may pass through.
        user: environment user, and owner of every server.
        port: of the source.
        password: of the role ``clerk``.

    Args:
        root: an empty directory.
        pool_size: bytes of a Btrfs file system for the pool; None for a directory with copies.
        wal_segment: MiB of a file of WAL; small ones keep small clusters small.
    """

    def __init__(self, root: Path, *, pool_size: int | None = None, wal_segment: int = 1) -> None:
        self.root = root
        self._pool_size = pool_size
        self._wal_segment = wal_segment
        self.root.chmod(0o711)
        self.user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self.port = free_port("127.0.0.1")
        self.password = secret("password of a role")
        self.state = root / "state"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = self.root / "sshd"
            directory.mkdir(mode=0o711)
            self.server = Sshd(directory, quick=True)
            self.server.authorized_keys.chmod(0o644)
            self._own(self.server.home)
            stack.enter_context(self.server)
            self.targets = self._own(self.root / "targets")
            stack.enter_context(self._source())
            self._prepare(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self) -> Engine:
        """An engine on the state."""
        return Engine(self.state)

    @contextmanager
    def connect(self, port: int, role: str = "clerk") -> Iterator[psycopg.Connection[Any]]:
        """A connection to the source or to a VDB."""
        with psycopg.connect(
            host="127.0.0.1", port=port, user=role, password=self.password, dbname="shop", autocommit=True
        ) as connection:
            yield connection

    def entries(self, port: int) -> int:
        """How many entries a server holds; fails where a transaction has been torn."""
        with self.connect(port) as connection:
            row = connection.execute("SELECT count(*), (SELECT entries FROM total) FROM entries").fetchone()
        assert row is not None
        assert row[0] == row[1]
        return int(row[0])

    def cards(self, port: int) -> set[str]:
        """Every value of the column that is to be masked."""
        with self.connect(port) as connection:
            return {str(row[0]) for row in connection.execute("SELECT DISTINCT card FROM entries")}

    @contextmanager
    def load(self) -> Iterator[None]:
        """The source is written to all the time meanwhile."""
        ends = threading.Event()

        def write() -> None:
            with self.connect(self.port) as connection:
                while not ends.wait(0.002):
                    with connection.transaction():
                        connection.execute("INSERT INTO entries DEFAULT VALUES")
                        connection.execute("UPDATE total SET entries = entries + 1")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield
        finally:
            ends.set()
            writer.join()

    def linked(self) -> Given:
        """Parameters of the dSource."""
        return Given(
            {
                "stagingPath": str(self.targets / "staging"),
                "sourceUser": "replicator",
                "sourceHost": "127.0.0.1",
                "sourcePort": self.port,
            }
        )

    def virtual(self, name: str, port: int) -> Given:
        """Parameters of a VDB."""
        return Given({"mountPath": str(self.targets / name), "port": port, "instanceName": name})

    def left(self) -> dict[str, object]:
        """All that the engine's operations may leave behind, seen from outside."""
        store = Store(self.state)
        try:
            ledger = [f"{entry.kind} {entry.name}" for entry in Ledger(store).entries()]
        finally:
            store.close()
        return {
            "volumes": sorted(path.name for path in (self.root / "pool" / "volumes").iterdir()),
            "mounts": [entry.point for entry in mountinfo.here() if entry.point.startswith(f"{self.root}/")],
            "ledger": ledger,
            "targets": sorted(path.name for path in self.targets.iterdir()),
            "scratch": sorted(path.name for path in self.root.glob("host/scratch/*")),
            "servers": [line for line in self._servers() if str(self.targets) in line],
        }

    def _servers(self) -> list[str]:
        listed = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True)
        return [line for line in listed.stdout.splitlines() if "/bin/postgres " in line]

    def _prepare(self, stack: ExitStack) -> None:
        store = Store(self.state)
        pool = self.root / "pool"
        choice = PoolChoice(pool, "copy")
        if self._pool_size:
            choice = PoolChoice(pool, image=self.root / "pool.img", size=self._pool_size)
            stack.callback(subprocess.run, ["umount", str(pool)], check=True)
        initialise(choice, Settings(store), Ledger(store))
        store.close()
        host = self._own(self.root / "host")
        with self.open() as engine:
            engine.add_environment(
                EnvironmentSpec(
                    "here",
                    self.server.address,
                    self.user,
                    port=self.server.port,
                    authentication=Authentication(key=str(self.server.user_key)),
                    fingerprint=self.server.fingerprint(),
                    directory=str(host),
                    privilege=self._privilege(),
                )
            )
            engine.add_plugin(POSTGRES)
            report = engine.discover()
            assert not report.failed, report

    def _privilege(self) -> str:
        if os.geteuid() != 0:
            return "sudo"
        key = self.server.make_key("becomes_root")
        self.server.authorize(key)
        self.server.authorized_keys.chmod(0o644)
        self._own(key)
        become = self.root / "become"
        become.write_text(
            "#!/bin/bash\n"
            f"exec ssh -qF /dev/null -i {key} -p {self.server.port} "
            f"-o UserKnownHostsFile={self.server.known_hosts} "
            'root@127.0.0.1 "$(printf \'%q \' "$@")"\n'
        )
        become.chmod(0o755)
        return f"command:{become}"

    @contextmanager
    def _source(self) -> Iterator[None]:
        data = self._own(self.root / "source") / "data"
        self.run(
            "initdb", "-D", data, "-U", "postgres", "--auth=trust", f"--wal-segsize={self._wal_segment}", "-N"
        )
        self._start_source(data)
        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", autocommit=True
            ) as connection:
                connection.execute("CREATE ROLE replicator LOGIN REPLICATION")
                connection.execute(
                    psycopg.sql.SQL("CREATE ROLE clerk LOGIN PASSWORD {}").format(self.password)
                )
                connection.execute("CREATE DATABASE shop")
            with self.connect(self.port, "postgres") as connection:
                for statement in _SHOP:
                    connection.execute(statement)
            yield
        finally:
            self.run("pg_ctl", "stop", "-m", "immediate", "-D", data)

    def _start_source(self, data: Path) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data.parent}"
        self.run("pg_ctl", "start", "-w", "-D", data, "-l", data.parent / "log", "-o", options)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The source does not run meanwhile."""
        data = self.root / "source" / "data"
        self.run("pg_ctl", "stop", "-m", "fast", "-D", data)
        try:
            yield
        finally:
            self._start_source(data)

    def run(self, program: str, *arguments: object) -> None:
        """One of PostgreSQL's programs, as the owner of the servers."""
        account = pwd.getpwnam(self.user)
        own = os.geteuid() == account.pw_uid
        subprocess.run(
            [str(self.programs / program), *map(str, arguments)],
            cwd=self.root,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=None if own else account.pw_uid,
            group=None if own else account.pw_gid,
            extra_groups=None if own else (),
        )

    def _own(self, path: Path) -> Path:
        """The path, made as a directory where nothing is, and given to the environment user."""
        if not path.exists():
            path.mkdir()
        shutil.chown(path, self.user)
        return path


@contextmanager
def postgres_site() -> Iterator[PostgresSite]:
    """A site that is ready; everything is gone afterwards."""
    # Not below pytest's directories, which only their owner may enter.
    with tempfile.TemporaryDirectory(prefix="dlpx-life-") as root, PostgresSite(Path(root)) as site:
        yield site
