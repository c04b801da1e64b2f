"""The Python API of the engine: what the command line and the tests call. It opens rooms and delegates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

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
)
from dlpx_remote.environments.validation import Address, parse_address, parse_secret_reference
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound, RemoteError
from dlpx_remote.transports.base import CommandResult
from dlpx_remote.workflows.catalogue import OperationState, PluginCheck, PluginDetails, PluginSummary
from dlpx_remote.workflows.report import (
    Change,
    DiscoveredObject,
    DiscoveredRepository,
    DiscoveryEvent,
    DiscoveryReport,
    Failure,
    PluginDiscovery,
)

if TYPE_CHECKING:
    from dlpx_remote.plugins.problems import Problem

__all__ = [
    "Address",
    "AlreadyExists",
    "Authentication",
    "Change",
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
    "HostFacts",
    "HostKeyPolicy",
    "HostType",
    "InvalidRequest",
    "NotFound",
    "OperationState",
    "PluginCheck",
    "PluginDetails",
    "PluginDiscovery",
    "PluginSummary",
    "Problem",
    "Prompt",
    "RemoteError",
    "RemovedEnvironment",
    "SecretReference",
    "StepOutcome",
    "TestStep",
    "Warn",
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

    Args:
        state: directory of the engine's state; None takes the user's data directory for ``dlpx-remote``
            (or ``DLPX_REMOTE_STATE``).
        database: SQLAlchemy URL; None means SQLite in ``state``.
        prompt: how to ask for secrets whose reference is ``prompt``; None refuses with a clear error.
        on_warning: told of what is not an error (a secret's file that others can read, host key checking
            switched off); None leaves it to the log.
    """

    def __init__(
        self,
        state: Path | None = None,
        database: str | None = None,
        prompt: Prompt | None = None,
        *,
        on_warning: Warn | None = None,
    ) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and worker. Idempotent."""
        raise NotImplementedError

    # environments

    def add_environment(self, spec: EnvironmentSpec) -> Environment:
        """Record an environment; nothing is asked of the host yet.

        Raises:
            InvalidRequest: something in ``spec`` cannot be.
            AlreadyExists: an environment of that name is there.
        """
        raise NotImplementedError

    def environments(self) -> list[Environment]:
        """All of them, by name."""
        raise NotImplementedError

    def environment(self, name: str) -> Environment:
        """By name or reference; NotFound names the nearest known one."""
        raise NotImplementedError

    def remove_environment(self, name: str) -> RemovedEnvironment:
        """Forget it and what was discovered there; take away the engine's directory if the host answers."""
        raise NotImplementedError

    def add_user(
        self, environment: str, user: str, authentication: Authentication, primary: bool = False
    ) -> Environment:
        """Another user of an environment; ``primary`` makes it the one that operations run as."""
        raise NotImplementedError

    def remove_user(self, environment: str, user: str) -> Environment:
        """Forget a user; the primary one is refused."""
        raise NotImplementedError

    def set_primary_user(self, environment: str, user: str) -> Environment:
        """Make a known user the one that operations run as."""
        raise NotImplementedError

    def test_environment(
        self, name: str, user: str | None = None, on_step: Callable[[TestStep], None] | None = None
    ) -> list[TestStep]:
        """Try, step by step, what works; store the facts found."""
        raise NotImplementedError

    def refresh_environment(
        self, name: str, *, on_event: Callable[[DiscoveryEvent], None] | None = None
    ) -> tuple[Environment, DiscoveryReport]:
        """Collect the facts again and discover with every plugin added."""
        raise NotImplementedError

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
        """``run_bash`` on an environment, by hand."""
        raise NotImplementedError

    # plugins

    def add_plugin(self, directory: Path) -> PluginDetails:
        """Check a plugin and keep a copy of it; the same build again changes nothing.

        Raises:
            PluginInvalid: it has errors; ``.problems`` lists all of them.
            InvalidRequest: a higher build is there already, or the same build with other content.
        """
        raise NotImplementedError

    def plugins(self) -> list[PluginSummary]:
        """All that were added, by name."""
        raise NotImplementedError

    def plugin(self, name: str) -> PluginDetails:
        """By name or identifier, with its operations; NotFound names the nearest known one."""
        raise NotImplementedError

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

        ``on_event`` is called from one thread at a time. A host that fails is a ``failure`` in the report,
        not an exception.

        Raises:
            InvalidRequest: there is no environment or no plugin to discover with.
            NotFound: a name is not known.
        """
        raise NotImplementedError

    def discovered(self, environment: str, plugin: str | None = None) -> list[PluginDiscovery]:
        """What is known from earlier discoveries, without asking the host: one entry a plugin.

        ``change`` of each object is ``unchanged``, ``gone`` or ``manual``.
        """
        raise NotImplementedError

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
        raise NotImplementedError


def check_plugin(directory: Path) -> PluginCheck:
    """Everything wrong with the plugin in ``directory``; needs no state."""
    raise NotImplementedError


def discover_once(
    plugins: Sequence[Path],
    hosts: Sequence[EnvironmentSpec],
    *,
    prompt: Prompt | None = None,
    on_warning: Warn | None = None,
    parallel: int = 32,
    on_event: Callable[[DiscoveryEvent], None] | None = None,
) -> DiscoveryReport:
    """A quick look: plugins from directories against hosts, with no database and nothing kept."""
    raise NotImplementedError
