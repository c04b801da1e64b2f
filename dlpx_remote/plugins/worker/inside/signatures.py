"""Checks the parameters of a plugin's function against the table of operations, and chooses what to pass.

Arguments go by keyword, so their order does not matter; their names do. A table argument may have other names
that plugins in the field use, and may be left out where the table says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dlpx.virtualization.platform.operation_table import Argument, Operation

_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The function's parameters as its author wrote them, without defaults."""
    marks: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return tuple(
        marks.get(parameter.kind, "") + name
        for name, parameter in inspect.signature(function).parameters.items()
    )


def place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """File and line of the function's code; of the inner one where a decorator wraps it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return ("", 0) if code is None else (code.co_filename, code.co_firstlineno)


def complaint(operation: Operation, function: Callable[..., Any]) -> str | None:
    """What is wrong with the function's parameters, as a sentence; None when nothing is."""
    parameters = inspect.signature(function).parameters
    if operation.takes_migration_id:
        return _migration_complaint(operation, parameters)
    known = {name for argument in operation.arguments for name in argument.names}
    by_keyword = {name for name, parameter in parameters.items() if parameter.kind in _KEYWORD}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [
        argument
        for argument in operation.arguments
        if not argument.optional and not takes_any and not by_keyword & set(argument.names)
    ]
    unknown = [
        name
        for name, parameter in parameters.items()
        if _needs_a_value(parameter) and (name not in known or parameter.kind not in _KEYWORD)
    ]
    twice = [argument for argument in operation.arguments if len(by_keyword & set(argument.names)) > 1]
    if not (missing or unknown or twice):
        return None
    return (
        f"{operation.name} takes the arguments {_signature_of(operation)}, "
        f"but the function takes ({', '.join(parameters_of(function))})."
    )


def choose(operation: Operation, function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` (by the table's names) under the names that the function has for them."""
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    chosen = {}
    for argument in operation.arguments:
        name = next((name for name in argument.names if name in parameters), None)
        if name is not None or takes_any:
            chosen[name or argument.name] = values[argument.name]
    return chosen


def _migration_complaint(operation: Operation, parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """A migration takes one object; its name is the author's choice, since it is passed by position."""
    needed = [parameter for parameter in parameters.values() if _needs_a_value(parameter)]
    takes_one = any(
        parameter.kind in _POSITIONAL or parameter.kind is inspect.Parameter.VAR_POSITIONAL
        for parameter in parameters.values()
    )
    if takes_one and len(needed) <= 1 and all(parameter.kind in _POSITIONAL for parameter in needed):
        return None
    return (
        f"{operation.name} takes one argument, {operation.arguments[0].name}, "
        f"but the function takes ({', '.join(parameters)})."
    )


def _needs_a_value(parameter: inspect.Parameter) -> bool:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.kind not in variable and parameter.default is inspect.Parameter.empty


def _signature_of(operation: Operation) -> str:
    return f"({', '.join(_name_of(argument) for argument in operation.arguments)})"


def _name_of(argument: Argument) -> str:
    return f"[{argument.name}]" if argument.optional else argument.name
