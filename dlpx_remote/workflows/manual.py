"""A source config that a person adds by hand, where a plugin's ``manualDiscovery`` allows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.workflows.discovery import SOURCE_CONFIG, found_object
from dlpx_remote.workflows.reconcile import Found


def manual_source_config(plugin: Plugin, parameters: Mapping[str, Any]) -> Found:
    """The source config, checked against the plugin's schema.

    Raises:
        InvalidRequest: the plugin does not allow it, the values break its schema, or hold a secret.
    """
    name = plugin.config.name
    if not plugin.config.manual_discovery:
        raise InvalidRequest(
            f"The plugin {name} does not allow source configs to be added by hand.",
            "Its plugin_config.yml has manualDiscovery: false; what discovery finds can be used.",
        )
    try:
        value = json.loads(json.dumps(dict(parameters), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"The source config is not plain JSON: {error}.", "Give objects, lists, texts and numbers."
        ) from None
    problems = plugin.schema.validate(SOURCE_CONFIG, value)
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InvalidRequest(
            f"The source config does not fit the schema of the plugin {name}:{listed}",
            "\nCorrect these values; the plugin's sourceConfigDefinition says what is expected.",
        )
    if plugin.schema.masked(SOURCE_CONFIG, value) != value:
        raise InvalidRequest(
            "The source config holds a secret, a property of the format password; the engine stores none.",
            "Leave that property out.",
        )
    return found_object(plugin, SOURCE_CONFIG, value)
