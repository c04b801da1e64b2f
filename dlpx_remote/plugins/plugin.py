"""A plugin on disk as one value: its configuration and its schema, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.plugins.config import CONFIG_FILE, PluginConfig
from dlpx_remote.plugins.schema import PluginSchema


@dataclass(frozen=True)
class Plugin:
    """A plugin whose files were read and found good; none of its code has run."""

    directory: Path
    config: PluginConfig
    schema: PluginSchema


def load_plugin(directory: Path) -> Plugin:
    """The plugin in ``directory``; raises PluginInvalid with everything that is wrong."""
    directory = directory.resolve()
    raw = yaml.safe_load((directory / CONFIG_FILE).read_text())
    config = PluginConfig(
        id=raw["id"],
        name=raw["name"],
        plugin_type=PluginType(raw["pluginType"]),
        host_types=tuple(raw["hostTypes"]),
        entry_point=raw["entryPoint"],
        source_directory=directory / raw["srcDir"],
        schema_file=directory / raw["schemaFile"],
        build_number=str(raw["buildNumber"]),
        language=raw["language"],
    )
    definitions = json.loads(config.schema_file.read_text())
    definitions.setdefault(
        "snapshotParametersDefinition", {"type": "object", "additionalProperties": False, "properties": {}}
    )
    return Plugin(directory, config, PluginSchema(definitions))
