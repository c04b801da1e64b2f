"""Plugins written on the spot, and a library handler that answers as a test wants."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from dlpx_remote.plugins.worker import LibraryCall, LibraryRefusal, LibraryReply

OBJECT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
    "identityFields": ["name"],
    "nameField": "name",
}
FREE: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}
DEFINITIONS: dict[str, Any] = {
    "repositoryDefinition": OBJECT,
    "sourceConfigDefinition": OBJECT,
    "linkedSourceDefinition": FREE,
    "virtualSourceDefinition": FREE,
    "snapshotDefinition": FREE,
    "snapshotParametersDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"resync": {"type": "boolean"}},
    },
}
HEAD = """\
from dlpx.virtualization import libs
from dlpx.virtualization.platform import *
from generated.definitions import *
plugin = Plugin()
"""
DISCOVERY = HEAD + "@plugin.discovery.repository()\ndef discover(source_connection):\n"

ENVIRONMENT = {
    "name": "north",
    "reference": "UNIX_HOST_ENVIRONMENT-1",
    "host": {"name": "north.example", "reference": "UNIX_HOST-1", "binary_path": "/b", "scratch_path": "/s"},
}
CONNECTION = {"environment": ENVIRONMENT, "user": {"name": "ann", "reference": "HOST_USER-1"}}


def make_plugin(
    directory: Path,
    code: str | Mapping[str, str],
    *,
    plugin_type: PluginType = PluginType.DIRECT,
    definitions: Mapping[str, Any] | None = None,
    name: str = "tried",
    entry_point: str = "main:plugin",
) -> Plugin:
    """A plugin in ``directory``; ``code`` is the entry point's module, or files by name."""
    files = {"main.py": code} if isinstance(code, str) else code
    for file, text in files.items():
        path = directory / "src" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "schema.json").write_text(json.dumps({**DEFINITIONS, **(definitions or {})}))
    (directory / "plugin_config.yml").write_text(
        textwrap.dedent(
            f"""\
            id: 3f1d7c0e-7b1c-4b57-9d60-0d3a7c1e5a11
            name: {name}
            pluginType: {plugin_type.value}
            hostTypes: [UNIX]
            entryPoint: "{entry_point}"
            srcDir: src
            schemaFile: schema.json
            buildNumber: "1.0"
            language: PYTHON311
            """
        )
    )
    return load_plugin(directory)


def discovering(directory: Path, body: str, **options: Any) -> Plugin:
    """A plugin whose repository discovery has ``body``."""
    return make_plugin(directory, DISCOVERY + textwrap.indent(textwrap.dedent(body), "    "), **options)


class Answers:
    """A library handler that notes each call and answers with a function."""

    def __init__(self, answer: Callable[[LibraryCall], LibraryReply] | None = None) -> None:
        self.calls: list[LibraryCall] = []
        self._answer = answer

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
        self.calls.append(call)
        if self._answer is None:
            raise LibraryRefusal("failed", "not_expected", "This test expects no library call.")
        return self._answer(call)


def output(exit_code: int = 0, stdout: bytes = b"", stderr: bytes = b"") -> LibraryReply:
    """The reply to a script."""
    return LibraryReply({"exit_code": exit_code}, (stdout, stderr))


def exists(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pids: list[int], seconds: float = 60.0) -> bool:
    """Wait until none of ``pids`` is running."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(exists(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def wait_for(path: Path, seconds: float = 60.0) -> None:
    """Wait until a plugin made a file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


def children() -> list[int]:
    """The direct children of this process."""
    found: list[int] = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found
