from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from dlpx.virtualization.platform.exceptions import (
    MigrationIdAlreadyUsedError,
    MigrationIdIncorrectFormatError,
    MigrationIdIncorrectTypeError,
)
from dlpx.virtualization.platform.migration_helper import LuaUpgradeMigrations, PlatformUpgradeMigrations

Numbers = list[int]
numbers_that_are_an_id = some.lists(some.integers(0, 10**6), min_size=1, max_size=5).filter(any)


def migrate(old: dict[str, Any]) -> dict[str, Any]:
    return old


def written(numbers: Numbers) -> str:
    return ".".join(map(str, numbers))


def stripped(numbers: Numbers) -> Numbers:
    while numbers[-1:] == [0]:
        numbers = numbers[:-1]
    return numbers


@given(numbers_that_are_an_id, some.integers(0, 3), some.integers(0, 3))
def test_leading_and_trailing_zeros_do_not_make_another_id(
    numbers: Numbers, leading: int, trailing: int
) -> None:
    migrations = PlatformUpgradeMigrations()
    first = migrations.add("repository", written(numbers), migrate)
    same = ".".join("0" * leading + str(number) for number in numbers) + ".0" * trailing
    with pytest.raises(MigrationIdAlreadyUsedError, match=re.escape(f"'{same}'")):
        migrations.add("snapshot", same, migrate)
    assert first.migration_id == written(stripped(numbers))
    assert first.numbers == tuple(stripped(numbers))


@given(some.lists(numbers_that_are_an_id.map(stripped), unique_by=tuple, max_size=8))
def test_migrations_are_ordered_as_lists_of_numbers(ids: list[Numbers]) -> None:
    migrations = PlatformUpgradeMigrations()
    for numbers in ids:
        migrations.add("repository", written(numbers), migrate)
    assert migrations.get_sorted_ids() == [written(numbers) for numbers in sorted(ids)]
    assert len(migrations) == len(ids)


@given(some.text())
def test_any_other_text_is_refused_by_name(text: str) -> None:
    assume(not re.fullmatch(r"[0-9]+(\.[0-9]+)*", text))
    with pytest.raises(MigrationIdIncorrectFormatError) as raised:
        PlatformUpgradeMigrations().add("repository", text, migrate)
    assert "'migrate'" in raised.value.message


@pytest.mark.parametrize(
    "migration_id", ["", ".", "1.", ".1", "1..2", "v1", "1.0-beta", " 1", "1\n", "-1", "١"]
)
def test_an_id_of_another_form_is_refused_with_the_form_expected(migration_id: str) -> None:
    with pytest.raises(MigrationIdIncorrectFormatError, match=r"does not follow the correct format"):
        PlatformUpgradeMigrations().add("repository", migration_id, migrate)


@pytest.mark.parametrize("migration_id", ["0", "0.0", "00.000.0"])
def test_an_id_of_zero_is_refused(migration_id: str) -> None:
    with pytest.raises(MigrationIdIncorrectFormatError, match="a 0 migration id is not allowed"):
        PlatformUpgradeMigrations().add("repository", migration_id, migrate)


@pytest.mark.parametrize("migration_id", [1, 1.5, None, b"1.0"])
@pytest.mark.parametrize("migrations", [PlatformUpgradeMigrations, LuaUpgradeMigrations])
def test_an_id_that_is_no_string_is_refused(
    migration_id: Any, migrations: type[PlatformUpgradeMigrations | LuaUpgradeMigrations]
) -> None:
    with pytest.raises(MigrationIdIncorrectTypeError, match=r"'migrate' should be a string"):
        migrations().add("repository", migration_id, migrate)


@pytest.mark.parametrize("version", ["1", "1.2.3", "1.x", ""])
def test_a_lua_version_has_major_and_minor(version: str) -> None:
    with pytest.raises(MigrationIdIncorrectFormatError):
        LuaUpgradeMigrations().add("repository", version, migrate)


def test_a_lua_version_is_used_once_for_each_kind_of_object() -> None:
    migrations = LuaUpgradeMigrations()
    migrations.add("repository", "1.1", migrate)
    migrations.add("snapshot", "1.1", migrate)
    with pytest.raises(MigrationIdAlreadyUsedError, match=r"'1\.01'"):
        migrations.add("repository", "1.01", migrate)


def test_lua_versions_are_ordered_as_numbers() -> None:
    migrations = LuaUpgradeMigrations()
    for version in ("1.10", "1.9", "1.0", "0.3"):
        migrations.add("repository", version, migrate)
    assert migrations.get_sorted_ids() == ["0.3", "1.0", "1.9", "1.10"]
