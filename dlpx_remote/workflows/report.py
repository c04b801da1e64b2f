"""What a discovery found: the values that the workflow returns and the command line prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Change = Literal["new", "changed", "unchanged", "gone", "returned", "manual"]


@dataclass(frozen=True)
class DiscoveredObject:
    """A repository or source config, after reconciling with what was known.

    Attributes:
        name: from the schema's name field.
        identity: the identity fields and their values.
        parameters: everything the plugin returned, by schema names.
        change: against what was known before; ``new`` in a stateless discovery.
        reference: ``REPOSITORY-<n>`` or ``SOURCE_CONFIG-<n>``; empty in a stateless discovery.
    """

    name: str
    identity: Mapping[str, Any]
    parameters: Mapping[str, Any]
    change: Change
    reference: str = ""


@dataclass(frozen=True)
class DiscoveredRepository(DiscoveredObject):
    """A repository with its source configs, in the plugin's order, then those that are gone."""

    source_configs: tuple[DiscoveredObject, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a part of a discovery failed, in the three parts a person is shown.

    Attributes:
        kind: the error's class name, for programs.
        message: what happened.
        action: what to do.
        output: what a script or plugin printed, a stack trace included; redacted.
    """

    kind: str
    message: str
    action: str = ""
    output: str = ""


@dataclass(frozen=True)
class PluginDiscovery:
    """One plugin on one environment.

    Attributes:
        plugin: its name.
        environment: the environment's name.
        repositories: what was found; empty when failed.
        failure: set when this part failed; what was known before is then left as it was.
        skipped: why the plugin was not run there (it is for another kind of host); empty when it was run.
        duration: seconds.
    """

    plugin: str
    environment: str
    repositories: tuple[DiscoveredRepository, ...] = ()
    failure: Failure | None = None
    skipped: str = ""
    duration: float = 0.0


@dataclass(frozen=True)
class DiscoveryReport:
    """A whole discovery, in the order in which environments and plugins were given.

    Attributes:
        job: identifies this run in the logs.
        results: one entry an environment and plugin.
        duration: seconds.
    """

    job: str
    results: tuple[PluginDiscovery, ...]
    duration: float = 0.0

    @property
    def failed(self) -> bool:
        """True when any part failed."""
        return any(result.failure for result in self.results)


@dataclass(frozen=True)
class DiscoveryEvent:
    """Progress: something began or ended on one environment.

    Attributes:
        environment: its name.
        plugin: its name, or empty while connecting.
        stage: ``connecting``, ``discovering``, ``finished``, ``failed`` or ``skipped``.
        detail: one line for people.
    """

    environment: str
    plugin: str
    stage: Literal["connecting", "discovering", "finished", "failed", "skipped"]
    detail: str = ""
