"""An engine with storage, and this machine as its host: a server on loopback, as root, with bind mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.mounts import mountinfo
from dlpx_remote.storage.initialise import PoolChoice, initialise
from dlpx_remote.store import Ledger, Settings, Store
from tests.hosts.lifecycle.trees import write_trees
from tests.hosts.sshd import Sshd


class Site:
    """Where a test works.

    Attributes:
        root: everything is below it.
        sources: directories that can be linked.
        state: of the engine.
    """

    def __init__(self, root: Path, server: Sshd) -> None:
        self.root = root
        self.server = server
        self.sources = root / "sources"
        self.state = root / "state"
        self.targets = root / "targets"
        self.targets.mkdir()
        for name in ("orders", "customers"):
            (self.sources / name).mkdir(parents=True)
            (self.sources / name / "row1").write_text(f"{name} 1")

    def open(self) -> Engine:
        """An engine on the state."""
        return Engine(self.state)

    def prepare(self) -> None:
        """Storage, an environment, the plugin, and what it finds."""
        store = Store(self.state)
        initialise(PoolChoice(self.root / "pool", "copy"), Settings(store), Ledger(store))
        store.close()
        with self.open() as engine:
            engine.add_environment(
                EnvironmentSpec(
                    "here",
                    self.server.address,
                    self.server.user,
                    port=self.server.port,
                    authentication=Authentication(key=str(self.server.user_key)),
                    fingerprint=self.server.fingerprint(),
                    directory=str(self.root / "host"),
                    privilege="none" if os.geteuid() == 0 else "sudo",
                )
            )
            engine.add_plugin(write_trees(self.root / "plugin", self.sources))
            assert not engine.discover().failed

    def mounts(self) -> list[str]:
        """What is mounted below the site, seen from the kernel."""
        return sorted(entry.point for entry in mountinfo.here() if entry.point.startswith(f"{self.root}/"))

    def volumes(self) -> set[str]:
        """What lies in the pool."""
        return {path.name for path in (self.root / "pool" / "volumes").iterdir()}

    def left(self) -> dict[str, object]:
        """All that the engine's operations may leave behind, seen from outside."""
        store = Store(self.state)
        try:
            ledger = [f"{entry.kind} {entry.name}" for entry in Ledger(store).entries()]
        finally:
            store.close()
        exports = self.state / "exports"
        return {
            "volumes": self.volumes(),
            "unfinished": list((self.root / "pool" / "unfinished").iterdir()),
            "mounts": self.mounts(),
            "ledger": ledger,
            "exports": sorted(path.name for path in exports.iterdir()) if exports.exists() else [],
            "targets": sorted(path.name for path in self.targets.iterdir()),
        }


NOTHING: dict[str, object] = {
    "volumes": set(),
    "unfinished": [],
    "mounts": [],
    "ledger": [],
    "exports": [],
    "targets": [],
}


@pytest.fixture
def site(tmp_path: Path, clean_home: Path) -> Iterator[Site]:
    """A site that is ready."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    with Sshd(directory, ["UsePAM no"], quick=True) as server:
        root = tmp_path / "site"
        root.mkdir()
        made = Site(root, server)
        made.prepare()
        yield made
    assert made.mounts() == []
