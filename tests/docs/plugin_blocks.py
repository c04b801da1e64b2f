"""Python blocks that show a plugin's operations: put into a plugin, they have to pass ``plugin check``."""

from __future__ import annotations

import atexit
import functools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from dlpx_remote.plugins.check import check_plugin
from dlpx_remote.plugins.worker import Workers

_CONFIG = """\
id: 4d0c5d5c-6a0f-4a53-9f15-4d4f5a3c9b11
name: Page
buildNumber: "1"
language: PYTHON311
hostTypes: [UNIX]
pluginType: {kind}
entryPoint: page:plugin
srcDir: src
schemaFile: schema.json
"""
_HEAD = """\
from dlpx.virtualization import libs
from dlpx.virtualization.common import *
from dlpx.virtualization.platform import *
from dlpx.virtualization.platform.exceptions import UserError
from generated.definitions import *

plugin = Plugin()
"""
_PROPERTIES: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
_SCHEMA = {
    "repositoryDefinition": {**_PROPERTIES, "identityFields": ["name"], "nameField": "name"},
    "sourceConfigDefinition": {**_PROPERTIES, "identityFields": ["name"], "nameField": "name"},
    "linkedSourceDefinition": _PROPERTIES,
    "virtualSourceDefinition": _PROPERTIES,
    "snapshotDefinition": _PROPERTIES,
}


def is_fragment(text: str) -> bool:
    """Whether a block shows operations of a plugin."""
    return "@plugin." in text


def fragment_problems(text: str) -> list[str]:
    """What ``plugin check`` says of a plugin with just these operations, besides those that are missing.

    Operations of direct and of staged plugins may not stand in one block.
    """
    code = text if re.search(r"^plugin = Plugin\(\)", text, re.MULTILINE) else _HEAD + text
    direct, staged = (_problems(code, kind) for kind in ("DIRECT", "STAGED"))
    return direct if len(direct) <= len(staged) else staged


def _problems(code: str, kind: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="dlpx-page-") as place:
        directory = Path(place)
        (directory / "src").mkdir()
        (directory / "plugin_config.yml").write_text(_CONFIG.format(kind=kind))
        (directory / "schema.json").write_text(json.dumps(_SCHEMA))
        (directory / "src" / "page.py").write_text(code)
        report = check_plugin(directory, _workers())
        return [str(each) for each in report.problems if "is missing" not in each.message]


@functools.cache
def _workers() -> Workers:
    workers = Workers()
    atexit.register(workers.close)
    return workers
