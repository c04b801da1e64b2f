"""What a discovery leaves behind: rows in the state and directories on the host, or nothing at all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import HostDirectories, prepare, prepare_temporary, remove
from dlpx_remote.environments.model import Environment, HostFacts, HostType, RemovedEnvironment
from dlpx_remote.environments.registry import Registry
from dlpx_remote.errors import RemoteError
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.transports.base import Connection
from dlpx_remote.workflows.inventory import Inventory, check
from dlpx_remote.workflows.reconcile import Found
from dlpx_remote.workflows.report import DiscoveredObject, DiscoveredRepository

_LOG = logging.getLogger(__name__)


class Kept:
    """Facts and findings go into the state, directories stay on the host and are recorded there too."""

    def __init__(self, registry: Registry, inventory: Inventory) -> None:
        self._registry = registry
        self._inventory = inventory

    def prepare(self, environment: Environment, connection: Connection) -> HostDirectories:
        """Keep the facts; make the directories that are missing, and remember which."""
        self._registry.record_facts(environment.reference, HostFacts.of(connection.facts()))
        directories = prepare(connection, environment.directory, environment.host_type)
        if directories.made:
            self._registry.record_made(environment.reference, directories.made)
        return directories

    def record(
        self, environment: Environment, plugin: Plugin, found: Sequence[Found], job: str, started: datetime
    ) -> tuple[DiscoveredRepository, ...]:
        """Reconcile with what was known."""
        return self._inventory.record(environment, plugin.config.id, found, job, started)


class Forgotten:
    """Nothing is kept: temporary directories on the host, and everything found is ``new``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[tuple[Environment, Connection, HostDirectories]] = []

    def prepare(self, environment: Environment, connection: Connection) -> HostDirectories:
        """Make directories that :meth:`clean` will remove."""
        directories = prepare_temporary(connection, environment.host_type)
        with self._lock:
            self._made.append((environment, connection, directories))
        return directories

    def record(
        self,
        environment: Environment,  # noqa: ARG002  # nothing is kept, so nothing needs to be known
        plugin: Plugin,  # noqa: ARG002
        found: Sequence[Found],
        job: str,  # noqa: ARG002
        started: datetime,  # noqa: ARG002
    ) -> tuple[DiscoveredRepository, ...]:
        """What was found, after the same check of identities as ever."""
        check(found)
        return tuple(
            DiscoveredRepository(
                repository.name,
                repository.identity,
                repository.parameters,
                "new",
                source_configs=tuple(
                    DiscoveredObject(child.name, child.identity, child.parameters, "new")
                    for child in repository.children
                ),
            )
            for repository in found
        )

    def clean(self) -> list[str]:
        """Remove the directories again; a sentence for each host where that failed."""
        with self._lock:
            made, self._made = self._made, []
        complaints = []
        for environment, connection, directories in made:
            try:
                remove(connection, directories.made, environment.host_type)
            except RemoteError as error:
                _LOG.info("temporary directories on %s: %s", environment.name, error)
                complaints.append(f"{directories.root} is left on {environment.name}: {error.message}")
        return complaints


def forget_on_host(
    connections: Connections, environment: Environment, made: Sequence[str]
) -> RemovedEnvironment:
    """Remove from the host what the engine made there, if it can be reached."""
    below = "/toolkit" if environment.host_type is HostType.UNIX else "\\scratch"
    root = next((path.removesuffix(below) for path in made if path.endswith(below)), "")
    if not made:
        return RemovedEnvironment(environment, root, cleaned=True)
    try:
        connection = connections.connection(environment.reference, environment.primary_user.reference)
        remove(connection, made, environment.host_type)
    except RemoteError as error:
        return RemovedEnvironment(environment, root, cleaned=False, detail=str(error))
    return RemovedEnvironment(environment, root, cleaned=True)
