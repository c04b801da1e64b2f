"""The rooms below the workflows, small: volumes are plain directories, and mounts only written down."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dlpx_remote.mounts.base import Mounted, Owner, Placement
from dlpx_remote.storage.base import VolumeInUse


class Directories:
    """Volumes as directories, with the rules of the real pool: nothing goes before what was made from it."""

    def __init__(self, root: Path, mounting: WrittenDown) -> None:
        self.root = root
        self.parents: dict[str, str | None] = {}
        self.error: dict[str, Exception] = {}
        self._mounting = mounting
        root.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        return self.root / name

    def create(self, name: str, *, job: str | None = None) -> None:
        self._fail("create")
        self.path(name).mkdir(exist_ok=True)
        self.parents[name] = None

    def snapshot(self, source: str, name: str, *, job: str | None = None) -> None:
        self._fail("snapshot")
        self._copy(source, name)

    def clone(self, snapshot: str, name: str, *, job: str | None = None) -> None:
        self._fail("clone")
        assert snapshot.startswith("SNAPSHOT-")
        self._copy(snapshot, name)

    def delete(self, name: str) -> None:
        self._fail("delete")
        needed = [child for child, parent in self.parents.items() if parent == name]
        if name in self._mounting.mounted:
            needed.append("a mount")
        if needed:
            raise VolumeInUse(f"{name} is still in use by {needed}.")
        self.parents.pop(name, None)
        shutil.rmtree(self.path(name), ignore_errors=True)

    def _copy(self, source: str, name: str) -> None:
        if name not in self.parents:
            shutil.copytree(self.path(source), self.path(name))
            self.parents[name] = source

    def _fail(self, what: str) -> None:
        if what in self.error:
            raise self.error[what]


class WrittenDown:
    """Mounts that only exist here.

    Attributes:
        mounted: by volume.
        owners: of what is mounted, by volume.
        error: raised by the method of that name.
    """

    def __init__(self) -> None:
        self.mounted: dict[str, list[Mounted]] = {}
        self.owners: dict[str, Owner | None] = {}
        self.directories: dict[str, Path] = {}
        self.error: dict[str, Exception] = {}
        self.root_squash: dict[str, bool] = {}

    def attach(
        self,
        volume: str,
        directory: Path,
        placements: Sequence[Placement],
        *,
        owner: Owner | None,
        root_squash: bool = True,
        job: str | None = None,
    ) -> list[Mounted]:
        if "attach" in self.error:
            raise self.error["attach"]
        taken = {each.placement.mount_path: name for name, every in self.mounted.items() for each in every}
        for placement in placements:
            assert taken.get(placement.mount_path, volume) == volume, "something else is mounted there"
        self.mounted[volume] = [Mounted(each, f"here:/{volume}", "rw", "4.1") for each in placements]
        self.owners[volume] = owner
        self.directories[volume] = directory
        self.root_squash[volume] = root_squash
        return self.mounted[volume]

    def detach(self, volume: str, *, force: bool = False, job: str | None = None) -> tuple[str, ...]:
        if "detach" in self.error and not force:
            raise self.error["detach"]
        if "detach by force" in self.error:
            raise self.error["detach by force"]
        self.mounted.pop(volume, None)
        return ()

    def recover(self, running: Callable[[str], bool] | None = None) -> tuple[str, ...]:
        return ()

    def attached(self, volume: str) -> list[Mounted]:
        return list(self.mounted.get(volume, []))
