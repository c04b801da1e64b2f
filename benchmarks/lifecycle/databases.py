"""Provisioning a PostgreSQL database, beside copying its data directory on the same host and starting that.

The host is this machine, the pool a Btrfs file system in a file. Each size is linked and synced once, which
is not measured; a round is then one provision and one copy, each until a server answers a query.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from dlpx_remote.demo.loopback import free_port
from tests.hosts.lifecycle.postgres_site import PostgresSite

SIZES = "DLPX_BENCHMARK_GIB"
"""Environment variable: the smaller and the larger size in GiB, for example ``0.2,1``."""
SMALL, LARGE = (float(size) for size in os.environ.get(SIZES, "1,10").split(","))

_GIB = 1024**3
_ROW = 1024**2
_stack = ExitStack()
atexit.register(_stack.close)


class Database:
    """A source of one size with its dSource, synced once.

    Args:
        gib: how much its table holds.
    """

    def __init__(self, gib: float) -> None:
        root = Path(_stack.enter_context(tempfile.TemporaryDirectory(prefix="dlpx-benchmark-")))
        size = int((gib * 1.5 + 2) * _GIB)
        self._site = _stack.enter_context(PostgresSite(root, pool_size=size, wal_segment=16))
        self._fill(int(gib * _GIB) // _ROW)
        with self._site.open() as engine:  # one at a time in a process
            jobs, dsources = engine.jobs, engine.dsources
            source_config = str(root / "source/data")
            parameters = self._site.linked()
            jobs.result(dsources.link("shop", "here", source_config, staging="here", parameters=parameters))
            self._snapshot = str(jobs.result(dsources.sync("shop"))["snapshot"])
            jobs.result(dsources.disable("shop"))
        self._round = 0

    def provision(self) -> float:
        """Seconds from the request for a VDB to the answer to a query on it."""
        self._round += 1
        name, port = f"vdb{self._round}", free_port("127.0.0.1")
        parameters = self._site.virtual(name, port)
        with self._site.open() as engine:
            began = time.perf_counter()
            engine.jobs.result(engine.vdbs.provision(name, self._snapshot, "here", parameters=parameters))
            self._site.entries(port)
            took = time.perf_counter() - began
            engine.jobs.result(engine.vdbs.delete(name))
        return took

    def copy(self) -> float:
        """Seconds to copy the same data directory to a place on the host and have a query answered there."""
        snapshot = self._site.root / "pool/volumes" / self._snapshot / "data"
        place, port = self._site.targets / "copy", free_port("127.0.0.1")
        began = time.perf_counter()
        subprocess.run(["cp", "--archive", "--reflink=never", str(snapshot), str(place)], check=True)
        (place / "standby.signal").unlink()
        (place / "postgresql.conf").write_text("")
        (place / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        # The pool keeps files under one owner, whom only the mount shows as somebody else.
        subprocess.run(["chown", "--recursive", self._site.user, str(place)], check=True)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
        self._site.run(
            "pg_ctl", "start", "-w", "-t", "600", "-D", place, "-l", self._site.targets / "log", "-o", options
        )
        self._site.entries(port)
        took = time.perf_counter() - began
        self._site.run("pg_ctl", "stop", "-m", "immediate", "-D", place)
        shutil.rmtree(place)
        return took

    def _fill(self, rows: int) -> None:
        with self._site.connect(self._site.port, "postgres") as connection:
            connection.execute("CREATE TABLE filling (row text)")
            connection.execute("ALTER TABLE filling ALTER COLUMN row SET STORAGE EXTERNAL")
            connection.execute(
                "INSERT INTO filling SELECT repeat(md5(i::text), %s) FROM generate_series(1, %s) i",
                (_ROW // 32, rows),
            )
            connection.execute("VACUUM FREEZE filling")  # what autovacuum would do at some moment
            connection.execute("GRANT pg_checkpoint TO replicator")


@cache
def database(gib: float) -> Database:
    """Made once a run; taken away when the process ends."""
    return Database(gib)
