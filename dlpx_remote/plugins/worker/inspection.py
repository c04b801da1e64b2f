"""What a plugin's code implements, as its worker found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from dlpx_remote.plugins.problems import Problem


@dataclass(frozen=True)
class ImplementedOperation:
    """One function that is decorated for an operation.

    Attributes:
        name: for example ``linked.pre_snapshot``.
        file: relative to the plugin's source directory where it lies there.
        line: of the function's first decorator, or of ``def``.
        parameters: the function's parameter names in its own order, ``*`` and ``**`` included.
        migration_id: for migrations, in canonical form.
        migration_type: for migrations, ``PLATFORM`` or ``LUA``.
    """

    name: str
    file: str
    line: int
    parameters: tuple[str, ...]
    migration_id: str | None = None
    migration_type: str | None = None


@dataclass(frozen=True)
class Inspection:
    """All that a plugin's code implements, and what is wrong with it.

    Attributes:
        operations: in the order of the table of operations; migrations in the order in which they run.
        problems: an import failure, wrong argument names, operations that are never called.
        import_failed: the kind of exception that importing the entry point raised; empty when it worked.
        import_trace: its stack trace.
    """

    operations: tuple[ImplementedOperation, ...]
    problems: tuple[Problem, ...]
    import_failed: str = ""
    import_trace: str = ""

    def operation(self, name: str) -> ImplementedOperation | None:
        """The function for ``name``, the first one for migrations; None when there is none."""
        return next((found for found in self.operations if found.name == name), None)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the plugin from being used."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From what a worker sent; raises KeyError, TypeError or ValueError when that is malformed."""
        return cls(
            operations=tuple(
                ImplementedOperation(**(entry | {"parameters": tuple(entry["parameters"])}))
                for entry in found["operations"]
            ),
            problems=tuple(Problem(**entry) for entry in found["problems"]),
            import_failed=str(found.get("import_failed", "")),
            import_trace=str(found.get("import_trace", "")),
        )
