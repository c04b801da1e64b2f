"""The object that a plugin's entry point names, and the decorators that fill it.

The decorators are made from the table of operations: a group (``plugin.linked``) has whatever the table
lists for it. A decorator hands back the very function it was given, so that a plugin's own tests can call it
directly; what the function takes and returns is checked by whoever runs the operation.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Never, TypeVar

from dlpx.virtualization.platform._plugin_classes import MigrationType
from dlpx.virtualization.platform.exceptions import (
    DecoratorNotCalledError,
    DecoratorNotFunctionError,
    OperationAlreadyDefinedError,
    UnknownMigrationTypeError,
    UnknownOperationError,
)
from dlpx.virtualization.platform.migration_helper import (
    LuaUpgradeMigrations,
    Migration,
    PlatformUpgradeMigrations,
)
from dlpx.virtualization.platform.operation_table import OPERATIONS

__all__ = ["Plugin"]

Function = TypeVar("Function", bound=Callable[..., Any])
Implementations = dict[str, Callable[..., Any]]


class Plugin:
    """A plugin's operations.

    Attributes:
        discovery, linked, virtual: the decorators of operations, as in ``@plugin.discovery.repository()``.
        upgrade: the decorators of migrations, as in ``@plugin.upgrade.repository("2024.1")``.
    """

    def __init__(self) -> None:
        self._implementations: Implementations = {}
        self.discovery = OperationGroup("discovery", self._implementations)
        self.linked = OperationGroup("linked", self._implementations)
        self.virtual = OperationGroup("virtual", self._implementations)
        self.upgrade = UpgradeGroup("upgrade")

    @property
    def implementations(self) -> Mapping[str, Callable[..., Any]]:
        """The functions of this plugin by operation (``linked.pre_snapshot``), migrations apart."""
        return MappingProxyType(self._implementations)

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """The migrations of this plugin in the order in which they run, those from a Lua toolkit first."""
        return (*self.upgrade.lua_migrations, *self.upgrade.platform_migrations)


class Group:
    """The decorators of one group; attribute access makes them from the table of operations."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._attributes = tuple(
            dict.fromkeys(entry.attribute for entry in OPERATIONS if entry.group == name)
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._attributes]

    def _require(self, attribute: str) -> None:
        """Raise unless the table has the operation; what Python asks for itself fails plainly."""
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        if attribute in self._attributes:
            return
        nearest = difflib.get_close_matches(attribute, self._attributes, n=1)
        listed = ", ".join(self._attributes)
        hint = f"did you mean {self._name}.{nearest[0]}?" if nearest else f"known are {listed}."
        raise UnknownOperationError(f"There is no plugin operation {self._name}.{attribute}: {hint}")


class OperationGroup(Group):
    """``plugin.discovery``, ``plugin.linked`` and ``plugin.virtual``."""

    def __init__(self, name: str, implementations: Implementations) -> None:
        super().__init__(name)
        self._implementations = implementations

    def __getattr__(self, attribute: str) -> OperationDecorator:
        self._require(attribute)
        return OperationDecorator(f"{self._name}.{attribute}", self._implementations)


class OperationDecorator:
    """What ``plugin.discovery.repository`` is; calling it gives the decorator proper."""

    def __init__(self, operation: str, implementations: Implementations) -> None:
        self._operation = operation
        self._implementations = implementations

    def __call__(self, *arguments: Never) -> Callable[[Function], Function]:
        """The decorator.

        Raises:
            DecoratorNotCalledError: the parentheses were left out, so that the function came here.
        """
        if arguments:
            raise DecoratorNotCalledError(_name_of(arguments[0]), f"@plugin.{self._operation}()")
        return self._register

    def _register(self, function: Function) -> Function:
        _require_function(function, self._operation)
        known = self._implementations.get(self._operation)
        if known is not None:
            raise OperationAlreadyDefinedError(self._operation, _place_of(known), _place_of(function))
        self._implementations[self._operation] = function
        return function


class UpgradeGroup(Group):
    """``plugin.upgrade``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.platform_migrations = PlatformUpgradeMigrations()
        self.lua_migrations = LuaUpgradeMigrations()

    def __getattr__(self, attribute: str) -> MigrationDecorator:
        self._require(attribute)
        return MigrationDecorator(attribute, self)


class MigrationDecorator:
    """What ``plugin.upgrade.repository`` is; calling it with a migration id gives the decorator proper."""

    def __init__(self, object_type: str, group: UpgradeGroup) -> None:
        self._object_type = object_type
        self._group = group

    def __call__(
        self, migration_id: str, migration_type: MigrationType = MigrationType.PLATFORM
    ) -> Callable[[Function], Function]:
        """The decorator.

        Args:
            migration_id: orders the migrations, see :mod:`dlpx.virtualization.platform.migration_helper`.
            migration_type: what the migration starts from.

        Raises:
            DecoratorNotCalledError: the parentheses were left out, so that the function came here.
            UnknownMigrationTypeError: the second argument is no MigrationType.
        """
        operation = f"upgrade.{self._object_type}"
        if callable(migration_id):
            raise DecoratorNotCalledError(_name_of(migration_id), f'@plugin.{operation}("<migration id>")')
        if not isinstance(migration_type, MigrationType):
            raise UnknownMigrationTypeError(migration_type)

        def register(function: Function) -> Function:
            _require_function(function, operation)
            if migration_type is MigrationType.LUA:
                self._group.lua_migrations.add(self._object_type, migration_id, function)
            else:
                self._group.platform_migrations.add(self._object_type, migration_id, function)
            return function

        return register


def _require_function(function: object, operation: str) -> None:
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise DecoratorNotFunctionError(_name_of(function), operation)


def _name_of(value: object) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _place_of(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"'{function.__name__}' at {code.co_filename}:{code.co_firstlineno}"
