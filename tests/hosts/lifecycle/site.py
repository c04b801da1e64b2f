"""A place where an engine lives on this machine: its state, pool and host, and what it may leave behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.mounts import mountinfo
from dlpx_remote.storage.initialise import BackendKind, PoolChoice, initialise
from dlpx_remote.store import Ledger, Settings, Store
from tests.hosts.lifecycle.trees import write_trees
from tests.hosts.sshd import Sshd

NOTHING: dict[str, object] = {
    "volumes": set(),
    "unfinished": [],
    "mounts": [],
    "ledger": [],
    "exports": [],
    "targets": [],
}
"""What :meth:`Site.left` gives where nothing is left."""


class Site:
    """Where a test works.

    Attributes:
        root: everything is below it.
        sources: directories that can be linked.
        state: of the engine.
        targets: where clones are to be mounted.
        pool: of the engine.

    Args:
        root: an empty directory.
        database: URL; None takes a file of the state.
        pool: elsewhere than below the root.
    """

    def __init__(self, root: Path, database: str | None = None, *, pool: Path | None = None) -> None:
        self.root = root
        self.database = database
        self.pool = pool or root / "pool"
        self.sources = root / "sources"
        self.state = root / "state"
        self.targets = root / "targets"

    def prepare(
        self,
        server: Sshd,
        pool: BackendKind = "copy",
        *,
        extended_hooks: bool = False,
        sources: Sequence[str] = ("orders", "customers"),
        environments: Sequence[str] = ("here",),
    ) -> None:
        """Storage, an environment, the plugins, and what they find.

        Args:
            server: the host.
            pool: kind of the pool.
            extended_hooks: start and stop hooks run on enable and disable too.
            sources: names of directories that can be linked.
            environments: names; all of them are the host.
        """
        self.targets.mkdir()
        for name in sources:
            (self.sources / name).mkdir(parents=True)
            (self.sources / name / "row1").write_text(f"{name} 1")
        store = Store(self.state, self.database)
        initialise(PoolChoice(self.pool, pool), Settings(store), Ledger(store))
        store.close()
        with self.open() as engine:
            for name in environments:
                engine.add_environment(
                    EnvironmentSpec(
                        name,
                        server.address,
                        server.user,
                        port=server.port,
                        authentication=Authentication(key=str(server.user_key)),
                        fingerprint=server.fingerprint(),
                        directory=str(self.root / "host"),
                        privilege="none" if os.geteuid() == 0 else "sudo",
                    )
                )
            engine.add_plugin(write_trees(self.root / "plugin", self.sources, extended_hooks=extended_hooks))
            engine.add_plugin(write_trees(self.root / "staged", self.sources, staged=True))
            assert not engine.discover().failed

    def open(self) -> Engine:
        """An engine on the state."""
        return Engine(self.state, self.database)

    def calls(self) -> list[str]:
        """The plugin operations that were run, in order."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def mounts(self) -> list[str]:
        """What is mounted below the site, seen from the kernel; the last mounted last."""
        return [entry.point for entry in mountinfo.here() if entry.point.startswith(f"{self.root}/")]

    def unmount_all(self) -> None:
        """As a reboot does."""
        for point in reversed(self.mounts()):
            subprocess.run(["umount", "-l", point], check=True)

    def volumes(self) -> set[str]:
        """What lies in the pool."""
        return {path.name for path in (self.pool / "volumes").iterdir()}

    def ledger(self) -> list[str]:
        """What the ledger names, with how far it has come where it is not present."""
        store = Store(self.state, self.database)
        try:
            entries = Ledger(store).entries()
        finally:
            store.close()
        return [
            f"{entry.kind} {entry.name}{'' if entry.state == 'present' else f' {entry.state}'}"
            for entry in entries
        ]

    def left(self) -> dict[str, object]:
        """All that the engine's operations may leave behind, seen from outside."""
        exports = self.state / "exports"
        return {
            "volumes": self.volumes(),
            "unfinished": list((self.pool / "unfinished").iterdir()),
            "mounts": self.mounts(),
            "ledger": self.ledger(),
            "exports": sorted(path.name for path in exports.iterdir()) if exports.exists() else [],
            "targets": sorted(path.name for path in self.targets.iterdir()),
        }
