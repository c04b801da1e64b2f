"""What jobs on dSources, VDBs and snapshots hold, by the names that all of them use.

A job that works on an object holds it alone. A job that clones a snapshot shares that with others that do,
and with it the snapshots of what it was taken of; who removes either holds it alone.
"""

from __future__ import annotations

from typing import Protocol

from dlpx_remote.workflows.sources import Snapshot


class Named(Protocol):
    """A dSource or VDB, or what stands for one."""

    @property
    def reference(self) -> str:
        """``VDB-3``."""

    @property
    def name(self) -> str:
        """Its name."""


def locks_of(thing: Named) -> list[str]:
    """What a job on a dSource or VDB keeps for itself: also its name, which is all that a new one has."""
    return [thing.reference, f"name {thing.name}"]


def all_locks_of(thing: Named) -> list[str]:
    """What a job keeps for itself that removes a dSource or VDB with its snapshots."""
    return [*locks_of(thing), snapshots_of(thing.reference)]


def snapshots_of(reference: str) -> str:
    """The snapshots of a dSource or VDB, all of them, as they are held."""
    return f"snapshots of {reference}"


def shares_of(snapshot: Snapshot) -> list[str]:
    """What a job shares that makes something from a snapshot."""
    return [snapshot.reference, snapshots_of(snapshot.source)]
