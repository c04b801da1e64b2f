"""The reference page of plugin operations, made from the table of operations.

``python -m dlpx.virtualization.platform.reference > docs/operations.md`` writes the page anew. It needs
nothing but the SDK.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from dlpx.virtualization.platform.operation_table import (
    OPERATIONS,
    Argument,
    Operation,
    PluginType,
    ResultKind,
)

__all__ = ["page"]

_INTRODUCTION = """\
# Plugin operations

This page is generated from the table of operations
(`sdk/dlpx/virtualization/platform/operation_table.py`); change the table, then run
`python -m dlpx.virtualization.platform.reference > docs/operations.md`.

A plugin implements an operation by decorating a function:

```python
from dlpx.virtualization.platform import Plugin
from generated.definitions import RepositoryDefinition

plugin = Plugin()


@plugin.discovery.repository()
def find_installations(source_connection):
    return [RepositoryDefinition(name="example", path="/opt/example")]
```

Arguments are passed by keyword, so their names must be those below; their order does not matter. A
function whose arguments have other names is refused when the plugin is loaded. Decorating two functions for
one operation is an error. The name of the function itself is free.

## All operations
"""

_MIGRATION_IDS = """\
## Migration ids

A migration id is numbers joined by points, for example `2024.10.1`. Ids are compared as numbers with
trailing zeros dropped (`1.2.0` is `1.2`), are never zero, and are used once in a plugin, whatever object they
migrate. Migrations run in the order of their ids. A second argument `MigrationType.LUA` marks a migration
from a Lua toolkit; its id is then the toolkit's version, `major.minor`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRODUCTION, *_overview(), ""]
    for operation in OPERATIONS:
        parts += _section(operation)
    parts.append(_MIGRATION_IDS)
    return "\n".join(parts).rstrip("\n") + "\n"


def _overview() -> Iterable[str]:
    yield "Operation | Decorator | Plugin type | Required | When it is missing"
    yield "--------- | --------- | ----------- | -------- | ------------------"
    for operation in OPERATIONS:
        yield " | ".join(
            (
                f"[{operation.title}](#{_anchor(operation.title)})",
                f"`{operation.name}`",
                _types(operation),
                "**yes**" if operation.required else "no",
                operation.when_missing.value,
            )
        )


def _section(operation: Operation) -> Iterable[str]:
    yield f"## {operation.title}"
    yield ""
    yield "```python"
    yield f"@plugin.{operation.name}({_decorator_argument(operation)})"
    yield f"def {operation.attribute}({', '.join(argument.name for argument in operation.arguments)}): ..."
    yield "```"
    yield ""
    yield "Argument | Type | Note"
    yield "-------- | ---- | ----"
    for argument in operation.arguments:
        yield f"`{argument.name}` | `{argument.kind.value}` | {_note(argument)}".rstrip()
    yield ""
    yield f"- Returns: {_result(operation)}"
    yield f"- Plugin type: {_types(operation)}"
    if operation.required:
        yield "- Required: a plugin without it loads with a warning, and the engine operations below fail."
    else:
        yield f"- Optional: without it, {operation.when_missing.value}."
    yield f"- Engine operations: {', '.join(operation.engine_operations) or 'none; called by itself'}"
    yield ""


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _types(operation: Operation) -> str:
    if operation.plugin_types == frozenset(PluginType):
        return "all"
    return ", ".join(sorted(kind.value for kind in operation.plugin_types))


def _decorator_argument(operation: Operation) -> str:
    return '"2024.10.1"' if operation.takes_migration_id else ""


def _note(argument: Argument) -> str:
    notes = []
    if argument.aliases:
        notes.append("may also be called " + ", ".join(f"`{alias}`" for alias in argument.aliases))
    if argument.optional:
        notes.append("may be left out")
    return "; ".join(notes)


def _result(operation: Operation) -> str:
    if operation.result is ResultKind.NONE:
        return "nothing; what the function returns is ignored"
    return f"`{operation.result.value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
