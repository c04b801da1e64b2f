"""A place where an engine lives on this machine: its state, pool and host, and what it may leave behind."""

from __future__ import annotations

import os
import subprocess
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
        pool: elsewhere than below it.
    """

    def __init__(self, root: Path, *, pool: Path | None = None) -> None:
        self.root = root
        self.pool = pool or root / "pool"
        self.sources = root / "sources"
        self.state = root / "state"
        self.targets = root / "targets"

    def prepare(self, server: Sshd, pool: BackendKind = "copy", *, extended_hooks: bool = False) -> None:
        """Storage, an environment, the plugins, and what they find.

        Args:
            server: the host.
            pool: kind of the pool.
            extended_hooks: start and stop hooks run on enable and disable too.
        """
        self.targets.mkdir()
        for name in ("orders", "customers"):
            (self.sources / name).mkdir(parents=True)
            (self.sources / name / "row1").write_text(f"{name} 1")
        store = Store(self.state)
        initialise(PoolChoice(self.pool, pool), Settings(store), Ledger(store))
