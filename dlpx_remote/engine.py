"""The Python API of the engine: what the command line and the tests call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dlpx_remote.environments.model import Authentication, Environment, EnvironmentSpec, TestStep
from dlpx_remote.transports.base import CommandResult
from dlpx_remote.workflows.report import DiscoveredObject, DiscoveryEvent, DiscoveryReport

Prompt = Callable[[str], str]
"""Asks the person at the terminal for a secret; the argument is the question."""


class Engine:
    """An open engine: its state, its connections and its plugin workers.

    Args:
        state: directory of the engine's state; None takes the user's data directory for ``dlpx-remote``
            (or ``DLPX_REMOTE_STATE``).
        database: SQLAlchemy URL; None means SQLite in ``state``.
        prompt: how to ask for secrets whose reference is ``prompt``; None refuses with a clear error.
    """

    def __init__(
        self, state: Path | None = None, database: str | None = None, prompt: Prompt | None = None
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
        raise NotImplementedError

    def environments(self) -> list[Environment]:
        raise NotImplementedError

    def environment(self, name: str) -> Environment:
        """By name or reference; NotFound names the nearest known one."""
        raise NotImplementedError

    def remove_environment(self, name: str) -> None:
        """Forget it and what was discovered on it; take away the engine's directory on the host if reachable."""
        raise NotImplementedError

    def add_user(
        self, environment: str, user: str, authentication: Authentication, primary: bool = False
    ) -> Environment:
        raise NotImplementedError

    def remove_user(self, environment: str, user: str) -> Environment:
        raise NotImplementedError

    def test_environment(
        self, name: str, user: str | None = None, on_step: Callable[[TestStep], None] | None = None
    ) -> list[TestStep]:
        """Try, step by step, what works; store the facts found."""
        raise NotImplementedError

    def refresh_environment(self, name: str) -> tuple[Environment, DiscoveryReport]:
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

    # plugins: check_plugin, add_plugin, plugins, plugin  (types from dlpx_remote.plugins)

    # discovery

    def discover(
        self,
        environments: Sequence[str] = (),
        plugins: Sequence[str] = (),
        *,
        parallel: int = 32,
        on_event: Callable[[DiscoveryEvent], None] | None = None,
    ) -> DiscoveryReport:
        """Discover on the environments named (all when none) with the plugins named (all when none)."""
        raise NotImplementedError

    def add_source_config(
        self, environment: str, plugin: str, repository: str, parameters: Mapping[str, Any]
    ) -> DiscoveredObject:
        """A manual source config, where the plugin's ``manualDiscovery`` allows it."""
        raise NotImplementedError


def discover_once(
    plugins: Sequence[Path],
    hosts: Sequence[EnvironmentSpec],
    *,
    prompt: Prompt | None = None,
    on_event: Callable[[DiscoveryEvent], None] | None = None,
) -> DiscoveryReport:
    """A quick look: plugins from directories against hosts, with no database and nothing kept."""
    raise NotImplementedError
