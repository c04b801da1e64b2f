"""Which values of an object are secret, and the object without them.

A value is secret when its schema says ``format: password`` or names a credentials supplier. Which values of
an object those are is decided by the names of the properties on the way to them, so that a value which fits
none of several alternatives is hidden as well. Standard library only: the generated classes use it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlpx_remote.plugins.suppliers import PLATFORM

EVERYTHING = "*"
MASK = "********"
_NOT_SCHEMAS = frozenset({"enum", "const", "default", "examples", "required", "definitions"})


def secret_names(schema: Any, resolve: Callable[[str], Any]) -> frozenset[str]:
    """The properties anywhere in ``schema`` whose values are secret; ``*`` among them stands for all.

    Args:
        schema: a schema of an object.
        resolve: what a reference within the plugin's schema stands for.
    """
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()

    def collect(inner: Any, name: str) -> None:
        if isinstance(inner, list):
            for item in inner:
                collect(item, name)
        if not isinstance(inner, Mapping):
            return
        reference = inner.get("$ref")
        if inner.get("format") == "password":
            found.add(name)
        if isinstance(reference, str) and reference.startswith(PLATFORM):
            found.add(name)
        elif isinstance(reference, str) and (name, reference) not in seen:
            seen.add((name, reference))
            collect(resolve(reference), name)
        for keyword, value in inner.items():
            if keyword == "properties" and isinstance(value, Mapping):
                for key, schema_of_key in value.items():
                    collect(schema_of_key, key)
            elif keyword == "patternProperties" and isinstance(value, Mapping):
                collect(list(value.values()), EVERYTHING)
            elif keyword not in _NOT_SCHEMAS:
                collect(value, name)

    collect(schema, EVERYTHING)
    return frozenset(found)


def masked(value: Any, secrets: frozenset[str]) -> Any:
    """``value`` as it may be shown: what is secret replaced."""
    if EVERYTHING in secrets:
        return MASK
    if isinstance(value, Mapping):
        return {key: MASK if key in secrets else masked(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, secrets) for item in value]
    return value
