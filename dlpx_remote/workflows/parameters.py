"""The operator's parameters of a dSource, VDB or snapshot: read, completed with defaults, and checked.

A secret is never kept. Where a plugin's schema says that a value is one, the operator gives a reference to
where it is (``env:VARIABLE``, ``file:PATH``, ``command:COMMAND``), and the secret itself is looked up when a
plugin operation is about to run.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlpx_remote.environments.credentials import WORDS
from dlpx_remote.environments.model import CredentialKind, Expected, SecretReference
from dlpx_remote.environments.secrets import Supplied
from dlpx_remote.environments.validation import parse_secret_reference
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.operations.library import SuppliedCredentials
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.sensitive import MASK
from dlpx_remote.plugins.suppliers import supplier_of
from dlpx_remote.workflows.suppliers import named_supplier, supplier_secrets

LINKED = "linkedSourceDefinition"
VIRTUAL = "virtualSourceDefinition"
SNAPSHOT = "snapshotDefinition"
SNAPSHOT_PARAMETERS = "snapshotParametersDefinition"

_WORDS = {
    LINKED: "parameters of the dSource",
    VIRTUAL: "parameters of the VDB",
    SNAPSHOT_PARAMETERS: "snapshot parameters",
}

Resolve = Callable[[SecretReference, str, Expected], Supplied]
"""What is behind a reference; the second argument says what it is for, the third what it has to be."""

KindOf = Callable[[SecretReference], CredentialKind | None]
"""What a named credential is, by a reference to it; None for a reference of another kind."""


@dataclass(frozen=True)
class Given:
    """Parameters as a person gave them.

    Attributes:
        values: from a file, by schema names.
        texts: from the command line: values as text by name, ``a.b`` for a property of an object. They win
            over ``values``.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def checked(
    plugin: Plugin, definition: str, given: Given, kind_of: KindOf = lambda _reference: None
) -> dict[str, Any]:
    """What was given as the plugin's schema has it, with its defaults.

    Args:
        plugin: whose schema it is.
        definition: which part of the schema.
        given: what a person gave.
        kind_of: looks at named credentials.

    Raises:
        InvalidRequest: names every field that does not fit, with its path.
    """
    schema = plugin.schema.definitions[definition]
    try:
        value: dict[str, Any] = json.loads(json.dumps(dict(given.values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"The {_WORDS[definition]} are not plain JSON: {error}.",
            "Give objects, lists, texts and numbers.",
        ) from None
    for name, text in given.texts.items():
        _put(schema, value, name.split("."), text, name)
    value = dict(with_suppliers(schema, with_defaults(schema, value), kind_of))
    for where, secret, expected in _secrets(plugin, definition, value):
        if not isinstance(secret, str):
            raise InvalidRequest(f"{where} must be a text: a reference to where the secret is.")
        reference = parse_secret_reference(secret, where)
        kind = kind_of(reference)
        if kind is not None and expected not in ("any", kind):
            raise InvalidRequest(
                f"{where} takes {WORDS[expected]}, and {secret} is {WORDS[kind]}.",
                "Name another one; dlpx-remote credential list shows what there is.",
            )
    problems = plugin.schema.validate(definition, value)
    if problems:
        raise InvalidRequest(
            f"The {_WORDS[definition]} do not fit the schema of the plugin {plugin.config.name}:"
            + "".join(f"\n  {problem}" for problem in problems),
            f"\nGive them with --param NAME=VALUE or --params-file; known are: {_known(schema)}.",
        )
    return value


def unattended(plugin: Plugin) -> dict[str, Any] | None:
    """Snapshot parameters when nobody gives any: the schema's defaults, or None where those are not valid."""
    value = with_defaults(plugin.schema.definitions[SNAPSHOT_PARAMETERS], {})
    return None if plugin.schema.validate(SNAPSHOT_PARAMETERS, value) else value


def with_defaults(schema: Mapping[str, Any], value: Any) -> Any:
    """``value`` with the defaults of properties that it lacks, those of objects in it too."""
    properties = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(properties, Mapping):
        return value
    completed = dict(value)
    for name, inner in properties.items():
        if not isinstance(inner, Mapping):
            continue
        if name in completed:
            completed[name] = with_defaults(inner, completed[name])
        elif "default" in inner:
            completed[name] = copy.deepcopy(inner["default"])
    return completed


def with_suppliers(schema: Mapping[str, Any], value: Any, kind_of: KindOf) -> Any:
    """``value`` with an object in place of each text that stands for a credentials supplier.

    A person may write the reference alone: ``credential:NAME``, ``env:VARIABLE``.
    """
    properties = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(properties, Mapping):
        return value
    completed = dict(value)
    for name, inner in properties.items():
        if name not in completed or not isinstance(inner, Mapping):
            continue
        supplier = supplier_of(str(inner.get("$ref", "")))
        if supplier is None:
            completed[name] = with_suppliers(inner, completed[name], kind_of)
        elif isinstance(completed[name], str):
            text = completed[name]
            kind = kind_of(parse_secret_reference(text, name))
            completed[name] = named_supplier(supplier, text, kind)
    return completed


@dataclass(frozen=True)
class Resolved:
    """Parameters as a plugin operation is handed them.

    Attributes:
        values: with the secrets themselves.
        suppliers: credentials suppliers in them, and what each gives when the plugin asks.
    """

    values: dict[str, Any]
    suppliers: tuple[tuple[Mapping[str, Any], SuppliedCredentials], ...] = ()


def resolved(plugin: Plugin, definition: str, values: Mapping[str, Any], resolve: Resolve) -> Resolved:
    """``values`` with every secret looked up.

    Raises:
        SecretUnavailable: one is not where its reference says.
    """
    complete = copy.deepcopy(dict(values))
    suppliers: list[tuple[Mapping[str, Any], SuppliedCredentials]] = []

    def secret(text: str, where: str, expected: Expected) -> Supplied:
        return resolve(parse_secret_reference(text, where), f"{where} of {plugin.config.name}", expected)

    for holder, key, where in _places(plugin, definition, complete):
        found = holder[key]
        if isinstance(found, Mapping):
            suppliers.append((found, _credentials(found, where, secret)))
        else:
            holder[key] = secret(found, where, "any").secret
    return Resolved(complete, tuple(suppliers))


def shown(plugin: Plugin, definition: str, value: Any) -> Any:
    """What may be kept of a value that a plugin returned: without secrets."""
    return plugin.schema.masked(definition, value)


def _credentials(
    supplier: Mapping[str, Any], where: str, secret: Callable[[str, str, Expected], Supplied]
) -> SuppliedCredentials:
    """What is behind a credentials supplier, when the plugin asks."""
    username = supplier.get("username", "")
    parts = {part.name: part for part in supplier_secrets(supplier, where)}
    if "username" in parts:
        part = parts["username"]
        username = secret(part.reference, part.where, "any").secret
    part = parts["secret"]
    found = secret(part.reference, part.where, part.expected)
    username = username or found.username
    if found.kind == "password":
        return SuppliedCredentials(username, password=found.secret)
    public_key = supplier.get("publicKey") or found.public_key
    return SuppliedCredentials(username, private_key=found.secret, public_key=public_key)


def _secrets(plugin: Plugin, definition: str, value: Any) -> Iterator[tuple[str, Any, Expected]]:
    """Every text in ``value`` that must be a reference to a secret: its path, and what it has to lead to."""
    for holder, key, where in _places(plugin, definition, value):
        found = holder[key]
        if isinstance(found, Mapping):
            for part in supplier_secrets(found, where):
                yield part.where, part.reference, part.expected
        else:
            yield where, found, "any"


def _places(plugin: Plugin, definition: str, value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Where ``value`` holds secrets, by its schema: the holder, the key in it, and the path."""
    hidden = plugin.schema.masked(definition, value)

    def walk(whole: Any, covered: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
        pairs = (
            whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
        )
        if not isinstance(covered, dict | list):
            return
        for key, inner in list(pairs):
            path = f"{where}.{key}" if isinstance(key, str) else f"{where}[{key}]"
            if covered[key] == MASK and inner != MASK:
                if inner is not None:
                    yield whole, key, path
            else:
                yield from walk(inner, covered[key], path)

    yield from walk(value, hidden, "$")


def _put(schema: Any, value: dict[str, Any], path: list[str], text: str, name: str) -> None:
    for key in path[:-1]:
        schema = _property(schema, key)
        inner = value.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InvalidRequest(f"--param {name}: {key} is no object that could have properties.")
        value = inner
    value[path[-1]] = _read(_property(schema, path[-1]), text)


def _property(schema: Any, name: str) -> Mapping[str, Any]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _read(schema: Mapping[str, Any], text: str) -> Any:
    """A text as the schema wants it: as it is where texts are allowed, else the JSON it is written as."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    if "string" in kinds:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _known(schema: Mapping[str, Any]) -> str:
    properties = schema.get("properties") or {}
    required = set(schema.get("required") or ())
    words = [
        f"{name} ({describe_type(inner)}{', required' if name in required else ''})"
        for name, inner in properties.items()
    ]
    return ", ".join(words) or "none, the plugin takes no such parameters"


def describe_type(schema: Any) -> str:
    """The type that a property's schema asks for, in words."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return " or ".join(kind) if isinstance(kind, list) else kind or "any value"
