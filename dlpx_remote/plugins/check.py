"""Everything that is wrong with a plugin, at once: its configuration, its schema, its source, its import.

The files and the source's text are read here; the code runs only in a worker process, never in this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dlpx_remote.plugins.config import CONFIG_FILE
from dlpx_remote.plugins.plugin import Plugin, PluginReading, read_plugin
from dlpx_remote.plugins.problems import PluginInvalid, Problem, Problems
from dlpx_remote.plugins.source import Source, missing_operations, read_source
from dlpx_remote.plugins.worker import ImplementedOperation, Inspection, PluginError, Workers

_TRACE_LINE = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class PluginReport:
    """What a check found.

    Attributes:
        directory: the plugin's.
        plugin: the plugin; None when its configuration or schema has errors.
        problems: errors and warnings, each once, in the order of files and lines.
        operations: names of the operations that the plugin implements, migrations included.
        functions: the functions that implement them; empty when the code could not be imported.
        import_trace: the plugin's own stack trace when its entry point could not be imported.
    """

    directory: Path
    plugin: Plugin | None
    problems: tuple[Problem, ...]
    operations: tuple[str, ...] = ()
    functions: tuple[ImplementedOperation, ...] = ()
    import_trace: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the plugin from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What does not."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def sound_plugin(self) -> Plugin:
        """The plugin; raises PluginInvalid when there are errors."""
        if self.plugin is None or self.errors:
            raise PluginInvalid(str(self.directory), self.problems)
        return self.plugin


def check_plugin(directory: Path, workers: Workers | None = None) -> PluginReport:
    """Check the plugin in ``directory`` wholly.

    Args:
        directory: the plugin's directory, or the ``plugin_config.yml`` in it.
        workers: where its code is imported; None starts some for this check.

    Raises:
        WorkersUnavailable: no process for the plugin's code can be started on this machine.
    """
    reading = read_plugin(directory)
    source = _read_source(reading)
    from_source = [problem for problems in source.problems for problem in problems.in_order()]
    inspection = None
    if reading.plugin is not None:
        if workers is None:
            with Workers() as own:
                inspection = _inspect(reading.plugin, own)
        else:
            inspection = _inspect(reading.plugin, workers)
    operations = sorted(source.operations)
    if inspection is not None and not inspection.import_failed:
        operations = list(dict.fromkeys(one.name for one in inspection.operations))
    missing = Problems(source.entry_file or CONFIG_FILE)
    if reading.config.plugin_type is not None:
        missing_operations({*operations, *source.meant}, reading.config.plugin_type, missing)
    found = [*reading.problems, *from_source]
    if inspection is not None and reading.plugin is not None:
        found += _only_from_import(inspection, from_source, reading.plugin)
    return PluginReport(
        reading.directory,
        reading.plugin,
        tuple(dict.fromkeys([*found, *missing.found])),
        tuple(operations),
        inspection.operations if inspection else (),
        inspection.import_trace if inspection else "",
    )


def _read_source(reading: PluginReading) -> Source:
    config = reading.config
    if config.source_directory is None:
        return Source()
    return read_source(reading.directory, config.source_directory, config.entry_point, config.plugin_type)


def _inspect(plugin: Plugin, workers: Workers) -> Inspection:
    try:
        with workers.start(plugin, job="check") as worker:
            return worker.inspect()
    except PluginError as error:
        # The code was imported, and its process ended or hung over it: a fault of the plugin like any other.
        problem = Problem("error", CONFIG_FILE, None, "entryPoint", error.message, error.action)
        return Inspection((), (problem,), type(error).__name__, error.output)


def _only_from_import(
    inspection: Inspection, from_source: Iterable[Problem], plugin: Plugin
) -> list[Problem]:
    """Problems that importing the code found and reading its text did not."""
    known = [problem for problem in from_source if problem.severity == "error"]
    if inspection.import_failed and _stopped_at(inspection.import_trace, known, plugin.directory):
        return []
    lines = {(problem.file, problem.line) for problem in known}
    operations = {problem.place for problem in known}
    found = []
    for problem in inspection.problems:
        there = replace(problem, file=_within(problem.file, plugin))
        told = (there.file, there.line) in lines or (problem.place and problem.place in operations)
        if problem.severity == "error" and not told:
            found.append(there)
    return found


def _stopped_at(trace: str, known: Iterable[Problem], directory: Path) -> bool:
    """True when an import broke off at a place that is reported already."""
    stops = {(Path(file), int(line)) for file, line in _TRACE_LINE.findall(trace)}
    return any(
        (file, problem.line) in stops
        for problem in known
        for file in (directory / problem.file, Path(problem.file))
    )


def _within(file: str, plugin: Plugin) -> str:
    """``file``, as a worker names it, relative to the plugin's directory."""
    for path in (Path(file), plugin.config.source_directory / file, plugin.directory / file):
        if path.is_absolute() and path.exists() and path.is_relative_to(plugin.directory):
            return str(path.relative_to(plugin.directory))
    return file
