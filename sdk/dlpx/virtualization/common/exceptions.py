"""Errors that every part of the SDK shares, and how a type is named in them.

There are two families. :class:`PluginRuntimeError` is a mistake in a plugin's code at run time (a value of
the wrong type, a wrong reference) and may be caught by the plugin. :class:`PlatformError` is a mistake in
how the plugin is put together (an operation defined twice) and shows up when the plugin is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["IncorrectTypeError", "PlatformError", "PluginRuntimeError"]

TypeDescription = Any
"""How the errors below are told a type: a type; ``[type]`` for a list of it and ``[type, type]`` for any one
of several (expected) or the types of the items (actual); ``{key: value}`` for a dict (expected); a set of
``(key, value)`` tuples for a dict's items (actual); or a sentence fragment that says it already."""


class PlatformError(Exception):
    """The plugin is put together wrongly; raised while the plugin is imported.

    Attributes:
        message: a sentence that says what is wrong.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        return str(self.args[0])


class PluginRuntimeError(Exception):
    """The plugin's code did something that cannot be; a plugin may catch it.

    Attributes:
        message: a sentence that says what is wrong.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        return str(self.args[0])


class IncorrectTypeError(PluginRuntimeError):
    """A class of the SDK was given a parameter of the wrong type.

    Args:
        object_type: the class whose parameter it is.
        parameter_name: the parameter.
        actual_type: what was passed, see :data:`TypeDescription`.
        expected_type: what should have been passed.
        required: False where None is fine too.
    """

    def __init__(
        self,
        object_type: type,
        parameter_name: str,
        actual_type: TypeDescription,
        expected_type: TypeDescription,
        required: bool = True,
    ) -> None:
        super().__init__(
            f"{object_type.__name__}'s parameter '{parameter_name}' was {describe_actual(actual_type)} but "
            f"should be {describe_expected(expected_type)}{'' if required else ' if defined'}."
        )


def type_name(kind: Any) -> str:
    """``str``, ``dlpx.virtualization.common.RemoteUser``…: a type as a plugin's author would import it."""
    if not isinstance(kind, type):
        return str(kind)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    public_module = ".".join(part for part in kind.__module__.split(".") if not part.startswith("_"))
    return f"{public_module}.{kind.__qualname__}"


def describe_expected(expected: TypeDescription) -> str:
    """The expected type in words, for example ``a list of str``."""
    if isinstance(expected, str):
        return expected
    if isinstance(expected, dict):
        ((key, value),) = expected.items()
        return f"a dict of {type_name(key)} to {type_name(value)}"
    if isinstance(expected, list | tuple):
        if len(expected) == 1:
            return f"a list of {type_name(expected[0])}"
        return f"of type {' or '.join(type_name(kind) for kind in expected)}"
    return f"of type {type_name(expected)}"


def describe_actual(actual: TypeDescription) -> str:
    """The type found in words, for example ``a list of [str, int]``."""
    if isinstance(actual, str):
        return actual
    if isinstance(actual, list | tuple):
        return f"a list of [{_in_words(type_name(kind) for kind in actual)}]"
    if isinstance(actual, set):
        items = sorted(f"{type_name(key)}: {type_name(value)}" for key, value in actual)
        return f"a dict of {{{_in_words(items)}}}"
    return f"of type {type_name(actual)}"


def _in_words(names: Iterable[str]) -> str:
    """Names joined by commas, each said once: a list of a million ints is still one line."""
    return ", ".join(dict.fromkeys(names))
