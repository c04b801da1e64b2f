"""The check that constructors of the SDK's classes make on each parameter."""

from __future__ import annotations

from typing import Any

from dlpx.virtualization.common.exceptions import IncorrectTypeError

__all__ = ["check_parameter"]


def check_parameter(owner: object, name: str, *expected: type, required: bool = True) -> None:
    """Raise IncorrectTypeError unless the attribute ``name`` of ``owner`` is of one of the types
    ``expected``.

    Args:
        owner: the object being constructed, the attribute already set.
        name: the parameter, which is the attribute's name too.
        expected: one or more types; a bool does not pass for an int.
        required: False lets None pass.
    """
    value: Any = getattr(owner, name)
    if value is None and not required:
        return
    if isinstance(value, expected) and not (isinstance(value, bool) and bool not in expected):
        return
    wanted = expected[0] if len(expected) == 1 else list(expected)
    raise IncorrectTypeError(type(owner), name, type(value), wanted, required)
