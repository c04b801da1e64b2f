"""Three hosts and an engine between them: a PostgreSQL source in a container, staging and target in machines.

The machines mount what NFS-Ganesha serves on this machine from a Btrfs pool in a file. They reach this
machine's loopback as 10.0.2.2: the NFS server as well as the source's port, which Docker publishes there.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containers.ssh import build
from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine import Engine
from dlpx_remote.engine_jobs import JobFailed
from dlpx_remote.engine_mounts import HostChoice, NfsChoice
from dlpx_remote.engine_sources import Given
from dlpx_remote.mounts import mountinfo
from dlpx_remote.storage.initialise import PoolChoice, initialise
from dlpx_remote.store import Ledger, Settings, Store
from tests.hosts.docker_engine import docker_engine
from tests.hosts.examples import POSTGRES
from tests.hosts.postgres_source import Source, ask_copy, make_source
from tests.hosts.ssh_host import LoginHost, SshHost, ssh_host
from tests.nfs.vm_host import VmHost
from tests.storage.file_systems import MIB

_DATABASE = 5432
# The rows are wider than what would be compressed away, and each is another one.
_BALLAST = """
CREATE TABLE ballast AS SELECT number, repeat(md5(number::text), 31) AS filling
    FROM generate_series(1, {rows}) AS number;
GRANT ALL ON ballast TO clerk;
GRANT pg_checkpoint TO replicator;
"""
_SMALL = {"shared_buffers": "32MB"}  # the machines have little memory


@dataclass
class ThreeHosts:
    """Where the test works.

    Attributes:
        root: of what is on this machine.
        source: the database in the container.
        staging, target: the machines.
        rows: of the table that only makes the database large.
        steps: what was done, and how many seconds it took.
    """

    root: Path
    source: Source
    port: int
    staging: VmHost
    target: VmHost
    rows: int
    steps: list[tuple[str, float]] = field(default_factory=list)

    def open(self) -> Engine:
        """An engine on the state."""
        return Engine(self.root / "state")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Note how long the block took; for people, no test looks at it."""
        began = time.monotonic()
        yield
        self.steps.append((what, time.monotonic() - began))

    def done(self, engine: Engine, job: str) -> Any:
        """What a job gave; where it failed, all that it said."""
        try:
            return engine.jobs.result(job)
        except JobFailed as failed:
            raise AssertionError(f"{failed}\n{failed.output}") from failed

    def prepare(self) -> None:
        """Storage, the NFS server, environments, the plugin, and what it finds."""
        store = Store(self.root / "state")
        size = max(1024, self.rows // 1000 * 8) * MIB
        initialise(
            PoolChoice(self.root / "pool", image=self.root / "pool.img", size=size),
            Settings(store),
            Ledger(store),
        )
        store.close()
        hosts: dict[str, LoginHost] = {
            "source": self.source.host,
            "staging": self.staging,
            "target": self.target,
        }
        with self.open() as engine:
            engine.mounts.nfs.configure(NfsChoice(port=free_port("127.0.0.1"), listen="127.0.0.1"))
            for name, host in hosts.items():
                environment = engine.add_environment(host.spec(name))
                if isinstance(host, VmHost):
                    # The emulator carries connections: they come from this machine's loopback.
                    choice = HostChoice(host.vm.gateway, ("127.0.0.1",))
                    engine.mounts.nfs.configure_host(environment, choice)
            engine.add_plugin(POSTGRES)
            report = engine.discover()
            assert not report.failed, report

    def linked(self) -> Given:
        """Parameters of the dSource."""
        password = self.root / "password"
        password.touch(mode=0o600)
        password.write_text(self.source.password)
        return Given(
            {
                "stagingPath": "/mnt/staging",
                "sourceUser": "replicator",
                "password": f"file:{password}",
                "sourceHost": self.staging.vm.gateway,
                "sourcePort": self.port,
                "sslMode": "disable",  # the machines are emulated, and so is their arithmetic
                "settings": _SMALL,
            }
        )

    def virtual(self, name: str, port: int) -> Given:
        """Parameters of a VDB."""
        return Given({"mountPath": f"/mnt/{name}", "port": port, "instanceName": name, "settings": _SMALL})

    def ask(self, port: int, statement: str) -> str:
        """What a VDB on the target answers to an ordinary role that logs in over TCP with its password."""
        return ask_copy(self.target, self.source.password, port, statement)

    def entries(self, port: int) -> int:
        """How many a VDB holds: the first so many that the source ever had, and no transaction torn."""
        count, total, last = self.ask(
            port, "SELECT count(*), (SELECT entries FROM total), coalesce(max(id), 0) FROM entries"
        ).split("|")
        assert count == total == last
        return int(count)

    def whole(self, port: int) -> bool:
        """Whether the large table is there to the last byte."""
        wrong = "filling <> repeat(md5(number::text), 31)"
        said = self.ask(port, f"SELECT count(*), count(*) FILTER (WHERE {wrong}) FROM ballast")
        return said == f"{self.rows}|0"

    def left(self) -> dict[str, Any]:
        """All that the engine's operations may leave behind, seen from outside."""
        store = Store(self.root / "state")
        try:
            ledger = [f"{entry.kind} {entry.name}" for entry in Ledger(store).entries()]
        finally:
            store.close()
        with self.open() as engine:
            exports = engine.mounts.nfs.status().exports
        state = self.root / "state"
        pool = subprocess.run(
            ["btrfs", "subvolume", "list", str(self.root / "pool")],
            capture_output=True,
            text=True,
            check=True,
        )
        points = [entry.point for entry in mountinfo.here()]
        found: dict[str, Any] = {
            "ledger": ledger,
            "exports": [*exports, *(path.name for path in (state / "nfs/exports").iterdir())],
            "subvolumes": pool.stdout.splitlines(),
            "mounts": [point for point in points if point.startswith(f"{state}/")],
        }
        for name, host in (("staging", self.staging), ("target", self.target)):
            found[name] = host.root(
                "ls -A /mnt; grep ' /mnt/' /proc/mounts || true; ls -d /tmp/dlpx-* 2>/dev/null || true\n"
                "ps -eo args= | grep '[p]ostgres' || true; ls -A ~engine/.dlpx-remote/scratch"
            ).splitlines()
        found["source"] = self.source.ask("SELECT application_name FROM pg_stat_replication").splitlines()
        found["slots"] = self.source.ask("SELECT slot_name FROM pg_replication_slots").splitlines()
        return found


@contextmanager
def three_hosts(staging: VmHost, target: VmHost, size: int) -> Iterator[ThreeHosts]:
    """All of it, ready; on this machine nothing is left afterwards.

    Args:
        staging, target: running machines.
        size: of the database, in MiB.
    """
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dlpx-three-")))
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dlpx-host-")))
        stack.enter_context(docker_engine())
        host = stack.enter_context(ssh_host(build.build(), keys, publish=(_DATABASE,)))
        _open_to_the_network(host)
        source = make_source(host)
        rows = size * 1000
        source.ask(_BALLAST.format(rows=rows))
        hosts = ThreeHosts(root, source, host.published[_DATABASE], staging, target, rows)
        stack.callback(_end, hosts)
        hosts.prepare()
        yield hosts


def _open_to_the_network(host: SshHost) -> None:
    """The image's database listens to its own host only."""
    host.root(
        "cd /etc/postgresql/15/main; echo \"listen_addresses = '*'\" >> postgresql.conf\n"
        "for database in replication all; do echo host $database all all scram-sha-256; done >> pg_hba.conf\n"
        "pg_ctlcluster 15 main restart"
    )


def _end(hosts: ThreeHosts) -> None:
    """Take down what an engine leaves running on purpose, and what a failed test leaves."""
    for host in (hosts.staging, hosts.target):
        host.root(
            "pkill -KILL -u engine postgres || true\n"
            "grep -o ' /mnt/[^ ]*' /proc/mounts | xargs -r umount -f -l; rmdir /mnt/* 2>/dev/null || true\n"
            "rm -rf /tmp/dlpx-* /dev/shm/PostgreSQL.* ~engine/.dlpx-remote"
        )
    with hosts.open() as engine:
        engine.mounts.nfs.stop()
    points = [entry.point for entry in mountinfo.here() if entry.point.startswith(f"{hosts.root}/")]
    for point in reversed(points):
        subprocess.run(["umount", point], check=True)
