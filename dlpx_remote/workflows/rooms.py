"""What the workflows of the life cycle call: the rooms below, as far as they need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlpx_remote.environments.directories import HostDirectories
from dlpx_remote.environments.model import Environment, EnvironmentUser
from dlpx_remote.operations.library import Connections
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.workflows.attaching import Attaching
from dlpx_remote.workflows.hook_records import HookRecords
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.parameters import Resolve
from dlpx_remote.workflows.source_records import SourceRecords


class Volumes(Protocol):
    """The pool, as workflows use it. Every method may be called again and ends in the same state."""

    def path(self, name: str) -> Path:
        """Where the volume's files are."""
        ...

    def create(self, name: str, *, job: str | None = None) -> object:
        """Make an empty volume."""
        ...

    def snapshot(self, source: str, name: str, *, job: str | None = None) -> object:
        """Keep the present state of a volume, read-only."""
        ...

    def clone(self, snapshot: str, name: str, *, job: str | None = None) -> object:
        """Make a writable volume with the state of a snapshot."""
        ...

    def delete(self, name: str) -> None:
        """Remove a volume; one that is not there is no error."""
        ...


class Prepare(Protocol):
    """Sees that the engine's directories on a host are there, and where they are."""

    def __call__(self, environment: Environment, user: EnvironmentUser) -> HostDirectories:
        """Where they are."""
        ...


@dataclass(frozen=True)
class Rooms:
    """What the workflows of the life cycle call.

    Attributes:
        records: dSources, VDBs and snapshots in the state.
        hooks: hooks in the state.
        inventory: repositories and source configs in the state.
        environment: an environment by reference.
        connections: the way to hosts.
        prepare: the engine's directories on a host.
        plugin: an added plugin by its identifier.
        workers: the processes for plugin code.
        pool: volumes.
        attaching: mounts.
        resolve: the secret behind a reference.
    """

    records: SourceRecords
    hooks: HookRecords
    inventory: Inventory
    environment: Callable[[str], Environment]
    connections: Connections
    prepare: Prepare
    plugin: Callable[[str], Plugin]
    workers: Workers
    pool: Volumes
    attaching: Attaching
    resolve: Resolve
