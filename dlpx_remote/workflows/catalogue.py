"""What the engine knows of plugins: the values that ``plugin check|add|list|show`` print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlpx_remote.plugins.problems import Problem


@dataclass(frozen=True)
class OperationState:
    """One operation of the table for the plugin's type, and whether the plugin implements it.

    Attributes:
        name: for example ``discovery.repository``.
        title: the heading in the specification.
        required: an engine operation fails without it.
        implemented: the plugin has it.
        when_missing: what an engine operation does without it, in words.
        file: where the function is, relative to the plugin; empty when missing.
        line: of the function; None when missing.
        migration_id: for upgrade operations.
    """

    name: str
    title: str
    required: bool
    implemented: bool
    when_missing: str
    file: str = ""
    line: int | None = None
    migration_id: str | None = None


@dataclass(frozen=True)
class PluginSummary:
    """A plugin that was added, or that was checked.

    Attributes:
        identifier: the UUID in its configuration.
        name: its name; unique among those added.
        plugin_type: ``DIRECT`` or ``STAGED``.
        host_types: ``UNIX``, ``WINDOWS`` or both.
        build_number: as its configuration has it.
        external_version: the author's own version; empty when there is none.
        manual_discovery: source configs may be added by hand.
        directory: where its files are (the engine's own copy once added).
        added: when this build was added, in UTC; None for one that was only checked.
    """

    identifier: str
    name: str
    plugin_type: str
    host_types: tuple[str, ...]
    build_number: str
    external_version: str
    manual_discovery: bool
    directory: Path
    added: datetime | None = None


@dataclass(frozen=True)
class PluginDetails:
    """A plugin with its operations.

    Attributes:
        summary: what the list shows.
        operations: every operation of its type in table order, implemented or not.
        warnings: what is not wrong enough to refuse it: missing required operations, old language names.
        changed: for ``add``: ``new``, ``upgraded`` or ``unchanged``; empty otherwise.
        migrated: for ``add``: how many stored objects were brought to this build.
    """

    summary: PluginSummary
    operations: tuple[OperationState, ...]
    warnings: tuple[Problem, ...] = ()
    changed: str = ""
    migrated: int = 0

    @property
    def missing(self) -> tuple[OperationState, ...]:
        """Required operations that the plugin does not implement."""
        return tuple(entry for entry in self.operations if entry.required and not entry.implemented)


@dataclass(frozen=True)
class PluginCheck:
    """Everything found wrong with a plugin's directory.

    Attributes:
        problems: errors and warnings, in the order of files and lines.
        details: what the plugin is; None when it is too broken to tell.
    """

    problems: tuple[Problem, ...]
    details: PluginDetails | None = None

    @property
    def valid(self) -> bool:
        """True when there is no error; warnings are allowed."""
        return all(problem.severity != "error" for problem in self.problems)
