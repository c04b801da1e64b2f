"""The Python API for authors of plugins: what needs no engine's state. It opens rooms and delegates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlpx_remote.engine import EnvironmentSpec, Prompt, Trace, Warn, warn_through
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.plugins.package import Package, PackageUnusable
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.scaffold import NewPlugin, write_new_plugin
from dlpx_remote.plugins.stubs import StubsNotWritten
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.workflows.plugins import build, stubs
from dlpx_remote.workflows.recording import (
    Played,
    Recorded,
    Recording,
    RecordingMismatch,
    RecordingUnusable,
)
from dlpx_remote.workflows.trial import SeenCall, Trials, TriedOperation, trials, try_operation

__all__ = [
    "NewPlugin",
    "Package",
    "PackageUnusable",
    "RecordingMismatch",
    "RecordingUnusable",
    "SeenCall",
    "StubsNotWritten",
    "Trials",
    "TriedOperation",
    "build_plugin",
    "host_types",
    "played_operations",
    "plugin_operations",
    "recorded_operations",
    "try_plugin_operation",
    "write_new_plugin",
    "write_plugin_stubs",
]


def host_types(directory: Path) -> tuple[str, ...]:
    """The kinds of hosts that a plugin is for: ``UNIX`` or ``WINDOWS``.

    Raises:
        PluginInvalid: it has errors.
    """
    return load_plugin(directory).config.host_types


def build_plugin(directory: Path, target: Path | None = None) -> Package:
    """Check a plugin and make one file of it that :meth:`Engine.add_plugin` takes; needs no state.

    The same files give the same bytes, wherever and whenever.

    Args:
        directory: the plugin's.
        target: the file to write, or a directory for it; None is the current directory.

    Raises:
        PluginInvalid: it has errors; ``.problems`` lists all of them.
        PackageUnusable: the file cannot be written.
    """
    return build(directory, target)


def write_plugin_stubs(directory: Path) -> tuple[Path, ...]:
    """Write type stubs for the plugin's definitions beside its code; returns the files written.

    Raises:
        PluginInvalid: its configuration or schema has errors.
        StubsNotWritten: the directory cannot be written.
    """
    return stubs(directory)


def try_plugin_operation(
    directory: Path,
    operation: str,
    host: EnvironmentSpec,
    arguments: Mapping[str, Any],
    *,
    data_set: Path | None = None,
    prompt: Prompt | None = None,
    on_warning: Warn | None = None,
    trace: Trace | None = None,
) -> TriedOperation:
    """Run one operation of a plugin's directory on a host, with no database and nothing kept.

    Args:
        directory: the plugin's.
        operation: for example ``discovery.repository``.
        host: where connections lead.
        arguments: by the operation's names; what is left out is filled in where that can be done.
        data_set: directory that ``libs.run_sync`` copies into.
        prompt: how to ask for secrets whose reference is ``prompt``.
        on_warning: told of what is not an error.
        trace: told of every stage of connections and commands.

    Raises:
        InvalidRequest: there is no such operation, or an argument is wrong.
        PluginInvalid: the plugin has errors.
        RemoteError: the host cannot be reached. What goes wrong in the plugin is ``.failure`` of the result.
    """
    warn = warn_through(on_warning)
    return try_operation(
        directory,
        operation,
        host,
        arguments,
        Secrets(prompt, warn),
        on_warning=warn,
        data_set=data_set,
        trace=trace,
    )


@contextmanager
def plugin_operations(
    directory: Path, host: EnvironmentSpec, *, data_set: Path | None = None
) -> Iterator[Trials]:
    """Operations of a plugin's directory on a host, as many as wanted over one connection; nothing is kept.

    Args:
        directory: the plugin's.
        host: where connections lead.
        data_set: directory that ``libs.run_sync`` copies into.

    Raises:
        PluginInvalid: the plugin has errors.
        RemoteError: the host cannot be reached.
    """
    warn = warn_through(None)
    plugin = load_plugin(directory)
    with trials(plugin, host, Secrets(None, warn), on_warning=warn, data_set=data_set) as opened:
        yield opened


@contextmanager
def recorded_operations(
    directory: Path, host: EnvironmentSpec, file: Path, *, data_set: Path | None = None
) -> Iterator[Trials]:
    """As :func:`plugin_operations`; at the end the host's answers are in ``file``, with secrets masked."""
    warn = warn_through(None)
    recording = Recording({})
    with trials(
        load_plugin(directory),
        host,
        Secrets(None, warn),
        on_warning=warn,
        data_set=data_set,
        listen=lambda calls: Recorded(calls, recording),
    ) as opened:
        recording.connection = opened.connection
        yield opened
    recording.write(file)


@contextmanager
def played_operations(directory: Path, file: Path) -> Iterator[Trials]:
    """Operations of a plugin's directory against the answers in ``file``, without a host.

    Raises:
        PluginInvalid: the plugin has errors.
        RecordingUnusable: there is no recording, or a damaged one.
        RecordingMismatch: while an operation runs: it asks for something else than was recorded.
    """
    recording = Recording.read(file)
    played = Played(recording)
    with Workers() as workers:
        yield Trials(load_plugin(directory), workers, recording.connection, lambda: played)
