"""Environment discovery: connect, collect facts, prepare directories, then ask each plugin what is there.

For every environment and plugin: ``discovery.repository``, then ``discovery.source_config`` for each
repository, then reconciling with what was known. Every environment and plugin is a part of its own: one that
fails leaves what was known of it untouched and stops none of the others.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import HostDirectories
from dlpx_remote.environments.model import Environment, EnvironmentUser
from dlpx_remote.errors import RemoteError
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.redaction import redact
from dlpx_remote.transports.base import Connection
from dlpx_remote.workflows.reconcile import Found
from dlpx_remote.workflows.report import (
    DiscoveredRepository,
    DiscoveryEvent,
    DiscoveryReport,
    Failure,
    PluginDiscovery,
)

_LOG = logging.getLogger(__name__)

OnEvent = Callable[[DiscoveryEvent], None]
Stage = Literal["connecting", "discovering", "finished", "failed", "skipped"]

REACHING = 4

REPOSITORY = "repositoryDefinition"
SOURCE_CONFIG = "sourceConfigDefinition"


@dataclass(frozen=True)
class Candidate:
    """A plugin to discover with, or why it cannot be used."""

    name: str
    plugin: Plugin | None
    error: RemoteError | None = None


class PluginSession(Protocol):
    """Runs operations of one plugin in one worker; closing it ends the worker."""

    def run(self, operation_name: str, /, **arguments: Any) -> Any:
        """The checked result, as plain JSON."""
        ...


OpenSession = Callable[[Plugin, str], AbstractContextManager[PluginSession]]
"""Starts a worker for a plugin and a job."""


class Bookkeeping(Protocol):
    """What a discovery leaves behind: rows in the state, or nothing at all."""

    def prepare(self, environment: Environment, connection: Connection) -> HostDirectories:
        """Keep the facts of the host and see that the engine's directories are there."""
        ...

    def record(
        self, environment: Environment, plugin: Plugin, found: Sequence[Found], job: str, started: datetime
    ) -> tuple[DiscoveredRepository, ...]:
        """Reconcile what was found with what was known."""
        ...


class Discovery:
    """One run over many environments and plugins.

    Args:
        connections: the way to the hosts.
        open_session: how to run a plugin's operations.
        bookkeeping: what is kept.
        parallel: how many environments and plugins are worked on at once; ``REACHING`` times as many hosts
            may be in the state of being connected to.
        on_event: told of progress, from one thread at a time.
        job: identifies this run in logs and records; None makes a name.
    """

    def __init__(
        self,
        connections: Connections,
        open_session: OpenSession,
        bookkeeping: Bookkeeping,
        *,
        parallel: int = 32,
        on_event: OnEvent | None = None,
        job: str | None = None,
    ) -> None:
        self._connections = connections
        self._open_session = open_session
        self._bookkeeping = bookkeeping
        self._parallel = max(1, parallel)
        self._on_event = on_event
        self._event_lock = threading.Lock()
        self._stopped = threading.Event()
        self.job = job or new_job("discover")

    def run(self, environments: Sequence[Environment], plugins: Sequence[Candidate]) -> DiscoveryReport:
        """Discover everywhere; the report is in the order given.

        Raises:
            KeyboardInterrupt: nothing new is started; what runs ends when the caller closes the connections
                and workers.
        """
        began = time.monotonic()
        _LOG.info("job %s: %d environments, %d plugins", self.job, len(environments), len(plugins))
        self._connections.ask_beforehand(
            environment for environment in environments if any(_fits(environment, one) for one in plugins)
        )
        pool = ThreadPoolExecutor(self._parallel, thread_name_prefix=self.job)
        # Reaching a host is mostly waiting: a silent one must not begin to be so when all others are done. So
        # none begins before all can, for a thread is slow to start while others are busy.
        reaching = ThreadPoolExecutor(self._parallel * REACHING, thread_name_prefix=f"{self.job}-reach")
        ready = threading.Event()
        try:
            started = [
                reaching.submit(self._start, ready, pool, environment, plugins)
                for environment in environments
            ]
            ready.set()
            results = [part.result() for parts in started for part in parts.result()]
        except BaseException:
            self._stopped.set()
            ready.set()
            for each in (reaching, pool):
                each.shutdown(wait=False, cancel_futures=True)
            raise
        reaching.shutdown()
        pool.shutdown()
        report = DiscoveryReport(self.job, tuple(results), time.monotonic() - began)
        _LOG.info("job %s: ended, %s", self.job, "with failures" if report.failed else "all well")
        return report

    def stop(self) -> None:
        """Begin nothing new: what has not begun fails, and :meth:`run` ends with what runs."""
        self._stopped.set()

    def prepare(self, environment: Environment) -> HostDirectories:
        """Connect, collect the facts of the host, prepare the engine's directories there."""
        connection = self._connections.connection_of(environment, environment.primary_user)
        return self._bookkeeping.prepare(environment, connection)

    def _start(
        self,
        ready: threading.Event,
        pool: ThreadPoolExecutor,
        environment: Environment,
        plugins: Sequence[Candidate],
    ) -> list[Future[PluginDiscovery]]:
        """Prepare one environment, then have each plugin discover on it."""
        ready.wait()
        directories: HostDirectories | Failure | None = None
        if any(_fits(environment, candidate) for candidate in plugins):
            self._emit(environment, "", "connecting", f"{environment.primary_user.name}@{environment.host}")
            try:
                directories = self.prepare(environment)
            except Exception as error:
                directories = failure_of(error)
                self._emit(environment, "", "failed", directories.message)
        return [
            pool.submit(self._part, environment, candidate, directories)
            if _fits(environment, candidate)
            else pool.submit(self._skip, environment, candidate)
            for candidate in plugins
        ]

    def _skip(self, environment: Environment, candidate: Candidate) -> PluginDiscovery:
        hosts = " and ".join(candidate.plugin.config.host_types) if candidate.plugin else ""
        reason = f"it is for {hosts} hosts, and this is a {environment.host_type.value} host"
        self._emit(environment, candidate.name, "skipped", reason)
        return PluginDiscovery(candidate.name, environment.name, skipped=reason)

    def _part(
        self, environment: Environment, candidate: Candidate, directories: HostDirectories | Failure | None
    ) -> PluginDiscovery:
        """One plugin on one environment; whatever goes wrong becomes a failure of this part only."""
        began = time.monotonic()
        repositories: tuple[DiscoveredRepository, ...] = ()
        failure: Failure | None = None
        if isinstance(directories, Failure):
            failure = directories
        else:
            self._emit(environment, candidate.name, "discovering")
            try:
                repositories = self._discover(environment, candidate, directories)
                self._emit(environment, candidate.name, "finished", _summary(repositories))
            except Exception as error:
                failure = failure_of(error)
                self._emit(environment, candidate.name, "failed", failure.message)
        return PluginDiscovery(
            candidate.name,
            environment.name,
            repositories,
            failure,
            duration=time.monotonic() - began,
        )

    def _discover(
        self, environment: Environment, candidate: Candidate, directories: HostDirectories | None
    ) -> tuple[DiscoveredRepository, ...]:
        if candidate.plugin is None or directories is None:
            raise candidate.error or Stopped("The plugin cannot be used.")
        if self._stopped.is_set():
            raise Stopped("The discovery was stopped.")
        plugin, started = candidate.plugin, datetime.now(UTC)
        connection = wire_connection(environment, directories)
        with self._open_session(plugin, self.job) as session:
            found = []
            for repository in session.run("discovery.repository", source_connection=connection):
                configs = session.run(
                    "discovery.source_config", source_connection=connection, repository=repository
                )
                children = tuple(found_object(plugin, SOURCE_CONFIG, config) for config in configs)
                found.append(found_object(plugin, REPOSITORY, repository, children))
        return self._bookkeeping.record(environment, plugin, found, self.job, started)

    def _emit(self, environment: Environment, plugin: str, stage: Stage, detail: str = "") -> None:
        where = f"{environment.name}/{plugin}" if plugin else environment.name
        _LOG.info("job %s: %s: %s %s", self.job, where, stage, detail)
        if self._on_event is not None and not self._stopped.is_set():
            with self._event_lock:
                self._on_event(DiscoveryEvent(environment.name, plugin, stage, redact(detail)))


class Stopped(RemoteError):
    """The discovery was ended before this part of it could begin."""


def new_job(kind: str) -> str:
    """A name for one run in logs and records, in the order of time: ``discover-20260301T120000-3fa9c1``."""
    return f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def wire_connection(
    environment: Environment, directories: HostDirectories, user: EnvironmentUser | None = None
) -> dict[str, Any]:
    """The connection of a user (the primary one for None), as a plugin operation is handed it.

    It holds names and references only.
    """
    user = user or environment.primary_user
    return {
        "environment": {
            "name": environment.name,
            "reference": environment.reference,
            "host": {
                "name": environment.host,
                "reference": environment.host_reference,
                "binary_path": directories.toolkit,
                "scratch_path": directories.scratch,
            },
        },
        "user": {"name": user.name, "reference": user.reference},
    }


def found_object(
    plugin: Plugin, definition: str, value: Mapping[str, Any], children: tuple[Found, ...] = ()
) -> Found:
    """A value of the plugin's, with the name and identity that its schema gives it.

    What the schema marks as secret (``format: password``) is masked: it is neither shown nor stored.
    """
    shown: dict[str, Any] = plugin.schema.masked(definition, dict(value))
    if shown != value:
        _LOG.warning(
            "The plugin %s returned a secret in a %s; it is not kept.", plugin.config.name, definition
        )
    return Found(
        plugin.schema.name(definition, shown), plugin.schema.identity(definition, shown), shown, children
    )


def failure_of(error: Exception) -> Failure:
    """An error in the parts that a person is shown; a fault of the engine itself says that it is one."""
    if isinstance(error, RemoteError):
        return Failure(
            type(error).__name__, redact(error.message), redact(error.action), redact(error.output)
        )
    _LOG.error("unexpected error", exc_info=error)
    kind = type(error).__name__
    return Failure(
        kind,
        f"Something unexpected went wrong in dlpx-remote itself: {redact(str(error)) or kind}.",
        "Please report it with what is shown below.",
        redact("".join(traceback.format_exception(error))),
    )


def _fits(environment: Environment, candidate: Candidate) -> bool:
    return candidate.plugin is None or environment.host_type.value in candidate.plugin.config.host_types


def _summary(repositories: Sequence[DiscoveredRepository]) -> str:
    present = [repository for repository in repositories if repository.change != "gone"]
    configs = sum(config.change != "gone" for one in present for config in one.source_configs)
    repositories_found = count(len(present), "repository", "repositories")
    return f"{repositories_found}, {count(configs, 'source config', 'source configs')}"


def count(number: int, one: str, many: str) -> str:
    """``1 repository``, ``2 repositories``."""
    return f"{number} {one if number == 1 else many}"
