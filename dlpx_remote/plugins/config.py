"""Reading ``plugin_config.yml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlpx.virtualization.platform.operation_table import PluginType

CONFIG_FILE = "plugin_config.yml"


@dataclass(frozen=True)
class PluginConfig:
    """What ``plugin_config.yml`` says, with defaults filled in; paths are absolute."""

    id: str
    name: str
    plugin_type: PluginType
    host_types: tuple[str, ...]
    entry_point: str
    source_directory: Path
    schema_file: Path
    build_number: str
    language: str
    external_version: str = ""
    manual_discovery: bool = True
    root_squash_enabled: bool = True
    default_locale: str = "en-us"
    extended_start_stop_hooks: bool = False
    lua_name: str | None = None
    minimum_lua_version: str | None = None
