"""The classes that a plugin imports from ``generated.definitions``, made from its schema when it is loaded.

There is no build step: the worker process calls :func:`install_generated` before it imports any plugin code.
This code runs inside that process: standard library only, and no knowledge of the engine. How names are made
follows the generator that plugins in the field were written with, so that every attribute keeps its name.
"""

from __future__ import annotations

import inspect
import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from types import ModuleType
from typing import Any

from dlpx_remote.plugins import model
from dlpx_remote.plugins.model import GeneratedClassesError, GeneratedClassesTypeError, Model, Property
from dlpx_remote.plugins.sensitive import EVERYTHING, secret_names
from dlpx_remote.plugins.suppliers import PLATFORM

_RESERVED = frozenset(
    {name.lower() for name in keyword.kwlist}
    | {"print", "exec", "self", "property", "float", "int", "str", "date", "datetime", "validate"}
    | {"to_dict", "from_dict", "to_str", "swagger_types", "attribute_map"}
)
_DEEPEST = 32
_MERGED_APART = frozenset({"properties", "required", "allOf", "source"})
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float, int),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def attribute_name(schema_name: str) -> str:
    """The Python attribute for a property: snake_case, with ``_`` before keywords and digits.

    Applying it to its own result changes nothing.
    """
    name = re.sub(r"[\[\](). -]", "_", schema_name.replace("[]", ""))
    name = re.sub(r"[^A-Za-z0-9_]", "", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name)
    name = name.lower().lstrip("_")
    return f"_{name}" if not name or name in _RESERVED or name[0].isdigit() else name


def class_name(schema_name: str) -> str:
    """The class for a definition: ``repositoryDefinition`` becomes ``RepositoryDefinition``."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", schema_name) if word]
    return "".join(word[0].upper() + word[1:] for word in words) or "_"


def colliding_properties(properties: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of properties that would become one attribute: the later, and the one it collides with."""
    seen: dict[str, str] = {}
    pairs = []
    for name in properties:
        attribute = attribute_name(name)
        if attribute in seen:
            pairs.append((name, seen[attribute]))
        seen.setdefault(attribute, name)
    return pairs


def install_generated(definitions: Mapping[str, dict[str, Any]]) -> None:
    """Put the package ``generated`` with the classes for ``definitions`` into ``sys.modules``.

    It takes the place of any package of that name, one lying in the plugin's directory included.

    Args:
        definitions: schemas by their names in ``schema.json``.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "generated"]:
        del sys.modules[name]
    package = _module("generated", is_package=True)
    module = _module("generated.definitions", is_package=True)
    base = _module("generated.definitions.base_model_")
    util = _module("generated.util")
    package.__dict__.update(definitions=module, defintions=module, util=util)
    module.__dict__["base_model_"] = base
    for one in (Model, GeneratedClassesError, GeneratedClassesTypeError, model.UnknownAttributeError):
        base.__dict__[one.__name__] = one
    base.__dict__["util"] = util
    module.__dict__.update(
        GeneratedClassesError=GeneratedClassesError, GeneratedClassesTypeError=GeneratedClassesTypeError
    )
    util.__dict__.update(deserialize_model=_deserialize_model)
    for name, built in build_classes(definitions).items():
        file_name = attribute_name(name)
        home = _module(f"generated.definitions.{file_name}")
        home.__dict__[name] = built
        module.__dict__.update({name: built, file_name: home})
    # The specification's own examples misspell the package.
    right = "generated.definitions"
    for name in [name for name in sys.modules if name == right or name.startswith(f"{right}.")]:
        sys.modules[name.replace(right, "generated.defintions")] = sys.modules[name]


def build_classes(definitions: Mapping[str, dict[str, Any]]) -> dict[str, type[Model]]:
    """The classes for ``definitions`` and for the objects nested in them, by name, in the schema's order."""
    builder = _Builder(definitions)
    for schema_name in definitions:
        builder.build(class_name(schema_name), definitions[schema_name], definitions[schema_name])
    return builder.classes


def _module(name: str, is_package: bool = False) -> ModuleType:
    module = ModuleType(name, "Made from the plugin's schema.json when the plugin was loaded.")
    if is_package:
        # An empty path keeps a stale package on disk from adding modules to ours.
        module.__path__ = []
    sys.modules[name] = module
    return module


def _deserialize_model(data: Mapping[str, Any], klass: type[Model]) -> Model:
    return klass.from_dict(data)


class _Builder:
    """Makes the class of each definition and of each object nested in it."""

    def __init__(self, definitions: Mapping[str, dict[str, Any]]) -> None:
        self._definitions = definitions
        self._in_progress: set[int] = set()
        self.classes: dict[str, type[Model]] = {}

    def build(self, name: str, schema: Any, root: Any) -> type[Model]:
        """The class ``name`` for an object ``schema`` that lies in the definition ``root``."""
        merged = self._merge(schema, root)
        secrets = secret_names(merged["source"], partial(resolve_reference, root, self._definitions))
        self._in_progress.add(id(schema))
        properties: dict[str, Property] = {}
        for schema_name, one in merged["properties"].items():
            secret = EVERYTHING in secrets or schema_name in secrets
            made = self._property(name, schema_name, one, root)
            made = replace(made, required=schema_name in merged["required"], secret=secret)
            properties.setdefault(made.name, made)
        self._in_progress.discard(id(schema))
        takes_more = merged.get("additionalProperties") is not False
        built = _class(name, properties, takes_more, secrets)
        self.classes[name] = built
        return built

    def _property(self, owner: str, schema_name: str, schema: Any, root: Any) -> Property:
        merged = self._merge(schema, root)
        names = merged.get("type", ())
        names = (names,) if isinstance(names, str) else tuple(names)
        types = tuple(dict.fromkeys(kind for name in names for kind in _PYTHON_TYPES.get(name, ())))
        nested = None
        if merged["properties"] and names in ((), ("object",), ("object", "null"), ("null", "object")):
            nested = self._nested(owner, schema_name, merged["source"], root)
            types = (nested,) if nested else (dict,)
        if "string" in names and merged.get("format") in ("date", "date-time"):
            types = (*types, date)
        enum = merged.get("enum", [merged["const"]] if "const" in merged else None)
        return Property(
            name=attribute_name(schema_name),
            schema_name=schema_name,
            nullable="null" in names,
            types=types,
            model=nested,
            item_types=self._item_types(merged, root),
            enum=None if enum is None else tuple(enum),
            limits=model.limits_of(merged),
        )

    def _nested(self, owner: str, schema_name: str, schema: Any, root: Any) -> type[Model] | None:
        if id(schema) in self._in_progress:
            return None  # A schema that contains itself: the inner values stay dicts.
        name = owner + class_name(schema_name)
        while name in self.classes:
            name += "_"
        return self.build(name, schema, root)

    def _item_types(self, merged: dict[str, Any], root: Any) -> tuple[type, ...]:
        items = merged.get("items") if merged.get("type") == "array" else None
        if merged.get("type") == "object" and not merged["properties"]:
            items = merged.get("additionalProperties")
        if not isinstance(items, dict):
            return ()
        kind = self._merge(items, root).get("type")
        return _PYTHON_TYPES.get(kind, ()) if isinstance(kind, str) else ()

    def _merge(self, schema: Any, root: Any) -> dict[str, Any]:
        return merge(schema, root, self._definitions)


def merge(schema: Any, root: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` with its reference and its ``allOf`` taken into one.

    Args:
        schema: the schema of an object or of a property.
        root: the definition that it lies in; ``#`` in a reference stands for it, or else for the whole file.
        definitions: all definitions of the file.

    Returns:
        The keywords together, always with ``properties`` and ``required``; ``source`` is the schema that a
        reference led to.
    """
    merged: dict[str, Any] = {"properties": {}, "required": [], "source": schema}
    _merge_into(merged, schema, root, definitions, depth=0)
    return merged


def _merge_into(
    merged: dict[str, Any], schema: Any, root: Any, definitions: Mapping[str, Any], depth: int
) -> None:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        # A reference replaces everything beside it, as Draft 7 says.
        if reference.startswith(PLATFORM):
            # To a plugin a credentials supplier is an opaque dict.
            merged["type"] = "object"
            return
        target = resolve_reference(root, definitions, reference)
        if merged["source"] is schema:
            merged["source"] = target
        _merge_into(merged, target, root, definitions, depth + 1)
        return
    for part in schema.get("allOf", ()):
        _merge_into(merged, part, root, definitions, depth + 1)
    merged["properties"] |= schema.get("properties", {})
    merged["required"] += schema.get("required", [])
    merged |= {key: value for key, value in schema.items() if key not in _MERGED_APART}


def resolve_reference(root: Any, definitions: Mapping[str, Any], reference: str) -> Any:
    """What a reference in the definition ``root`` names: ``#`` stands for it, or else for the whole file."""
    found = resolve_pointer(root, reference)
    return resolve_pointer(definitions, reference) if found is None else found


def resolve_pointer(document: Any, reference: str) -> Any:
    """What a reference ``#/a/b`` names within ``document``; None when nothing (RFC 6901)."""
    if not reference.startswith("#"):
        return None
    found = document
    for part in reference[1:].split("/")[1:]:
        token = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and token in found:
            found = found[token]
        elif isinstance(found, list) and token.isdigit() and int(token) < len(found):
            found = found[int(token)]
        else:
            return None
    return found


def _class(
    name: str, properties: dict[str, Property], takes_more: bool, secrets: frozenset[str]
) -> type[Model]:
    body: dict[str, Any] = {
        "__module__": f"generated.definitions.{attribute_name(name)}",
        "__doc__": f"{name}: made from the plugin's schema.",
        "_properties": properties,
        "_takes_more": takes_more,
        "_secrets": secrets,
        "_names": {one.schema_name: one.name for one in properties.values()},
        "swagger_types": {one.name: one.python_type for one in properties.values()},
        "attribute_map": {one.name: one.schema_name for one in properties.values()},
        "__signature__": inspect.Signature(
            [
                *(
                    inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
                    for one in properties
                ),
                inspect.Parameter("validate", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=True),
            ]
        ),
    }
    built = type(name, (Model,), body)
    for one in properties.values():
        attribute = _attribute(one)
        setattr(built, one.name, attribute)
        taken = one.schema_name in properties or one.schema_name.startswith("_Model__")
        if not taken and not hasattr(built, one.schema_name):
            setattr(built, one.schema_name, attribute)
    return built


def _attribute(one: Property) -> property:
    def get(self: Model) -> Any:
        return self._get(one)

    def set_(self: Model, value: Any) -> None:
        self._set(one, value)

    return property(get, set_, doc=f"`{one.schema_name}` of the schema.")
