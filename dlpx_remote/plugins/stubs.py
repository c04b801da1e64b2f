"""Type stubs for ``generated.definitions``, so that editors complete a plugin's own definitions.

What the stubs say is read from the classes that the worker makes, so the two cannot differ. A stub says how a
definition is meant to be used: what the schema requires is a required parameter, although a class made empty
is accepted at run time.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.plugins.definitions import build_classes
from dlpx_remote.plugins.model import Model, Property
from dlpx_remote.plugins.plugin import Plugin

_HEADER = """\
# Made by dlpx-remote plugin stubs from schema.json: run it again when the schema has changed.
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, Self

class GeneratedClassesError(Exception): ...
class GeneratedClassesTypeError(GeneratedClassesError): ...
"""
_LITERALS = (str, bool, int, type(None))


class StubsNotWritten(RemoteError):
    """The stubs could not be written beside the plugin's code."""


def write_stubs(plugin: Plugin) -> tuple[Path, ...]:
    """Write ``generated/definitions.pyi`` into the plugin's source directory.

    A plugin is built and added without them.

    Args:
        plugin: a plugin that was loaded.

    Returns:
        The files written.

    Raises:
        StubsNotWritten: the directory cannot be written.
    """
    package = plugin.config.source_directory / "generated"
    files = {
        package / "__init__.pyi": "",
        package / "definitions.pyi": definitions_stub(plugin.schema.definitions),
    }
    try:
        package.mkdir(exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StubsNotWritten(
            f"The stubs of {plugin.config.name} could not be written to {package}: {error.strerror}.",
            "Check permissions and free space.",
        ) from error
    return tuple(files)


def definitions_stub(definitions: Mapping[str, dict[str, Any]]) -> str:
    """The text of ``generated/definitions.pyi``.

    Args:
        definitions: schemas by their names in ``schema.json``.
    """
    classes = build_classes(definitions).values()
    return _HEADER + "".join(f"\n{_class(one)}" for one in classes)


def _class(built: type[Model]) -> str:
    properties = tuple(built._properties.values())
    lines = [f"class {built.__name__}:"]
    lines += [f"    {name}: {_read(one)}" for one in properties for name in _names(one, built)]
    lines += [f"    def __init__({', '.join(['self', *_parameters(properties)])}) -> None: ..."]
    lines += [
        "    @classmethod",
        "    def from_dict(cls, dikt: Mapping[str, Any] | None) -> Self: ...",
        "    def to_dict(self) -> dict[str, Any]: ...",
    ]
    return "\n".join(lines) + "\n"


def _names(one: Property, built: type[Model]) -> Iterator[str]:
    """The attribute, and the schema's own name where that is one too."""
    yield one.name
    schema_name = one.schema_name
    if schema_name == one.name or not schema_name.isidentifier() or keyword.iskeyword(schema_name):
        return
    if schema_name not in built._properties and isinstance(built.__dict__.get(schema_name), property):
        yield schema_name


def _parameters(properties: tuple[Property, ...]) -> Iterator[str]:
    """In the schema's order; by keyword only from where a required one follows one that is not."""
    optional = False
    apart = _first_out_of_order(properties)
    for position, one in enumerate(properties):
        if position == apart:
            yield "*"
        optional = optional or not one.required
        yield f"{one.name}: {_type(one)}" if one.required else f"{one.name}: {_read(one)} = ..."
    yield "validate: bool = ..."


def _first_out_of_order(properties: tuple[Property, ...]) -> int | None:
    first = next((at for at, one in enumerate(properties) if not one.required), len(properties))
    return first if any(one.required for one in properties[first:]) else None


def _read(one: Property) -> str:
    """What an attribute gives: None too, unless the schema requires it."""
    kind = _type(one)
    if one.required or kind == "Any" or kind.endswith("None"):
        return kind
    return f"{kind} | None"


def _type(one: Property) -> str:
    if one.enum and all(isinstance(value, _LITERALS) for value in one.enum):
        return f"Literal[{', '.join(map(repr, one.enum))}]"
    if not one.types:
        return "Any"
    names = list(dict.fromkeys(_name(kind, one) for kind in one.types))
    if "float" in names and "int" in names:
        names.remove("int")  # an int is a float to a type checker
    return " | ".join([*names, *(["None"] if one.nullable else [])])


def _name(kind: type, one: Property) -> str:
    if kind is list:
        items = list(dict.fromkeys(item.__name__ for item in one.item_types)) or ["Any"]
        return f"list[{' | '.join(items)}]"
    if kind is dict:
        return "dict[str, Any]"
    return kind.__name__
