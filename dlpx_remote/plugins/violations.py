"""What is wrong with a value, in words: where, what was expected, what was found; and never a secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dlpx_remote.plugins.problems import nearest
from dlpx_remote.plugins.sensitive import EVERYTHING

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_LONGEST = 60
_MOST = 50
_LIMITS = {
    "minimum": "a number of at least {}",
    "maximum": "a number of at most {}",
    "exclusiveMinimum": "a number greater than {}",
    "exclusiveMaximum": "a number less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "a text of at least {} characters",
    "maxLength": "a text of at most {} characters",
    "pattern": "a text that matches the pattern `{}`",
    "format": "a text in the format `{}`",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} properties",
    "maxProperties": "at most {} properties",
    "uniqueItems": "items that differ from each other",
}


def describe(errors: Iterable[ValidationError], secrets: frozenset[str]) -> list[str]:
    """One sentence for each of ``errors``: ``$.port: expected a number, but found the text "abc".``

    After many of them only the fact that there are more.
    """
    found: dict[str, None] = {}
    for error in errors:
        if len(found) == _MOST:
            return [*found, "$: there are more violations than these."]
        found[f"{error.json_path}: {_sentence(error, secrets)}"] = None
    return list(found)


def _sentence(error: ValidationError, secrets: frozenset[str]) -> str:
    keyword = str(error.validator)
    limit: Any = error.validator_value
    value: Any = error.instance
    if keyword == "required":
        return f"the property `{_missing(error)}` is missing."
    if keyword == "additionalProperties" and limit is False:
        return _unknown_properties(error)
    if keyword in ("anyOf", "oneOf") and error.context:
        return _alternatives(error, secrets)
    if keyword == "dependencies":
        return "a property is missing that another one needs."
    found = _shown(error, value, secrets)
    if keyword == "type":
        kinds = [limit] if isinstance(limit, str) else list(limit)
        return f"expected {' or '.join(map(_a, kinds))}, but found {found}."
    if keyword == "enum":
        return f"expected one of {', '.join(map(_json, limit))}, but found {found}."
    if keyword == "const":
        return f"expected {_json(limit)}, but found {found}."
    if keyword in _LIMITS:
        return f"expected {_LIMITS[keyword].format(limit)}, but found {found}."
    if error.validator is None or limit is False:
        return f"nothing may stand here, but found {found}."
    return f"the schema's `{keyword}` does not allow {found}."


def _missing(error: ValidationError) -> str:
    # The library reports one error for each missing property, and names it only at the start of its message.
    required: Any = error.validator_value
    value: Any = error.instance
    names = [name for name in required if name not in value]
    return next((name for name in names if error.message.startswith(repr(name))), ", ".join(names))


def _unknown_properties(error: ValidationError) -> str:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    value: Any = error.instance
    known = list(schema.get("properties", {}))
    unknown = [name for name in value if name not in known]
    parts = []
    for name in unknown:
        near = nearest(str(name), [one for one in known if one not in value])
        parts.append(f"the property `{name}` is unknown" + (f" (did you mean `{near}`?)" if near else ""))
    return f"{'; '.join(parts)}; known are: {', '.join(known) or 'none'}."


def _alternatives(error: ValidationError, secrets: frozenset[str]) -> str:
    from jsonschema.exceptions import best_match

    best = best_match(error.context or [])
    if best is None:
        return "it fits none of the alternatives that the schema allows."
    place = best.json_path
    closest = f"{'' if place == error.json_path else place + ' '}{_sentence(best, secrets)}"
    return f"it fits none of the alternatives that the schema allows; the nearest one says: {closest}"


def _shown(error: ValidationError, value: Any, secrets: frozenset[str]) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        kind, content = "the truth value", _json(value)
    elif isinstance(value, (int, float)):
        kind, content = "the number", _json(value)
    elif isinstance(value, str):
        kind, content = "the text", _json(value)
    elif isinstance(value, list):
        return f"a list of {len(value)} items"
    elif isinstance(value, Mapping):
        return "an object"
    else:
        return f"a value that JSON does not have ({type(value).__name__})"
    if EVERYTHING in secrets or any(part in secrets for part in error.absolute_path):
        return f"{_a_kind(kind)} that is not shown"
    return f"{kind} {content}"


def _a_kind(kind: str) -> str:
    return kind.replace("the ", "a ")


def _a(kind: str) -> str:
    names = {
        "string": "a text",
        "boolean": "a truth value",
        "number": "a number",
        "integer": "a whole number",
        "array": "a list",
        "object": "an object",
    }
    return names.get(kind, kind)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
