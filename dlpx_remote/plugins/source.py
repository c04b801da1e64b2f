"""A plugin's source, read without running it: does it parse, and are its operations declared as they must be.

Everything that is wrong is found at once, where running the code would stop at the first. What cannot be
known from the text alone (names made at run time, decorators of the plugin's own) is left to the worker,
which really imports the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlpx.virtualization.platform.exceptions import PlatformError
from dlpx.virtualization.platform.migration_helper import LuaUpgradeMigrations, PlatformUpgradeMigrations
from dlpx.virtualization.platform.operation_table import OPERATIONS, Operation, PluginType, operations_for
from dlpx_remote.plugins.names import undefined_names
from dlpx_remote.plugins.problems import Problems, did_you_mean, nearest
from dlpx_remote.plugins.worker.inside import signatures

_GROUPS = tuple(dict.fromkeys(entry.group for entry in OPERATIONS))
_NAMES = tuple(dict.fromkeys(entry.name for entry in OPERATIONS))
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Source:
    """What a plugin's source says of its operations.

    Attributes:
        problems: those of each file, in the order of the files.
        operations: the names of the operations that some function is decorated for.
        meant: those that a misspelled decorator probably stands for.
        entry_file: the entry point's file relative to the plugin's directory; empty when there is none.
    """

    problems: list[Problems] = field(default_factory=list)
    operations: set[str] = field(default_factory=set)
    meant: set[str] = field(default_factory=set)
    entry_file: str = ""


def read_source(
    directory: Path, source_directory: Path, entry_point: str | None, plugin_type: PluginType | None
) -> Source:
    """Read every Python file below ``source_directory``.

    Args:
        directory: the plugin's directory, which the files of problems are relative to.
        source_directory: where the code lies.
        entry_point: ``module:object``; None when it is not known.
        plugin_type: decides which arguments an operation takes; None when it is not known.
    """
    reading = _Reading(plugin_type)
    reading.result.entry_file = entry_file(directory, source_directory, entry_point)
    _, _, name = (entry_point or ":").partition(":")
    for path in _python_files(source_directory):
        if path.relative_to(source_directory).parts[0] == "generated":
            continue
        problems = Problems(str(path.relative_to(directory)))
        reading.result.problems.append(problems)
        is_entry = problems.file == reading.result.entry_file
        tree = _parse(path, problems)
        if tree is None:
            continue
        reading.file(tree, problems, name if is_entry else None)
        undefined_names(tree, problems)
    return reading.result


def _python_files(directory: Path) -> Iterator[Path]:
    """The Python files below ``directory``, in order; what is hidden or a link is left out."""
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith((".", "__pycache__")) or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _python_files(entry)
        elif entry.suffix == ".py" and entry.is_file():
            yield entry


def _parse(path: Path, problems: Problems) -> ast.Module | None:
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content, str(path))
            # Some errors (`return` outside of a function) show only when code is made of the tree.
            compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        text = f": `{error.text.strip()}`" if error.text and error.text.strip() else ""
        problems.error(
            f"This is not valid Python 3: {error.msg}{text}.",
            "Code written for Python 2 must be carried over." if _looks_like_python_2(error.msg) else "",
            line=error.lineno,
        )
    except (ValueError, RecursionError, MemoryError) as error:
        problems.error(f"This file cannot be read as Python: {error or 'it is nested too deeply'}.")
    except PermissionError:
        problems.error("The file cannot be read: permission denied.", "Give your account read access to it.")
    except OSError as error:
        problems.error(f"The file cannot be read: {error.strerror or error}.")
    else:
        return tree
    return None


def _looks_like_python_2(message: str) -> bool:
    return bool(
        re.search(r"Missing parentheses in call to|multiple exception types|leading zeros|octal", message)
    )


@dataclass(frozen=True)
class _Declared:
    """A function that was decorated for an operation before."""

    function: str
    file: str
    line: int


class _Reading:
    """One reading of a plugin's source."""

    def __init__(self, plugin_type: PluginType | None) -> None:
        self._operations = {entry.name: entry for entry in OPERATIONS}
        if plugin_type is not None:
            self._operations |= operations_for(plugin_type)
        self._plugin_type = plugin_type
        self._declared: dict[str, _Declared] = {}
        self._platform_migrations = PlatformUpgradeMigrations()
        self._lua_migrations = LuaUpgradeMigrations()
        self._migration_lines: dict[str, _Declared] = {}
        self.result = Source()

    def file(self, tree: ast.Module, problems: Problems, entry_object: str | None) -> None:
        plugins, imported = _plugin_names(tree)
        if entry_object is not None:
            self._entry_object(tree, problems, entry_object)
        for function in _functions(tree.body):
            for decorator in function.decorator_list:
                path, _ = _dotted(decorator)
                if len(path) < 2 or path[0] not in plugins | imported:
                    continue
                # An imported name may be anything: only what names a group is taken for a plugin.
                if path[0] in plugins or path[1] in _GROUPS:
                    _Decoration(self, problems, function, decorator).check()

    def _entry_object(self, tree: ast.Module, problems: Problems, name: str) -> None:
        names = _top_level_names(tree)
        if name in names or "*" in names:
            return
        problems.error(
            f"The entry point names the object `{name}`, which this module does not define.",
            did_you_mean(name, sorted(names)) if nearest(name, names) else "Write `plugin = Plugin()`.",
            place="entryPoint",
        )

    def operation(self, name: str) -> Operation:
        return self._operations[name]

    def belongs(self, name: str) -> bool:
        return self._plugin_type is None or self._plugin_type in self._operations[name].plugin_types

    def declare(self, name: str, declared: _Declared) -> _Declared | None:
        """Remember an operation's function; returns the one that it has already."""
        self.result.operations.add(name)
        earlier = self._declared.get(name)
        self._declared.setdefault(name, declared)
        return earlier

    def migrate(self, name: str, migration_id: str, lua: bool, declared: _Declared) -> str:
        """Remember a migration; returns what is wrong with its id."""
        self.result.operations.add(name)
        known = self._lua_migrations if lua else self._platform_migrations

        def migration() -> None: ...

        migration.__name__ = declared.function
        try:
            added = known.add(name.partition(".")[2], migration_id, migration)
        except PlatformError as error:
            earlier = next(
                (
                    one
                    for one in self._migration_lines.values()
                    if f"'{one.function}'" in str(error) and one.function != declared.function
                ),
                None,
            )
            where = f" It is at {earlier.file}:{earlier.line}." if earlier else ""
            return f"{error}{where}"
        self._migration_lines[f"{lua}{added.migration_id}"] = declared
        return ""


class _Decoration:
    """One decorator of one function."""

    def __init__(
        self,
        reading: _Reading,
        problems: Problems,
        function: _Function,
        decorator: ast.expr,
    ) -> None:
        path, self._called = _dotted(decorator)
        self._reading = reading
        self._problems = problems
        self._function = function
        self._written = "@" + ".".join(path)
        self._plugin = path[0]
        self._name = ".".join(path[1:])
        self._line = decorator.lineno

    def check(self) -> None:
        if self._name not in _NAMES:
            self._unknown()
            return
        operation = self._reading.operation(self._name)
        if self._called is None:
            argument = '"<migration id>"' if operation.takes_migration_id else ""
            self._error(
                f"The decorator `{self._written}` was written without parentheses.",
                f"Write `{self._written}({argument})`.",
            )
        elif not operation.takes_migration_id and (self._called.args or self._called.keywords):
            self._error(f"The decorator `{self._written}` takes no arguments.", f"Write `{self._written}()`.")
        if not self._reading.belongs(self._name):
            kinds = " and ".join(kind.value for kind in sorted(operation.plugin_types, key=str))
            self._problems.warning(
                f"`{self._name}` exists only for plugins of type {kinds}: this function is never called.",
                line=self._line,
                place=self._name,
            )
            return
        declared = _Declared(self._function.name, self._problems.file, self._line)
        if operation.takes_migration_id:
            self._migration(declared)
        else:
            earlier = self._reading.declare(self._name, declared)
            if earlier is not None:
                self._error(
                    f"Two functions for one operation: `{self._function.name}` is here, and "
                    f"`{earlier.function}` at {earlier.file}:{earlier.line} is for it as well.",
                    "Keep one of them.",
                )
        # A decorator of the plugin's own, applied before, may change what the function takes.
        if all(_dotted(one)[0][:1] == [self._plugin] for one in self._function.decorator_list):
            self._arguments(operation)

    def _error(self, message: str, hint: str) -> None:
        self._problems.error(message, hint, line=self._line, place=self._name)

    def _unknown(self) -> None:
        group, _, attribute = self._name.partition(".")
        of_group = [entry for entry in _NAMES if entry.startswith(f"{group}.")]
        inside = nearest(attribute, [name.partition(".")[2] for name in of_group])
        # Without a group the first operation of that name is meant.
        near = next((name for name in _NAMES if name.endswith(f".{self._name}")), None)
        if near is None:
            near = f"{group}.{inside}" if inside else nearest(self._name, _NAMES)
        if near is not None:
            self._reading.result.meant.add(near)
            hint = f"Did you mean `@{self._plugin}.{near}()`?"
        else:
            hint = f"Known are: {', '.join(of_group or _NAMES)}."
        self._error(f"There is no plugin operation `{self._name}`.", hint)

    def _migration(self, declared: _Declared) -> None:
        if self._called is None:
            return
        given = [*self._called.args, *(one.value for one in self._called.keywords)]
        if not given:
            self._error("A migration needs an id.", f'Write `{self._written}("<migration id>")`.')
            return
        first = given[0]
        if not isinstance(first, ast.Constant):
            return
        if not isinstance(first.value, str):
            self._error(f"A migration id is a string, but found {first.value!r}.", "Put it in quotes.")
            return
        lua = any(isinstance(one, ast.Attribute) and one.attr == "LUA" for one in given[1:])
        wrong = self._reading.migrate(self._name, first.value, lua, declared)
        if wrong:
            self._error(wrong, "Ids are numbers joined by points, each used once in a plugin.")

    def _arguments(self, operation: Operation) -> None:
        stand_in = _stand_in(self._function)
        wrong = signatures.complaint(operation, stand_in)
        if wrong is None:
            return
        known = [name for argument in operation.arguments for name in argument.names]
        found = signatures.parameters_of(stand_in)
        missing = [name for name in known if name not in found]
        renames = [
            f"`{name}` to `{near}`"
            for name in found
            if name not in known and (near := nearest(name, missing)) is not None
        ]
        hint = f"Rename {', '.join(renames)}." if renames else "The names must match; their order is free."
        self._error(wrong, hint)


def entry_file(directory: Path, source_directory: Path, entry_point: str | None) -> str:
    """The entry point's file relative to the plugin's directory; empty when there is none."""
    names = (entry_point or "").partition(":")[0].split(".")
    if not all(name.isidentifier() for name in names):
        return ""
    place = source_directory.joinpath(*names)
    for path in (place / "__init__.py", place.with_name(f"{names[-1]}.py")):
        if path.is_file():
            return str(path.relative_to(directory))
    return ""


def missing_operations(operations: Iterable[str], plugin_type: PluginType, problems: Problems) -> None:
    """Warn of each required operation that is not among ``operations``."""
    for name, operation in operations_for(plugin_type).items():
        if operation.required and name not in operations:
            failing = ", ".join(operation.engine_operations)
            problems.warning(
                f"The required operation `{name}` is missing: {failing} will fail.",
                f"Decorate a function with `@plugin.{name}()`.",
                place=name,
            )


def _stand_in(function: _Function) -> Callable[..., None]:
    """A function that does nothing, with the parameters that ``function`` is written with."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    without_default = len(positional) - len(given.defaults)
    kind = inspect.Parameter

    def made(name: str, kind_of: inspect._ParameterKind, has_default: bool = False) -> inspect.Parameter:
        return inspect.Parameter(name, kind_of, default=None if has_default else inspect.Parameter.empty)

    parameters = [
        made(
            one.arg,
            kind.POSITIONAL_ONLY if index < len(given.posonlyargs) else kind.POSITIONAL_OR_KEYWORD,
            index >= without_default,
        )
        for index, one in enumerate(positional)
    ]
    if given.vararg:
        parameters.append(made(given.vararg.arg, kind.VAR_POSITIONAL))
    parameters += [
        made(one.arg, kind.KEYWORD_ONLY, default is not None)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg:
        parameters.append(made(given.kwarg.arg, kind.VAR_KEYWORD))

    def stand_in() -> None: ...

    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return stand_in


def _dotted(decorator: ast.expr) -> tuple[list[str], ast.Call | None]:
    """``@a.b.c(…)`` as its names and its call; no names when it has another form."""
    call = decorator if isinstance(decorator, ast.Call) else None
    node = call.func if call else decorator
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return ([node.id, *names] if isinstance(node, ast.Name) else []), call


def _functions(body: Iterable[ast.stmt]) -> Iterator[_Function]:
    """Functions of a module in their order, those under `if` and `try` included."""
    for statement in body:
        if isinstance(statement, _Function):
            yield statement
        elif not isinstance(statement, ast.ClassDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _functions(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                yield from _functions(handler.body)


def _plugin_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names that are a ``Plugin()`` made in this module, and names that it imports from elsewhere."""
    made, imported = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            path, _ = _dotted(node.value)
            if path and path[-1] == "Plugin":
                made |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name for alias in node.names}
    return made, imported


def _top_level_names(tree: ast.Module) -> set[str]:
    """Names that a module may have after its import; ``*`` when it imports all of another."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names
