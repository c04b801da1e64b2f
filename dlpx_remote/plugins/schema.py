"""``schema.json``: the six definitions of a plugin, and values measured by them.

Reading finds everything that is wrong at once. Nothing is ever fetched: a reference names something in the
file itself or a credentials supplier of the platform, or it is a problem. The validator is imported when a
value is measured: most commands only list what is there, and it is slow to load.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlpx_remote.plugins.definitions import resolve_pointer, resolve_reference
from dlpx_remote.plugins.documents import Document, parse_json, read_text
from dlpx_remote.plugins.problems import Problems, did_you_mean, nearest
from dlpx_remote.plugins.schema_check import SchemaCheck, named_fields
from dlpx_remote.plugins.sensitive import masked, secret_names
from dlpx_remote.plugins.suppliers import PLATFORM, SUPPLIERS, supplier_of
from dlpx_remote.plugins.violations import describe

if TYPE_CHECKING:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import ValidationError

DEFINITIONS = (
    "repositoryDefinition",
    "sourceConfigDefinition",
    "linkedSourceDefinition",
    "virtualSourceDefinition",
    "snapshotDefinition",
    "snapshotParametersDefinition",
)
DISCOVERED = ("repositoryDefinition", "sourceConfigDefinition")
NO_PARAMETERS: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}

_WHOLE_FILE = "urn:plugin:schema"


@dataclass(frozen=True)
class PluginSchema:
    """The definitions of a plugin.

    Attributes:
        definitions: JSON schemas (Draft 7) by their names in ``schema.json``; all six.
    """

    definitions: Mapping[str, dict[str, Any]] = field(repr=False)

    def validate(self, definition: str, value: Any) -> list[str]:
        """What is wrong with ``value``, measured by the whole schema with ``format``.

        Args:
            definition: a name in ``schema.json``, for example ``repositoryDefinition``.
            value: plain JSON.

        Returns:
            One sentence for each violation, opening with its JSON path, without any secret; empty when good.
        """
        errors: Iterator[ValidationError] = self._validators[definition].iter_errors(value)
        try:
            return describe(errors, self._secrets[definition])
        except RecursionError:
            return ["$: it is nested too deeply, or the schema refers to itself without end."]
        except ArithmeticError as error:
            return [f"$: a number in it cannot be measured by the schema: {error}."]

    def identity(self, definition: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """The identity fields of a repository or source config, with their values (None where unset)."""
        names = named_fields(self.definitions[definition].get("identityFields"))
        return {name: value.get(name) for name in names} if names else dict(value)

    def name(self, definition: str, value: Mapping[str, Any]) -> str:
        """What a repository or source config is called: its name field, or else its identity."""
        names = named_fields(self.definitions[definition].get("nameField"))
        given = [value[name] for name in names if value.get(name) is not None]
        if not given:
            given = [one for one in self.identity(definition, value).values() if one is not None]
        return ", ".join(map(str, given))

    def masked(self, definition: str, value: Any) -> Any:
        """``value`` with everything secret replaced, as it may be shown."""
        return masked(value, self._secrets[definition])

    @cached_property
    def _secrets(self) -> dict[str, frozenset[str]]:
        return {
            name: secret_names(schema, partial(resolve_reference, schema, self.definitions))
            for name, schema in self.definitions.items()
        }

    @cached_property
    def _validators(self) -> dict[str, Draft7Validator]:
        from jsonschema import Draft7Validator
        from referencing import Registry
        from referencing.jsonschema import DRAFT7

        from dlpx_remote.plugins.formats import format_checker

        platform = {
            "$id": PLATFORM,
            "definitions": {name: {"$id": f"#{name}", **schema} for name, schema in SUPPLIERS.items()},
        }
        registry: Registry[Any] = Registry().with_resources(
            [
                (PLATFORM, DRAFT7.create_resource(platform)),
                (_WHOLE_FILE, DRAFT7.create_resource(dict(self.definitions))),
            ]
        )
        formats = format_checker()
        return {
            name: Draft7Validator(
                self._absolute(copy.deepcopy(schema), schema),
                format_checker=formats,
                registry=registry,
            )
            for name, schema in self.definitions.items()
        }

    def _absolute(self, part: Any, schema: dict[str, Any]) -> Any:
        """``part`` with references into other definitions of the file made absolute, in place."""
        if isinstance(part, list):
            for item in part:
                self._absolute(item, schema)
        elif isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and self._is_elsewhere(reference, schema):
                part["$ref"] = _WHOLE_FILE + reference
            for item in part.values():
                self._absolute(item, schema)
        return part

    @staticmethod
    def _is_elsewhere(reference: str, schema: dict[str, Any]) -> bool:
        return reference.startswith("#") and resolve_pointer(schema, reference) is None


def read_schema(path: Path, problems: Problems) -> PluginSchema | None:
    """The schema in ``path``; None after adding everything that is wrong with it."""
    text = read_text(path, problems, "`schemaFile` in plugin_config.yml names it.")
    document = None if text is None else parse_json(text, problems)
    if document is None:
        return None
    if not isinstance(document.value, dict):
        problems.error(
            "An object with the definitions was expected.",
            f"It holds {', '.join(f'`{name}`' for name in DEFINITIONS)}.",
            line=1,
        )
        return None
    definitions = _definitions(document, problems)
    for name in definitions:
        SchemaCheck(name, definitions, document, problems, supplier_of).run(discovered=name in DISCOVERED)
    if problems.failed:
        return None
    return PluginSchema({name: definitions[name] for name in DEFINITIONS})


def _definitions(document: Document, problems: Problems) -> dict[str, dict[str, Any]]:
    """The definitions that are there, with one for snapshot parameters; reports those missing and unknown."""
    values: dict[str, Any] = document.value
    missing = [name for name in DEFINITIONS if name not in values]
    meant = set()
    for name in values:
        if name in DEFINITIONS or name in ("$schema", "$comment"):
            continue
        near = nearest(name, missing)
        meant.add(near)
        problems.error(
            f"The definition `{name}` is unknown.",
            did_you_mean(name, missing or DEFINITIONS),
            line=document.line((name,)),
            place=f"/{name}",
        )
    for name in missing:
        if name == "snapshotParametersDefinition" or name in meant:
            continue
        problems.error(
            f"The definition `{name}` is missing.",
            'Without anything to keep it is {"type": "object", "properties": {}}.'
            if name not in DISCOVERED
            else "It needs properties, `identityFields` and `nameField`.",
            line=1,
            place=f"/{name}",
        )
    found = {}
    for name in DEFINITIONS:
        value = values.get(name, NO_PARAMETERS)
        if isinstance(value, dict) and (name in values or name == "snapshotParametersDefinition"):
            found[name] = value
        elif name in values:
            problems.error(
                f"The definition `{name}` must be a JSON schema of an object.",
                line=document.line((name,)),
                place=f"/{name}",
            )
    return found
