"""The Python API of the engine: what the command line and the tests call. It opens rooms and delegates."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import platformdirs

from dlpx_remote.engine_credentials import NamedCredentials
from dlpx_remote.engine_discovery import Discoveries, Site
from dlpx_remote.engine_events import Events
from dlpx_remote.engine_schedules import Schedules
from dlpx_remote.engine_sources import LifeCycle
from dlpx_remote.engine_storage import Storage
from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import (
    Authentication,
    Environment,
    EnvironmentSpec,
    EnvironmentUser,
    HostFacts,
    HostKeyPolicy,
    HostType,
    RemovedEnvironment,
    SecretReference,
    StepOutcome,
    TestStep,
    WindowsAccess,
)
from dlpx_remote.environments.registry import Registry, user_by_name
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.environments.testing import try_environment
from dlpx_remote.environments.validation import Address, parse_address, parse_secret_reference
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound, RemoteError
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import ACTIVE, JobState, Workflow
from dlpx_remote.logfile import EngineLog
from dlpx_remote.mounts.mending import Mending
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.problems import PluginInvalid, Problem
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.store import Store
from dlpx_remote.transports.base import (
    CommandEnded,
    CommandResult,
    HomeDirectoryMissing,
    InvalidCommand,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    ShellUnavailable,
)
from dlpx_remote.transports.ssh.figures import Figures, HostFigures, StageFigures
from dlpx_remote.transports.ssh.pool import IDLE
from dlpx_remote.transports.ssh.trace import Trace, TraceEvent
from dlpx_remote.workflows.bookkeeping import forget_on_host
from dlpx_remote.workflows.catalogue import OperationState, PluginCheck, PluginDetails, PluginSummary
from dlpx_remote.workflows.differences import mount_tables
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.manual import manual_source_config
from dlpx_remote.workflows.once import look_once
from dlpx_remote.workflows.plugins import Plugins, check
from dlpx_remote.workflows.report import (
    Change,
    DiscoveredObject,
    DiscoveredRepository,
    DiscoveryEvent,
    DiscoveryReport,
    Failure,
    PluginDiscovery,
)

_LOG = logging.getLogger(__name__)

__all__ = [
    "Address",
    "AlreadyExists",
    "Authentication",
    "Change",
    "CommandEnded",
    "CommandResult",
    "DiscoveredObject",
    "DiscoveredRepository",
    "DiscoveryEvent",
    "DiscoveryReport",
    "Engine",
    "Environment",
    "EnvironmentSpec",
    "EnvironmentUser",
    "Failure",
    "Figures",
    "HomeDirectoryMissing",
    "HostFacts",
    "HostFigures",
    "HostKeyPolicy",
    "HostType",
    "InvalidCommand",
    "InvalidRequest",
    "NotFound",
    "NotSent",
    "OperationState",
    "OutcomeUnknown",
    "OutputLost",
    "PluginCheck",
    "PluginDetails",
    "PluginDiscovery",
    "PluginInvalid",
    "PluginSummary",
    "Problem",
    "Prompt",
    "RemoteError",
    "RemovedEnvironment",
    "SecretReference",
    "ShellUnavailable",
    "StageFigures",
    "StepOutcome",
    "TestStep",
    "Trace",
    "TraceEvent",
    "Warn",
    "WindowsAccess",
    "check_plugin",
    "discover_once",
    "parse_address",
    "parse_secret_reference",
]

Prompt = Callable[[str], str]
"""Asks the person at the terminal for a secret; the argument is the question."""

Warn = Callable[[str], None]
"""Takes one sentence that a person ought to read although nothing failed."""


class Engine:
    """An open engine: its state, its connections and its plugin workers. Safe for use from several threads.

    ``jobs`` are its jobs: :class:`~dlpx_remote.jobs.jobs.Jobs`; ``engine_jobs`` has the rest. ``storage`` is
    its pool of data sets: :class:`~dlpx_remote.engine_storage.Storage`. ``dsources``, ``vdbs``, ``snapshots``
    and ``hooks`` are what ``engine_sources`` describes, ``mounts`` what ``engine_mounts`` does, and
    ``credentials`` and ``events`` what ``engine_credentials`` and ``engine_events`` do.

    Args:
        state: directory of the engine's state; None takes the user's data directory for ``dlpx-remote``
            (or ``DLPX_REMOTE_STATE``).
        database: SQLAlchemy URL; None means SQLite in ``state``.
        prompt: how to ask for secrets whose reference is ``prompt``; None refuses with a clear error.
        on_warning: told of what is not an error (a secret's file that others can read, host key checking
            switched off); None leaves it to the log.
        idle: seconds without use after which the connection to a host is closed; None keeps it open.
        trace: told of every stage of every connection, command and transfer (started, complete, failed), from
            the thread that works; :class:`Figures` is one that adds up.
        json_log: write the log as JSON, one object a line.
    """

    def __init__(
        self,
        state: Path | None = None,
        database: str | None = None,
        prompt: Prompt | None = None,
        *,
        on_warning: Warn | None = None,
        idle: float | None = IDLE,
        trace: Trace | None = None,
        json_log: bool = False,
    ) -> None:
        directory = (state or default_state()).expanduser().absolute()
        self._store = Store(directory, database)
        try:
            self._log = EngineLog(directory / "log", as_json=json_log)
        except RemoteError:
            self._store.close()
            raise
        self._warn = warn_through(on_warning)
        self._idle = idle
        self._registry = Registry(self._store)
        self._inventory = Inventory(self._store)
        self._workers = Workers()
        self._plugins = Plugins(self._store, directory / "plugins", self._workers)
        self.credentials = NamedCredentials(self._store, prompt, self._warn)
        self._secrets = self.credentials.secrets
        self.events = Events(self._store, self._secrets)
        self._trace = trace
        self._connections = self._new_connections()
        self._workflows: dict[str, Workflow] = {}
        self.storage = Storage(
            self._store,
            self._warn,
            lambda: mount_tables(self._registry.all(), self._connections.connection),
            self._mending,
            lambda: [job.reference for job in self.jobs.all((JobState.QUEUED, *ACTIVE))],
        )
        self.jobs = Jobs(self._store, self._workflows, warn=self._warn)
        self._life = LifeCycle(
            self._store,
            self.jobs,
            registry=self._registry,
            inventory=self._inventory,
            plugins=self._plugins,
            workers=self._workers,
            secrets=self._secrets,
            connections=self._connections,
            pool=self.storage.pool,
            kind_of=self.credentials.kind_of,
        )
        self._discoveries = Discoveries(
            self.jobs,
            Site(self._registry, self._plugins, self._inventory, self._workers, self._new_connections),
            self._connections,
        )
        self._workflows.update({**self._life.workflows, **self._discoveries.workflows})
        self.dsources, self.vdbs = self._life.dsources, self._life.vdbs
        self.snapshots, self.hooks = self._life.snapshots, self._life.hooks
        self.mounts = self._life.mounts
        self.schedules = Schedules(
            self._store, self._life.parts, dsources=self.dsources, vdbs=self.vdbs, snapshots=self.snapshots
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and worker. Idempotent. Jobs that still run go to the next process."""
        self.jobs.stop()  # before its commands fail for want of a connection
        self._life.close()
        self._connections.close()
        self._workers.close()
        self.jobs.close()
        self._store.close()
        self._log.close()

    # environments

    def add_environment(self, spec: EnvironmentSpec) -> Environment:
        """Record an environment; nothing is asked of the host yet.

        Raises:
            InvalidRequest: something in ``spec`` cannot be.
            AlreadyExists: an environment of that name is there.
        """
        self.credentials.check_environment(spec)
        return self._registry.add(spec)

    def environments(self) -> list[Environment]:
        """All of them, by name."""
        return self._registry.all()

    def environment(self, name: str) -> Environment:
        """By name or reference; NotFound names the nearest known one."""
        return self._registry.get(name)

    def remove_environment(self, name: str) -> RemovedEnvironment:
        """Forget it and what was discovered there; take away the engine's directory if the host answers."""
        environment = self._registry.get(name)
        self._life.refuse_if_used(environment)
        made = self._registry.made_on_host(environment.reference)
        removed = forget_on_host(self._connections, environment, made)
        self._registry.remove(environment.reference)
        self._connections.discard(environment.reference)
        return removed

    def add_user(
        self, environment: str, user: str, authentication: Authentication, primary: bool = False
    ) -> Environment:
        """Another user of an environment; ``primary`` makes it the one that operations run as."""
        self.credentials.check_login(authentication)
        changed = self._registry.add_user(environment, user, authentication, primary)
        self._connections.look_again()
        return changed

    def remove_user(self, environment: str, user: str) -> Environment:
        """Forget a user; the primary one is refused."""
        known = self._registry.get(environment)
        self._life.refuse_if_used(known, user_by_name(known, user))
        changed = self._registry.remove_user(environment, user)
        self._connections.discard(changed.reference)
        return changed

    def set_primary_user(self, environment: str, user: str) -> Environment:
        """Make a known user the one that operations run as."""
        changed = self._registry.set_primary(environment, user)
        self._connections.look_again()
        return changed

    def set_privilege(
        self, environment: str, privilege: str, password_from: SecretReference | None = None
    ) -> Environment:
        """Change how the users of an environment become root there.

        Args:
            environment: name or reference.
            privilege: ``sudo``, ``doas``, ``command:WORDS`` or ``none``.
            password_from: where the password is that sudo asks for; None where it asks for none.

        Raises:
            InvalidRequest: there is no such way, or it takes no password.
        """
        self.credentials.check_privilege(password_from)
        changed = self._registry.set_privilege(environment, privilege, password_from)
        self._connections.look_again()
        return changed

    def test_environment(
        self, name: str, user: str | None = None, on_step: Callable[[TestStep], None] | None = None
    ) -> list[TestStep]:
        """Try, step by step, what works; store the facts found."""
        environment = self._registry.get(name)
        with self._new_connections() as connections:
            trial = try_environment(connections, environment, user_by_name(environment, user), on_step)
        if trial.facts is not None:
            self._registry.record_facts(environment.reference, trial.facts)
        if trial.made:
            self._registry.record_made(environment.reference, trial.made)
        return list(trial.steps)

    def refresh_environment(
        self, name: str, *, on_event: Callable[[DiscoveryEvent], None] | None = None
    ) -> tuple[Environment, DiscoveryReport]:
        """Collect the facts again and discover with every plugin added."""
        report = self._discoveries.refresh(name, on_event)
        return self._registry.get(name), report

    def run(
        self,
        environment: str,
        script: str | bytes,
        *,
        user: str | None = None,
        variables: Mapping[str, str | bytes] | None = None,
        login_shell: bool = False,
        timeout: float | None = None,
    ) -> CommandResult:
        """``run_bash`` on an environment, or ``run_powershell`` on a Windows one, by hand."""
        found, connection = self._connections.connection_named(self._registry.find, environment, user)
        _LOG.debug("run on %s: %s", connection.address, script)
        return connection.run(
            script,
            variables=variables,
            login_shell=login_shell,
            interpreter="powershell" if found.host_type is HostType.WINDOWS else "bash",
            timeout=timeout,
        )

    def secret(self, reference: SecretReference, purpose: str) -> str:
        """A secret for a script, from where ``reference`` says; known to the redactor from then on.

        Args:
            reference: where it is.
            purpose: what it is for, for people: ``value of PGPASSWORD``.

        Raises:
            SecretUnavailable: there is none; says why and what to do.
        """
        return self._secrets.resolve(reference, purpose, "any")

    # plugins

    def add_plugin(self, path: Path) -> PluginDetails:
        """Check a plugin and keep a copy of it; the same build again changes nothing.

        Args:
            path: its directory, or the file that ``plugin build`` made of it.

        Raises:
            PackageUnusable: the file is no packaged plugin.
            PluginInvalid: it has errors; ``.problems`` lists all of them.
            InvalidRequest: a higher build is there already, or the same build with other content.
        """
        return self._plugins.add(path)

    def plugins(self) -> list[PluginSummary]:
        """All that were added, by name."""
        return self._plugins.all()

    def plugin(self, name: str) -> PluginDetails:
        """By name or identifier, with its operations; NotFound names the nearest known one."""
        return self._plugins.get(name)

    # discovery

    def discover(
        self,
        environments: Sequence[str] = (),
        plugins: Sequence[str] = (),
        *,
        parallel: int = 32,
        on_event: Callable[[DiscoveryEvent], None] | None = None,
    ) -> DiscoveryReport:
        """Discover on the environments named (all when none) with the plugins named (all when none).

        It is a job, which runs in the calling thread. ``on_event`` is called from one thread at a time. A
        host that fails is a ``failure`` in the report, not an exception.

        Raises:
            JobCancelled: somebody has cancelled the job.
            InvalidRequest: there is no environment or no plugin to discover with.
            NotFound: a name is not known.
        """
        return self._discoveries.discover(environments, plugins, parallel, on_event)

    def leave_discovery(
        self, environments: Sequence[str] = (), plugins: Sequence[str] = (), *, parallel: int = 32
    ) -> str:
        """Leave a discovery to a worker; its job. Arguments and errors as :meth:`discover`."""
        return self._discoveries.ask(environments, plugins, parallel)

    def discovered(self, environment: str, plugin: str | None = None) -> list[PluginDiscovery]:
        """What is known from earlier discoveries, without asking the host: one entry a plugin.

        ``change`` of each object is ``unchanged``, ``gone`` or ``manual``.
        """
        known = self._registry.get(environment)
        summaries = self._plugins.all() if plugin is None else [self._plugins.get_summary(plugin)]
        return [
            PluginDiscovery(summary.name, known.name, self._inventory.known(known, summary.identifier))
            for summary in summaries
        ]

    def add_source_config(
        self, environment: str, plugin: str, repository: str, parameters: Mapping[str, Any]
    ) -> DiscoveredObject:
        """A manual source config, where the plugin's ``manualDiscovery`` allows it.

        Args:
            environment: name or reference.
            plugin: name or identifier.
            repository: name or reference of a repository that a discovery has found.
            parameters: the source config by schema names.

        Raises:
            InvalidRequest: the plugin does not allow it, or the values break its schema.
            AlreadyExists: a source config with that identity is known.
        """
        known = self._registry.get(environment)
        loaded = load_plugin(self._plugins.get_summary(plugin).directory)
        found = manual_source_config(loaded, parameters)
        return self._inventory.add_manual(known, loaded.config.id, repository, found)

    def _mending(self) -> Mending:
        return self._life.rooms.mending()

    def _new_connections(self) -> Connections:
        return Connections(
            self._registry.lookup,
            self._secrets,
            known_hosts=self._store.directory / "known_hosts",
            on_warning=self._warn,
            trace=self._trace,
            idle=self._idle,
        )


def check_plugin(path: Path) -> PluginCheck:
    """Everything wrong with the plugin in the directory or package ``path``; needs no state."""
    return check(path)


def discover_once(
    plugins: Sequence[Path],
    hosts: Sequence[EnvironmentSpec],
    *,
    prompt: Prompt | None = None,
    on_warning: Warn | None = None,
    parallel: int = 32,
    on_event: Callable[[DiscoveryEvent], None] | None = None,
    trace: Trace | None = None,
) -> DiscoveryReport:
    """A quick look: plugins from directories against hosts, with no database and nothing kept."""
    return look_once(
        plugins,
        hosts,
        Secrets(prompt, warn_through(on_warning)),
        on_warning=warn_through(on_warning),
        parallel=parallel,
        on_event=on_event,
        trace=trace,
    )


def default_state() -> Path:
    """Where the state is when nobody says: ``DLPX_REMOTE_STATE``, else the user's data directory."""
    named = os.environ.get("DLPX_REMOTE_STATE")
    return Path(named) if named else Path(platformdirs.user_data_dir("dlpx-remote"))


def warn_through(on_warning: Warn | None) -> Warn:
    """What takes a warning: ``on_warning`` and the log, or the log alone."""
    if on_warning is None:
        return _LOG.warning

    def warn(sentence: str) -> None:
        _LOG.info("warning: %s", sentence)
        on_warning(sentence)

    return warn
