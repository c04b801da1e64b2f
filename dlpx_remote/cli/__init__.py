"""The ``dlpx-remote`` command: words and tables, no decisions.

This room turns what a person types into calls of :mod:`dlpx_remote.engine` and what comes back into tables,
JSON and exit codes. It knows no host, no plugin and no database. Nothing heavy is imported before a command
needs it, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code; ``docs/command-line.md`` says what each means.
    """
    from dlpx_remote.cli.application import run

    return run(arguments)
