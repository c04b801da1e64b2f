"""Names in a plugin's source that nothing defines, found by pyflakes without running the code."""

from __future__ import annotations

import ast

from dlpx_remote.plugins.problems import Problems, nearest


def undefined_names(tree: ast.Module, problems: Problems) -> None:
    """Warn of every name that is used and never defined.

    A warning, since such a line may be meant for another version of Python and never run.

    Args:
        tree: a module that was parsed and compiles.
        problems: of its file.
    """
    from pyflakes.checker import Checker
    from pyflakes.messages import UndefinedExport, UndefinedLocal, UndefinedName

    checker = Checker(tree, problems.file)
    defined = _names(tree)
    for message in sorted(checker.messages, key=lambda one: (one.lineno, one.col)):
        if isinstance(message, UndefinedName | UndefinedLocal | UndefinedExport):
            name = str(message.message_args[0])
            near = nearest(name, defined - {name})
            problems.warning(
                f"The name `{name}` is used but never defined; the line fails when it runs.",
                f"Did you mean `{near}`?" if near else "Define or import it.",
                line=message.lineno,
                place=name,
            )


def _names(tree: ast.Module) -> set[str]:
    """Whatever is assigned, imported or declared anywhere in the module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found
