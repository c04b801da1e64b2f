"""Volumes as plain copies, on any file system: works everywhere, and costs the time and space of the data."""

from __future__ import annotations

from dlpx_remote.storage.base import Size
from dlpx_remote.storage.failures import failures
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.sizes import logical
from dlpx_remote.storage.trees import TreeBackend


class CopyBackend(TreeBackend):
    """A back end on any directory. A record size has no meaning here.

    Args:
        place: the directory of the pool.
    """

    kind = "copy"
    cheap_clones = False

    def __init__(self, place: Place) -> None:
        super().__init__(place, "auto")

    def size(self, name: str) -> Size:
        """All of a volume's bytes are its own."""
        with failures(f"The size of {name} could not be found", self.place.root):
            held = logical(self._checked(name))
        return Size(held, held)
