"""The base class of the classes generated from a plugin's schema, and their errors.

This code runs inside the plugin's worker process, as ``generated.definitions.base_model_``: standard library
only, and no knowledge of the engine. The names are those that plugins in the field import.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import pprint
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Self

from dlpx_remote.plugins.sensitive import masked

_MODULE = "generated.definitions.base_model_"
_LOG = logging.getLogger("generated.definitions")


class GeneratedClassesError(Exception):
    """A generated class was used against its schema: a required value is missing, a value is out of range."""

    __module__ = _MODULE

    @property
    def message(self) -> str:
        """What is wrong, for people."""
        return str(self.args[0])


class GeneratedClassesTypeError(GeneratedClassesError):
    """An attribute of a generated class was given a value of the wrong type.

    Args:
        object_type: the generated class.
        parameter_name: the attribute.
        actual_type: the type that came, or for a list the types of its items.
        expected_type: the type that was expected: a type, ``[item type]`` or ``{value type}``.
        required: whether the schema requires the attribute.
    """

    __module__ = _MODULE

    def __init__(
        self, object_type: type, parameter_name: str, actual_type: Any, expected_type: Any, required: bool
    ) -> None:
        condition = "" if required else " if defined"
        super().__init__(
            f"{object_type.__name__}'s parameter '{parameter_name}' was {_type_text(actual_type)} "
            f"but should be of {_type_text(expected_type)}{condition}."
        )


class UnknownAttributeError(GeneratedClassesError, AttributeError):
    """An attribute was set that the schema does not have."""

    __module__ = _MODULE


def _type_text(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(_type_text(one) for one in kind)
    if isinstance(kind, list):
        return f"type 'list of {', '.join(sorted({_bare(one) for one in kind})) or 'nothing'}'"
    if isinstance(kind, set):
        return f"type 'dict of str:{', '.join(sorted(_bare(one) for one in kind)) or 'nothing'}'"
    return f"class '{_bare(kind)}'"


def _bare(kind: Any) -> str:
    name: str = kind.__name__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


@dataclass(frozen=True)
class Property:
    """One attribute of a generated class.

    Attributes:
        name: the attribute's name in Python.
        schema_name: its name in the schema.
        required: the schema requires it.
        nullable: the schema allows ``null``.
        types: Python types that a value may have; empty means any.
        model: the class of a nested object.
        item_types: types of the items of a list, or of the values of a dict without named properties.
        enum: the only values allowed; None means any.
        limits: pairs of a test that a good value passes and the end of the sentence when it does not.
        secret: the value must never be shown.
    """

    name: str
    schema_name: str
    required: bool = False
    nullable: bool = False
    types: tuple[type, ...] = ()
    model: type[Model] | None = None
    item_types: tuple[type, ...] = ()
    enum: tuple[Any, ...] | None = None
    limits: tuple[tuple[Callable[[Any], bool], str], ...] = ()
    secret: bool = False

    @property
    def python_type(self) -> type:
        """The one type that documents the attribute."""
        if self.model is not None:
            return self.model
        return self.types[0] if self.types else object

    def check(self, owner: type, value: Any) -> None:
        """Raise unless ``value`` fits the schema as far as one attribute can tell."""
        if value is None:
            if self.required and not self.nullable:
                raise GeneratedClassesError(f"The required parameter '{self.name}' must not be 'None'.")
            return
        if not _is_a(value, self.types):
            expected: Any = self.types if len(self.types) > 1 else self.types[0]
            raise GeneratedClassesTypeError(owner, self.name, type(value), expected, self.required)
        self._check_items(owner, value)
        shown = "the value given" if self.secret else repr(value)
        if self.enum is not None and not any(value == one and _same_kind(value, one) for one in self.enum):
            allowed = ", ".join(map(str, self.enum))
            raise GeneratedClassesError(
                f"Invalid enum value for '{owner.__name__}.{self.name}': {shown} must be one of [{allowed}]."
            )
        for passes, complaint in self.limits:
            if not passes(value):
                raise GeneratedClassesError(
                    f"Invalid value for '{owner.__name__}.{self.name}': {shown} {complaint}."
                )

    def _check_items(self, owner: type, value: Any) -> None:
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            raise GeneratedClassesError(f"The keys of '{owner.__name__}.{self.name}' must be of class 'str'.")
        if not self.item_types:
            return
        if isinstance(value, list) and not all(_is_a(item, self.item_types) for item in value):
            found: Any = [type(item) for item in value]
            raise GeneratedClassesTypeError(owner, self.name, found, list(self.item_types), self.required)
        if isinstance(value, dict) and not all(_is_a(item, self.item_types) for item in value.values()):
            found = {type(item) for item in value.values()}
            raise GeneratedClassesTypeError(owner, self.name, found, set(self.item_types), self.required)


def _is_a(value: Any, types: tuple[type, ...]) -> bool:
    if not types:
        return True
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types)


def _same_kind(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool)


def limits_of(schema: Mapping[str, Any]) -> tuple[tuple[Callable[[Any], bool], str], ...]:
    """The keywords of ``schema`` that one attribute can check by itself, when it is set."""
    found: list[tuple[Callable[[Any], bool], str]] = []
    for keyword, (kind, passes, complaint) in _LIMITS.items():
        limit = schema.get(keyword)
        if limit is None or isinstance(limit, bool):
            continue
        found.append((_limit(kind, passes, limit), complaint.format(limit)))
    return tuple(found)


def _limit(
    kind: type | tuple[type, ...], passes: Callable[[Any, Any], bool], limit: Any
) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, kind) or passes(value, limit)


_LIMITS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool], str]] = {
    "minLength": (str, lambda value, limit: len(value) >= limit, "must have at least {} characters"),
    "maxLength": (str, lambda value, limit: len(value) <= limit, "must have at most {} characters"),
    "pattern": (str, lambda value, limit: re.search(limit, value) is not None, "must match the pattern '{}'"),
    "minimum": ((int, float), lambda value, limit: value >= limit, "must be at least {}"),
    "maximum": ((int, float), lambda value, limit: value <= limit, "must be at most {}"),
    "exclusiveMinimum": ((int, float), lambda value, limit: value > limit, "must be greater than {}"),
    "exclusiveMaximum": ((int, float), lambda value, limit: value < limit, "must be less than {}"),
    "minItems": (list, lambda value, limit: len(value) >= limit, "must have at least {} items"),
    "maxItems": (list, lambda value, limit: len(value) <= limit, "must have at most {} items"),
}


class Model:
    """Base of every generated class: constructor, checking properties, conversion, equality by value.

    An object may be made in two ways. With keywords, what is required must be there and every value must fit.
    With no arguments at all, in the manner of the earliest plugins, attributes are set one by one afterwards:
    what is required is then checked when the object is handed over, and a number set where the schema wants a
    string is taken as its text.
    """

    __module__ = _MODULE

    swagger_types: ClassVar[dict[str, Any]] = {}
    attribute_map: ClassVar[dict[str, str]] = {}
    _properties: ClassVar[Mapping[str, Property]] = {}
    _names: ClassVar[Mapping[str, str]] = {}
    _takes_more: ClassVar[bool] = True
    _secrets: ClassVar[frozenset[str]] = frozenset()

    # Two underscores keep these apart from whatever properties a schema may have.
    __values: dict[str, Any]
    __additional: dict[str, Any]
    __filled_later: bool

    def __init__(self, *values: Any, validate: bool = True, **named: Any) -> None:
        given = self._bind(values, named)
        self.__dict__["_Model__values"] = dict.fromkeys(self._properties)
        self.__dict__["_Model__additional"] = {}
        self.__dict__["_Model__filled_later"] = validate and not given
        if self.__filled_later:
            return
        for name, one in self._properties.items():
            if validate and one.required and name not in given:
                raise GeneratedClassesError(f"The required parameter '{name}' must not be 'None'.")
            if validate:
                self._set(one, given.get(name))
            else:
                self.__values[name] = given.get(name)

    @classmethod
    def _bind(cls, values: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        names = list(cls._properties)
        if len(values) > len(names):
            raise TypeError(f"{cls.__name__}() takes at most {len(names)} values, but got {len(values)}")
        given = dict(zip(names, values, strict=False))
        for keyword, value in named.items():
            name = keyword if keyword in cls._properties else cls._names.get(keyword, keyword)
            if name in given:
                raise TypeError(f"{cls.__name__}() got multiple values for '{name}'")
            if name not in cls._properties:
                raise TypeError(
                    f"{cls.__name__}() got an unexpected keyword argument '{name}'.{cls._meant(name)}"
                )
            given[name] = value
        return given

    @classmethod
    def _meant(cls, name: str) -> str:
        near = difflib.get_close_matches(name, cls._properties, n=1)
        return (
            f" Did you mean '{near[0]}'?" if near else f" It has: {', '.join(cls._properties) or 'nothing'}."
        )

    def _set(self, one: Property, value: Any) -> None:
        if one.model is not None and isinstance(value, dict):
            value = one.model.from_dict(value)
        if self.__filled_later and one.types == (str,) and type(value) in (int, float):
            _LOG.warning(
                "%s.%s is a string in the schema; the number it was set to was taken as text.",
                type(self).__name__,
                one.name,
            )
            value = str(value)
        one.check(type(self), value)
        self.__values[one.name] = value

    def _get(self, one: Property) -> Any:
        return self.__values[one.name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._names and name not in self._properties:
            name = self._names[name]
        if not name.startswith("_") and not hasattr(type(self), name):
            message = f"{type(self).__name__} has no attribute '{name}'.{self._meant(name)}"
            if not self._takes_more:
                raise UnknownAttributeError(message)
            _LOG.warning("%s It is kept on the object, but is no part of its data.", message)
        object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, dikt: Mapping[str, Any] | None) -> Self:
        """An object from a dict with schema names; what is missing stays unset."""
        instance = cls(validate=False)
        if dikt is None:
            return instance
        if not isinstance(dikt, Mapping):
            raise GeneratedClassesError(f"{cls.__name__} is made from a dict, not from {_bare(type(dikt))}.")
        for key, value in dikt.items():
            if key not in cls._names:
                instance.__additional[key] = value
            elif value is not None:
                instance._set(cls._properties[cls._names[key]], value)
        return instance

    def to_dict(self) -> dict[str, Any]:
        """The values by schema names, nested objects as dicts; what is ``None`` is left out.

        The one ``None`` that stays is that of a property which the schema requires and allows to be ``null``.
        """
        result = {
            one.schema_name: _plain(value)
            for name, one in self._properties.items()
            if (value := self.__values[name]) is not None or (one.required and one.nullable)
        }
        return {**result, **self.__additional}

    def to_str(self) -> str:
        """The values as text for people, secrets masked."""
        return pprint.pformat(masked(self.to_dict(), self._secrets))

    def __repr__(self) -> str:
        return self.to_str()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        return type(other) is type(self) and other.to_dict() == self.to_dict()

    def __hash__(self) -> int:
        text = json.dumps(self.to_dict(), sort_keys=True, default=str)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    return value
