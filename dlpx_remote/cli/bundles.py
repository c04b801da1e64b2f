"""Options that several commands share, said once: a command takes them as one value.

A bundle is a frozen dataclass whose fields are annotated as a command's parameters are. :func:`unfolded`
makes a command of a function that takes bundles: typer sees every option of theirs as if it stood there.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


class Bundle:
    """The base of bundles."""

    @classmethod
    def options(cls) -> dict[str, str]:
        """The option on the command line by the name of its field."""
        hints = get_type_hints(cls, include_extras=True)
        found = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # every bundle is one
            said = hints[field.name].__metadata__[0]
            # In an annotation, what stands where typer has the default is a name of the option.
            found[field.name] = next(
                word for word in (said.default, *said.param_decls) if str(word).startswith("--")
            )
        return found

    def given(self) -> list[str]:
        """The options whose value is not the usual one."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        options = self.options()
        return [options[field.name] for field in fields if getattr(self, field.name) != field.default]


def unfolded(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` with the fields of its bundles as parameters in their place.

    Args:
        function: takes bundles by keyword.
    """
    hints = get_type_hints(function, include_extras=True)
    bundles: dict[str, type[Bundle]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and issubclass(kind, Bundle):
            bundles[parameter.name] = kind
            parameters += _fields(kind)
        else:
            parameters.append(parameter.replace(annotation=kind))

    @functools.wraps(function)
    def command(*arguments: Any, **given: Any) -> None:
        for name, kind in bundles.items():
            given[name] = kind(**{option: given.pop(option) for option in kind.options()})
        function(*arguments, **given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _fields(kind: type[Bundle]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    ]
