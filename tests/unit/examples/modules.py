"""Modules of the example plugins, loaded on their own: those that talk to no host need no engine either."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def module(path: str) -> Iterator[ModuleType]:
    """One module by its path below the examples, for a fixture to yield from."""
    name = "example_" + path.replace("/", "_")
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[name] = loaded  # dataclasses look their module up
    specification.loader.exec_module(loaded)
    yield loaded
    del sys.modules[name]
