from __future__ import annotations

from typing import Any

import pytest

from dlpx.virtualization.platform import MigrationType, Plugin
from dlpx.virtualization.platform.exceptions import (
    DecoratorNotCalledError,
    DecoratorNotFunctionError,
    MigrationIdAlreadyUsedError,
    OperationAlreadyDefinedError,
    PlatformError,
    UnknownMigrationTypeError,
    UnknownOperationError,
)
from dlpx.virtualization.platform.operation_table import OPERATIONS, Operation

ORDINARY = [operation for operation in OPERATIONS if not operation.takes_migration_id]
MIGRATIONS = [operation for operation in OPERATIONS if operation.takes_migration_id]


def decorator_of(plugin: Plugin, operation: Operation) -> Any:
    return getattr(getattr(plugin, operation.group), operation.attribute)


@pytest.mark.parametrize("operation", ORDINARY, ids=lambda operation: operation.title)
def test_every_operation_of_the_table_has_a_decorator_that_hands_back_its_function(
    operation: Operation,
) -> None:
    plugin = Plugin()

    def implementation() -> str:
        return "called directly"

    decorated = decorator_of(plugin, operation)()(implementation)
    assert decorated is implementation
    assert dict(plugin.implementations) == {operation.name: implementation}


@pytest.mark.parametrize("operation", ORDINARY, ids=lambda operation: operation.title)
def test_two_functions_for_one_operation_are_an_error_that_names_both(operation: Operation) -> None:
    plugin = Plugin()

    def first() -> None: ...
    def second() -> None: ...

    decorator_of(plugin, operation)()(first)
    with pytest.raises(OperationAlreadyDefinedError) as raised:
        decorator_of(plugin, operation)()(second)
    for fact in (operation.name, "'first' at ", "'second' at ", f"{__file__}:"):
        assert fact in raised.value.message
    assert plugin.implementations[operation.name] is first


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.title)
def test_a_decorator_without_parentheses_says_how_to_write_it(operation: Operation) -> None:
    plugin = Plugin()

    def find() -> None: ...

    with pytest.raises(DecoratorNotCalledError) as raised:
        decorator_of(plugin, operation)(find)
    assert "'find'" in raised.value.message
    assert f"@plugin.{operation.name}(" in raised.value.message


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.title)
def test_only_a_function_can_be_decorated(operation: Operation) -> None:
    plugin = Plugin()
    arguments = ("1",) if operation.takes_migration_id else ()
    for wrong in (Plugin, "find", None, plugin):
        with pytest.raises(DecoratorNotFunctionError, match=operation.name):
            decorator_of(plugin, operation)(*arguments)(wrong)
    assert not plugin.implementations
    assert not plugin.migrations


def test_a_method_may_implement_an_operation() -> None:
    class Discovery:
        def find(self) -> str:
            return "found"

    plugin = Plugin()
    plugin.discovery.repository()(Discovery().find)
    assert plugin.implementations["discovery.repository"]() == "found"


def test_a_misspelt_operation_is_answered_with_the_nearest() -> None:
    plugin = Plugin()
    with pytest.raises(
        UnknownOperationError, match=r"discovery\.repositry: did you mean discovery\.repository\?"
    ):
        _ = plugin.discovery.repositry
    with pytest.raises(UnknownOperationError, match=r"virtual\.zzz: known are configure, "):
        _ = plugin.virtual.zzz
    assert not hasattr(plugin.linked, "configure")


def test_a_group_lists_its_operations_for_an_editor() -> None:
    assert {"repository", "source_config"} <= set(dir(Plugin().discovery))


def test_every_plugin_object_has_operations_of_its_own() -> None:
    one, other = Plugin(), Plugin()
    one.virtual.start()(lambda: None)
    assert not other.implementations


def test_implementations_cannot_be_changed_from_outside() -> None:
    implementations: Any = Plugin().implementations
    with pytest.raises(TypeError):
        implementations["virtual.start"] = print


@pytest.mark.parametrize("operation", MIGRATIONS, ids=lambda operation: operation.title)
def test_every_migration_decorator_registers_its_function_with_canonical_id(operation: Operation) -> None:
    plugin = Plugin()

    def migrate(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "new": True}

    assert decorator_of(plugin, operation)("2024.01.0")(migrate) is migrate
    (migration,) = plugin.migrations
    assert migration.object_type == operation.attribute
    assert migration.migration_id == "2024.1"
    assert migration.migration_type is MigrationType.PLATFORM
    assert migration.function is migrate


def test_a_migration_id_is_unique_over_all_kinds_of_objects() -> None:
    plugin = Plugin()

    @plugin.upgrade.repository("1.2.0")
    def add_version(old_repository: dict[str, Any]) -> dict[str, Any]:
        return old_repository

    with pytest.raises(MigrationIdAlreadyUsedError) as raised:

        @plugin.upgrade.snapshot("1.02")
        def add_time(old_snapshot: dict[str, Any]) -> dict[str, Any]:
            return old_snapshot

    for fact in ("'1.02'", "'add_time'", "'1.2'", "'add_version'"):
        assert fact in raised.value.message


def test_migrations_come_in_the_order_of_their_numbers_after_those_from_lua() -> None:
    plugin = Plugin()

    def migrate(old: dict[str, Any]) -> dict[str, Any]:
        return old

    plugin.upgrade.snapshot("1.10")(migrate)
    plugin.upgrade.repository("1.9")(migrate)
    plugin.upgrade.repository("1.2", MigrationType.LUA)(migrate)
    plugin.upgrade.snapshot("1.2", migration_type=MigrationType.LUA)(migrate)
    plugin.upgrade.linked_source("1.9.1")(migrate)
    found = [(migration.migration_type.name, migration.migration_id) for migration in plugin.migrations]
    assert found == [
        ("LUA", "1.2"),
        ("LUA", "1.2"),
        ("PLATFORM", "1.9"),
        ("PLATFORM", "1.9.1"),
        ("PLATFORM", "1.10"),
    ]


def test_an_unknown_migration_type_is_refused() -> None:
    wrong: Any = "LUA"
    with pytest.raises(UnknownMigrationTypeError, match=r"'LUA'.*MigrationType\.PLATFORM"):
        Plugin().upgrade.repository("1.0", wrong)


def test_an_error_while_putting_a_plugin_together_is_a_platform_error() -> None:
    for error in (
        DecoratorNotCalledError,
        DecoratorNotFunctionError,
        MigrationIdAlreadyUsedError,
        OperationAlreadyDefinedError,
        UnknownOperationError,
    ):
        assert issubclass(error, PlatformError)
