"""Checks of one definition in ``schema.json``: is it a schema, do references resolve, do names fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from dlpx_remote.plugins.definitions import attribute_name, colliding_properties, merge, resolve_reference
from dlpx_remote.plugins.documents import Document, Path_, pointer_of
from dlpx_remote.plugins.problems import Problems, did_you_mean, nearest

if TYPE_CHECKING:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import ValidationError

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_RECORD_SIZE = "recordSizeInKB"
_WITH_RECORD_SIZE = ("linkedSourceDefinition", "virtualSourceDefinition")
_NOT_SCHEMAS = frozenset({"enum", "const", "default", "examples"})


def named_fields(value: Any) -> list[str]:
    """The property names that ``identityFields`` or ``nameField`` gives, as a string or a list."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [name for name in names if isinstance(name, str)]


class SchemaCheck:
    """Checks one definition.

    Args:
        name: its name in the file.
        definitions: all definitions of the file.
        document: the file.
        problems: takes what is wrong.
        supplier_of: the credentials supplier that a reference names, or None.
    """

    def __init__(
        self,
        name: str,
        definitions: dict[str, dict[str, Any]],
        document: Document,
        problems: Problems,
        supplier_of: Callable[[str], str | None],
    ) -> None:
        self._name = name
        self._schema = definitions[name]
        self._definitions = definitions
        self._document = document
        self._problems = problems
        self._supplier_of = supplier_of

    def run(self, discovered: bool) -> None:
        """Check everything; ``discovered`` when the definition must say how its objects are told apart."""
        try:
            sound = self._metaschema()
        except RecursionError:
            self._error("The schema is nested too deeply.", "", ())
            return
        if sound and self._schema.get("type", "object") != "object":
            self._error(
                f"The definition must have `type` object, not {self._schema['type']!r}.",
                "Put the value into a property.",
                ("type",),
            )
        # What is no schema cannot be walked as one.
        if sound and self._references():
            self._collisions()
        if sound and self._name in _WITH_RECORD_SIZE:
            self._record_size()
        if discovered:
            self._identity(sound)

    def _error(self, message: str, hint: str, path: Path_) -> None:
        where = (self._name, *path)
        self._problems.error(message, hint, line=self._document.line(where), place=pointer_of(where))

    def _metaschema(self) -> bool:
        errors = sorted(_metaschema().iter_errors(self._schema), key=lambda error: list(map(str, error.path)))
        for error in errors:
            message, hint = _metaschema_sentence(error)
            self._error(message, hint, tuple(error.absolute_path))
        return not errors

    def _references(self) -> bool:
        good = True
        for path, schema in _subschemas(self._schema, ()):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                continue
            wrong = self._wrong_reference(reference)
            if wrong:
                self._error(*wrong, (*path, "$ref"))
                good = False
        return good

    def _wrong_reference(self, reference: str) -> tuple[str, str] | None:
        seen = set()
        target: Any = {"$ref": reference}
        while isinstance(target, dict) and isinstance(target.get("$ref"), str):
            current = target["$ref"]
            if current in seen:
                return f"The reference `{reference}` leads back to itself.", "Point it at a schema."
            seen.add(current)
            if self._supplier_of(current):
                return None
            if not current.startswith("#"):
                return f"The reference `{reference}` cannot be resolved.", (
                    "Nothing is fetched: a reference names a place in this file (`#/...`) or "
                    "`https://delphix.com/platform/api#/definitions/` followed by credentialsSupplier, "
                    "passwordCredentialsSupplier or keyCredentialsSupplier."
                )
            target = resolve_reference(self._schema, self._definitions, current)
            if not isinstance(target, (dict, bool)):
                return (
                    f"The reference `{reference}` cannot be resolved: there is no schema at that place.",
                    f"`#` stands for `{self._name}`, or else for the whole file.",
                )
        return None

    def _collisions(self) -> None:
        for path, schema in _subschemas(self._schema, ()):
            properties = schema.get("properties")
            if not isinstance(properties, dict):
                continue
            for later, earlier in colliding_properties(properties):
                self._error(
                    f"The properties `{later}` and `{earlier}` would both be the attribute "
                    f"`{attribute_name(later)}` in Python.",
                    "Rename one of them.",
                    (*path, "properties", later),
                )

    def _record_size(self) -> None:
        """As the SDK has it: the engine reads the value itself, and takes whole numbers only."""
        wanted = self._schema.get("properties", {}).get(_RECORD_SIZE)
        if isinstance(wanted, dict) and wanted.get("type", "integer") != "integer":
            self._error(
                f"`{_RECORD_SIZE}` must have `type` integer, not {wanted['type']!r}.",
                "The engine takes it as the record size of the data set: a power of two from 1 to 16384.",
                ("properties", _RECORD_SIZE, "type"),
            )

    def _identity(self, sound: bool) -> None:
        properties = (
            list(merge(self._schema, self._schema, self._definitions)["properties"]) if sound else None
        )
        for keyword, what in (
            ("identityFields", "the properties that tell one object from another"),
            ("nameField", "the property to show as its name"),
        ):
            if keyword not in self._schema:
                similar = nearest(keyword, self._schema)
                self._error(
                    f"`{keyword}` is missing: {what}.",
                    f"`{similar}` was found; did you mean `{keyword}`?" if similar else "",
                    () if similar is None else (similar,),
                )
                continue
            value = self._schema[keyword]
            names = named_fields(value)
            one_only = keyword == "nameField"
            if not names or (isinstance(value, list) and len(names) != len(value)):
                expected = "a property's name" if one_only else "a list of one or more property names"
                self._error(f"`{keyword}` must be {expected}.", "", (keyword,))
            elif one_only and len(names) > 1:
                self._error(f"`nameField` must name one property, not {len(names)}.", "", (keyword,))
            elif properties is not None:
                self._unknown_fields(keyword, names, properties, isinstance(value, list))

    def _unknown_fields(self, keyword: str, names: list[str], properties: list[str], listed: bool) -> None:
        for index, name in enumerate(names):
            if name not in properties:
                hint = did_you_mean(name, properties) if properties else "It has no properties."
                path: Path_ = (keyword, index) if listed else (keyword,)
                self._error(f"`{keyword}` names `{name}`, which is no property.", hint, path)


def _subschemas(schema: Any, path: Path_) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Every schema within ``schema``, itself first, with its path."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _subschemas(item, (*path, index))
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties", "definitions", "dependencies"):
            if isinstance(value, dict):
                for name, inner in value.items():
                    yield from _subschemas(inner, (*path, keyword, name))
        elif keyword not in _NOT_SCHEMAS:
            yield from _subschemas(value, (*path, keyword))


@cache
def _metaschema() -> Draft7Validator:
    from jsonschema import Draft7Validator

    from dlpx_remote.plugins.formats import format_checker

    return Draft7Validator(Draft7Validator.META_SCHEMA, format_checker=format_checker())


def _metaschema_sentence(error: ValidationError) -> tuple[str, str]:
    path = list(error.absolute_path)
    keyword = path[-1] if path else ""
    value: Any = error.instance
    if "type" in path[-2:] and not isinstance(value, dict):
        wrong = [one for one in (value if isinstance(value, list) else [value]) if one not in _TYPES]
        return (
            f"`type` must be a JSON type, but found {', '.join(map(repr, wrong)) or repr(value)}.",
            did_you_mean(str(wrong[0]), _TYPES) if wrong else "",
        )
    if keyword == "required" or (len(path) > 1 and path[-2] == "required"):
        return "`required` must be a list of property names, each once.", (
            '`"required": true` inside of a property is of an older draft; name it in a list beside them.'
            if isinstance(value, bool)
            else ""
        )
    if error.validator == "format" and error.validator_value == "regex":
        return f"`{value}` is no valid regular expression.", ""
    if error.validator == "type" and error.validator_value == ["object", "boolean"]:
        hint = f"Write {value.lower()} without quotes." if str(value).lower() in ("true", "false") else ""
        return f"A schema was expected here, but found {value!r}.", hint
    return f"`{keyword}` is not as JSON Schema (Draft 7) wants it: {error.message}.", ""
