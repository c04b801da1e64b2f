"""A new plugin, written from templates: one that passes its check, runs at once, and has tests of its own."""

from __future__ import annotations

import json
import keyword
import re
import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from dlpx_remote.errors import AlreadyExists, InvalidRequest, RemoteError

_WINDOWS_NOTE = """
Without `--host`, the host is a stand-in whose scripts answer what `tests/windows_answers.json` says; a real
one is named with `plugin run --os windows --host USER@HOST`. dlpx-remote itself mounts nothing on Windows:
operations can be run and tested, and the plugin discovers, but what mounts a data set there is refused.
"""
_TAKEN = frozenset({"dlpx", "generated", "tests", *sys.stdlib_module_names})


class NotWritten(RemoteError):
    """A new plugin could not be written."""


@dataclass(frozen=True)
class NewPlugin:
    """What a new plugin is to be.

    Attributes:
        name: as people see it; the Python package is named after it.
        plugin_type: how it links its sources.
        host_type: where it runs.
    """

    name: str
    plugin_type: Literal["DIRECT", "STAGED"] = "DIRECT"
    host_type: Literal["UNIX", "WINDOWS"] = "UNIX"

    @property
    def package(self) -> str:
        """The name of its Python package: ``my_plugin`` for *My plugin*."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


def write_new_plugin(new: NewPlugin, directory: Path) -> tuple[Path, ...]:
    """Write a new plugin into ``directory``, whole or not at all.

    Args:
        new: what it is to be.
        directory: made by this; it may be there already when it is empty.

    Returns:
        The files, in order.

    Raises:
        InvalidRequest: the name makes no package.
        AlreadyExists: there is something in the directory.
        NotWritten: it cannot be written.
    """
    _check(new)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise AlreadyExists(f"There is something in {directory} already.", "Name another directory.")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            for name, text in _files(new).items():
                path = work / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            work.chmod(0o755)
            work.rename(directory)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        raise NotWritten(
            f"The plugin could not be written to {directory}: {error.strerror}.",
            "Name a directory in a place where you may write.",
        ) from error
    return tuple(sorted(path for path in directory.rglob("*") if path.is_file()))


def _check(new: NewPlugin) -> None:
    package = new.package
    if not new.name.isprintable() or not package.isidentifier() or keyword.iskeyword(package):
        raise InvalidRequest(
            f"No Python package can be named after {new.name!r}.",
            "Give the plugin a name that begins with an ASCII letter.",
        )
    if package in _TAKEN:
        raise InvalidRequest(
            f"A plugin's package cannot be called {package}: that name is taken.", "Give it another name."
        )


def _files(new: NewPlugin) -> dict[str, str]:
    kind = new.plugin_type.lower()
    if new.host_type == "WINDOWS":
        kind = "windows_staged" if new.plugin_type == "STAGED" else "windows"
    source = f"src/{new.package}"
    templates = {
        ".gitignore": "common/gitignore.txt",
        "README.md": "common/README.md.txt",
        "ci.sh": "common/ci.sh.txt",
        "mypy.ini": "common/mypy.ini.txt",
        "plugin_config.yml": "common/plugin_config.yml.txt",
        "pytest.ini": "common/pytest.ini.txt",
        "schema.json": f"{kind}/schema.json.txt",
        f"{source}/__init__.py": "common/init.py.txt",
        f"{source}/plugin.py": f"{kind}/plugin.py.txt",
        "tests/test_plugin.py": f"{kind}/test_plugin.py.txt",
    }
    if new.host_type == "WINDOWS":
        templates["tests/windows_answers.json"] = "windows/answers.json.txt"
    home = resources.files("dlpx_remote.plugins") / "templates"
    return {
        name: _filled(home.joinpath(template).read_text(encoding="utf-8"), new, name)
        for name, template in templates.items()
    }


def _filled(text: str, new: NewPlugin, file: str) -> str:
    quoted = json.dumps(new.name, ensure_ascii=False)
    name = new.name
    if file.endswith(".yml"):
        name = quoted  # a JSON string is a YAML string too
    elif file.endswith(".py"):
        name = quoted[1:-1]
    values = {
        "id": str(uuid.uuid4()),
        "name": name,
        "package": new.package,
        "host_type": new.host_type,
        "plugin_type": new.plugin_type,
        "host_note": _WINDOWS_NOTE if new.host_type == "WINDOWS" else "",
    }
    return re.sub(r"{{(\w+)}}", lambda match: values[match[1]], text)
