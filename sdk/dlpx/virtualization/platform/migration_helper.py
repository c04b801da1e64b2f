"""Data migrations: their ids, and the order in which a plugin upgrade runs them.

A migration id is numbers joined by points. Ids are compared as numbers, number by number, with trailing zeros
dropped: ``1.2.03`` is ``1.2.3`` and ``5.3.0.0`` is ``5.3``. An id is used once in a plugin, whatever object
it migrates, and is never zero, so that there is always room before it. Migrations from a Lua toolkit are
named by that toolkit's version, ``major.minor``, which is used once for each kind of object.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from dlpx.virtualization.platform._plugin_classes import MigrationType
from dlpx.virtualization.platform.exceptions import (
    MigrationIdAlreadyUsedError,
    MigrationIdIncorrectFormatError,
    MigrationIdIncorrectTypeError,
)

__all__ = [
    "LuaUpgradeMigrations",
    "Migration",
    "MigrationFunction",
    "PlatformUpgradeMigrations",
    "migration_numbers",
]

MigrationFunction = Callable[..., Any]
"""Takes the stored object as a dict and returns it as the new version of the plugin wants it."""


@dataclass(frozen=True)
class Migration:
    """One migration of one kind of object.

    Attributes:
        object_type: ``repository``, ``source_config``, ``linked_source``, ``virtual_source`` or ``snapshot``.
        migration_id: in canonical form.
        migration_type: what it starts from.
        function: the plugin's.
    """

    object_type: str
    migration_id: str
    migration_type: MigrationType
    function: MigrationFunction

    @property
    def numbers(self) -> tuple[int, ...]:
        """The id as numbers, trailing zeros dropped: what migrations are ordered by."""
        return migration_numbers(self.migration_id)


def migration_numbers(migration_id: str) -> tuple[int, ...]:
    """An id of the right form as numbers, trailing zeros dropped: equal for ids that mean the same."""
    numbers = [int(number) for number in migration_id.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class UpgradeMigrations(ABC):
    """The migrations of one type that a plugin has. Iterating gives them in the order in which they run."""

    migration_type: MigrationType
    pattern: re.Pattern[str]

    def __init__(self) -> None:
        self._migrations: dict[Hashable, Migration] = {}

    def __iter__(self) -> Iterator[Migration]:
        return iter(sorted(self._migrations.values(), key=lambda migration: migration.numbers))

    def __len__(self) -> int:
        return len(self._migrations)

    def add(self, object_type: str, migration_id: str, function: MigrationFunction) -> Migration:
        """Check a migration's id and remember the migration.

        Args:
            object_type: what it migrates.
            migration_id: as the plugin wrote it.
            function: the plugin's.

        Raises:
            MigrationIdIncorrectTypeError: the id is not a str.
            MigrationIdIncorrectFormatError: the id does not have the right form.
            MigrationIdAlreadyUsedError: another migration has the same canonical id.
        """
        name = function.__name__
        if not isinstance(migration_id, str):
            raise MigrationIdIncorrectTypeError(migration_id, name)
        if not self.pattern.fullmatch(migration_id):
            raise MigrationIdIncorrectFormatError(
                f"The migration id '{migration_id}' used in the function '{name}' does not follow the "
                f"correct format '^{self.pattern.pattern}$'."
            )
        migration = Migration(object_type, self.canonical(migration_id, name), self.migration_type, function)
        key = self._key(migration)
        if key in self._migrations:
            raise MigrationIdAlreadyUsedError(
                f"The migration id '{migration_id}' used in the function '{name}' has the same canonical "
                f"form '{migration.migration_id}' as the one of the function "
                f"'{self._migrations[key].function.__name__}'."
            )
        self._migrations[key] = migration
        return migration

    def get_sorted_ids(self) -> list[str]:
        """Every id, in the order in which the migrations run."""
        return list(dict.fromkeys(migration.migration_id for migration in self))

    @abstractmethod
    def canonical(self, migration_id: str, function_name: str) -> str:
        """The one way to write an id that has the right form."""

    @abstractmethod
    def _key(self, migration: Migration) -> Hashable:
        """What no two migrations may share."""


class PlatformUpgradeMigrations(UpgradeMigrations):
    """Migrations from earlier versions of the plugin."""

    migration_type = MigrationType.PLATFORM
    pattern = re.compile(r"[0-9]+(\.[0-9]+)*")

    def canonical(self, migration_id: str, function_name: str) -> str:
        numbers = migration_numbers(migration_id)
        if not numbers:
            raise MigrationIdIncorrectFormatError(
                f"The migration id '{migration_id}' used in the function '{function_name}' cannot be used "
                "because a 0 migration id is not allowed."
            )
        return ".".join(map(str, numbers))

    def _key(self, migration: Migration) -> Hashable:
        return migration.migration_id


class LuaUpgradeMigrations(UpgradeMigrations):
    """Migrations from a Lua toolkit."""

    migration_type = MigrationType.LUA
    pattern = re.compile(r"[0-9]+\.[0-9]+")

    def canonical(self, migration_id: str, function_name: str) -> str:  # noqa: ARG002 - no id is refused here
        return ".".join(str(int(number)) for number in migration_id.split("."))

    def _key(self, migration: Migration) -> Hashable:
        return migration.object_type, migration.migration_id
