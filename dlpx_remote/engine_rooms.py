"""Opens the rooms that the workflows of the life cycle call, when the first of them is about to run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dlpx_remote.engine_mounts import Nfs
from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import HostDirectories, prepare
from dlpx_remote.environments.model import Environment, EnvironmentUser
from dlpx_remote.environments.registry import Registry
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import NotFound
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.mounts.base import Reach
from dlpx_remote.mounts.local import LocalExporter
from dlpx_remote.mounts.mending import Mending
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.mounts.service import Mounts
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.store import Ledger, Store
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.workflows.attaching import Attaching
from dlpx_remote.workflows.bookkeeping import Kept
from dlpx_remote.workflows.hook_records import HookRecords
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.rooms import Rooms, Volumes
from dlpx_remote.workflows.source_records import SourceRecords

_LOG = logging.getLogger(__name__)


class OpenRooms:
    """The rooms of one engine; call it for them. Safe for use from several threads.

    Args:
        store: the opened state.
        registry: environments.
        inventory: repositories and source configs.
        plugins: those that were added.
        records: dSources, VDBs and snapshots.
        hooks: hooks and templates.
        workers: the processes for plugin code.
        secrets: where secrets are found.
        connections: the way to hosts.
        pool: opens the pool.
        jobs: which of them still run.
    """

    def __init__(
        self,
        store: Store,
        *,
        registry: Registry,
        inventory: Inventory,
        plugins: Plugins,
        records: SourceRecords,
        hooks: HookRecords,
        workers: Workers,
        secrets: Secrets,
        connections: Connections,
        pool: Callable[[], Volumes],
        jobs: Jobs,
    ) -> None:
        self._pool = pool
        self._jobs = jobs
        self._store = store
        self._registry = registry
        self._inventory = inventory
        self._plugins = plugins
        self._records = records
        self._hooks = hooks
        self._workers = workers
        self._secrets = secrets
        self._connections = connections
        self._lock = threading.Lock()
        self._opened: Rooms | None = None
        self._mounts_lock = threading.Lock()
        self._mounts: Mounts | None = None
        self.nfs = Nfs(store)

    def __call__(self) -> Rooms:
        """The rooms.

        Raises:
            InvalidRequest: no storage has been prepared.
            BackendUnavailable: it is not there.
        """
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> Rooms:
        return Rooms(
            records=self._records,
            hooks=self._hooks,
            inventory=self._inventory,
            environment=self._registry.get,
            connections=self._connections,
            prepare=self._prepare,
            plugin=lambda identifier: load_plugin(self._plugins.get_summary(identifier).directory),
            workers=self._workers,
            pool=self._pool(),
            attaching=Attaching(self.mounts(), self._registry.get, self._connections.connection),
            resolve=self._secrets.supply,
        )

    def mounts(self) -> Mounts:
        """The room of mounts, in which what a dead engine had begun is finished or undone."""
        with self._mounts_lock:
            if self._mounts is None:
                mounts = self._new_mounts()
                for remark in mounts.recover(self._runs):
                    _LOG.warning("%s", remark)
                self._mounts = mounts
            return self._mounts

    def mending(self) -> Mending:
        """What repairs mounts on hosts; nothing is put in order for it."""
        return Mending(self._new_mounts(), self.nfs.choice().port)

    def _new_mounts(self) -> Mounts:
        state = self._store.directory
        return Mounts(
            Ledger(self._store),
            _Hosts(self._registry, self._connections, self.nfs),
            Presentations(state / "present"),
            LocalExporter(state / "exports"),
            self.nfs.exporter,
        )

    def _runs(self, job: str) -> bool:
        """Whether a job is at work, here or elsewhere, or is to be taken over."""
        try:
            return not self._jobs.get(job).state.ended
        except NotFound:
            return False

    def _prepare(self, environment: Environment, user: EnvironmentUser) -> HostDirectories:
        """Facts are of the primary user; the directories of another one are in that one's home."""
        connection = self._connections.connection_of(environment, user)
        if user.primary:
            return Kept(self._registry, self._inventory).prepare(environment, connection)
        directories = prepare(connection, environment.directory, environment.host_type)
        if directories.made:
            self._registry.record_made(environment.reference, directories.made)
        return directories


class _Hosts:
    """What the room of mounts must know of environments."""

    def __init__(self, registry: Registry, connections: Connections, nfs: Nfs) -> None:
        self._registry = registry
        self._connections = connections
        self._nfs = nfs

    def reach(self, environment_reference: str) -> Reach:
        """How the host and the NFS server reach each other."""
        return self._nfs.reach(self._registry.get(environment_reference))

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        """An open connection as that user."""
        return self._connections.connection(environment_reference, user_reference)

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        """How that user becomes root there."""
        return self._connections.privilege(environment_reference, user_reference)
