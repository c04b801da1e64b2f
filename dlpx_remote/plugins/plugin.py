"""A plugin on disk as one value: its configuration and its schema, checked. None of its code runs here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.plugins.config import CONFIG_FILE, PluginConfig, ReadConfig, read_config
from dlpx_remote.plugins.problems import PluginInvalid, Problem, Problems
from dlpx_remote.plugins.schema import PluginSchema, read_schema


@dataclass(frozen=True)
class Plugin:
    """A plugin whose files were read and found good.

    Attributes:
        directory: absolute, without symbolic links.
        config: what ``plugin_config.yml`` says.
        schema: what ``schema.json`` says.
    """

    directory: Path
    config: PluginConfig
    schema: PluginSchema


def load_plugin(directory: Path) -> Plugin:
    """The plugin in ``directory``.

    Raises:
        PluginInvalid: with everything that is wrong with its configuration and schema.
    """
    reading = read_plugin(directory)
    if reading.plugin is None:
        raise PluginInvalid(str(directory), reading.problems)
    return reading.plugin


@dataclass(frozen=True)
class PluginReading:
    """What reading a plugin's two files found.

    Attributes:
        directory: absolute.
        plugin: None when there are errors.
        config: what of the configuration is good.
        problems: errors and warnings of both files.
    """

    directory: Path
    plugin: Plugin | None
    config: ReadConfig
    problems: tuple[Problem, ...]


def read_plugin(directory: Path) -> PluginReading:
    """Read the plugin in ``directory``, or the one whose ``plugin_config.yml`` is named, without raising."""
    if directory.name == CONFIG_FILE:
        directory = directory.parent
    unusable = _directory_problem(directory)
    if unusable is not None:
        return PluginReading(directory, None, ReadConfig(), (unusable,))
    directory = directory.resolve()
    problems = Problems(CONFIG_FILE)
    config = read_config(directory, problems)
    found, plugin = problems.in_order(), None
    if config.schema_file is not None:
        problems = Problems(str(config.schema_file.relative_to(directory)))
        schema = read_schema(config.schema_file, problems)
        found += problems.in_order()
        if schema is not None and config.config is not None:
            plugin = Plugin(directory, config.config, schema)
    return PluginReading(directory, plugin, config, tuple(found))


def _directory_problem(directory: Path) -> Problem | None:
    try:
        if directory.is_dir():
            list(directory.iterdir())
            return None
        exists = directory.exists()
    except PermissionError:
        return Problem(
            "error",
            str(directory),
            None,
            "",
            "The directory cannot be read: permission denied.",
            "Give your account read access to it.",
        )
    if exists:
        message = "A plugin's directory was expected, but this is a file."
    else:
        message = "The directory does not exist."
    return Problem(
        "error", str(directory), None, "", message, f"Name the directory that holds {CONFIG_FILE}."
    )
