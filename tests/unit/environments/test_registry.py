"""Environments in the state."""

from __future__ import annotations

import getpass
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.environments.model import (
    Authentication,
    EnvironmentSpec,
    HostFacts,
    HostType,
    SecretReference,
)
from dlpx_remote.environments.registry import Registry, user_by_name
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.store import Store


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def registry(state: Path) -> Iterator[Registry]:
    store = Store(state)
    yield Registry(store)
    store.close()


SPEC = EnvironmentSpec("db1", "db1.example.com", user="anna")


def test_everything_said_of_an_environment_comes_back(registry: Registry) -> None:
    spec = EnvironmentSpec(
        name="db1",
        host="db1.example.com",
        user="anna",
        port=2222,
        authentication=Authentication(
            agent=True,
            key="/keys/id",
            passphrase_from=SecretReference("command", "pass show key"),
            password_from=SecretReference("env", "DB1_PASSWORD"),
        ),
        jump=("bob@gate:22", "gate2"),
        host_key="accept-new",
        fingerprint="SHA256:" + "a" * 43,
        directory="/var/opt/dlpx-remote",
    )
    added = registry.add(spec)
    assert registry.get("db1") == added == registry.get("UNIX_HOST_ENVIRONMENT-1")
    assert (added.reference, added.host_reference) == ("UNIX_HOST_ENVIRONMENT-1", "UNIX_HOST-1")
    assert (added.host, added.port, added.jump) == (spec.host, spec.port, spec.jump)
    assert (added.host_key, added.fingerprint, added.directory) == (
        spec.host_key,
        spec.fingerprint,
        spec.directory,
    )
    user = added.primary_user
    assert (user.reference, user.name, user.authentication) == ("HOST_USER-1", "anna", spec.authentication)
    assert added.facts is None


def test_references_are_never_used_again(registry: Registry) -> None:
    registry.add(SPEC)
    registry.remove("db1")
    again = registry.add(SPEC)
    assert again.reference == "UNIX_HOST_ENVIRONMENT-2"
    assert again.host_reference == "UNIX_HOST-2"
    assert again.primary_user.reference == "HOST_USER-2"


def test_windows_environments_have_references_of_their_own_form(registry: Registry) -> None:
    login = Authentication(password_from=SecretReference("env", "PASSWORD"))
    added = registry.add(
        EnvironmentSpec("win", "win1", user="anna", host_type=HostType.WINDOWS, authentication=login)
    )
    assert added.reference == "WINDOWS_HOST_ENVIRONMENT-1"
    assert added.host_reference == "WINDOWS_HOST-1"


def test_a_name_is_taken_once(registry: Registry) -> None:
    registry.add(SPEC)
    with pytest.raises(AlreadyExists, match="an environment named 'db1' already") as caught:
        registry.add(SPEC)
    assert "dlpx-remote env remove db1" in caught.value.action


def test_an_unusable_environment_leaves_nothing(registry: Registry) -> None:
    with pytest.raises(InvalidRequest):
        registry.add(EnvironmentSpec("db1", "db1", port=0))
    assert registry.all() == []


def test_an_unknown_name_is_answered_with_the_nearest(registry: Registry) -> None:
    with pytest.raises(NotFound, match="there is none at all") as caught:
        registry.get("db1")
    assert "dlpx-remote env add" in caught.value.action
    registry.add(SPEC)
    registry.add(EnvironmentSpec("web", "web", user="anna"))
    with pytest.raises(NotFound) as caught:
        registry.get("bd1")
    assert "Did you mean 'db1'?" in caught.value.action
    with pytest.raises(NotFound) as caught:
        registry.remove("zzzzzz")
    assert "Known are: db1, web." in caught.value.action


def test_the_user_is_the_current_one_unless_said(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.add(EnvironmentSpec("a", "a")).primary_user.name == getpass.getuser()
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host b\n  User carl\n")
    assert registry.add(EnvironmentSpec("b", "b")).primary_user.name == "carl"


def test_paths_are_kept_absolute_because_commands_run_elsewhere_later(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    authentication = Authentication(key="keys/id", password_from=SecretReference("file", "~/password"))
    user = registry.add(EnvironmentSpec("a", "a", user="anna", authentication=authentication)).primary_user
    assert user.authentication.key == str(tmp_path / "keys" / "id")
    assert user.authentication.password_from == SecretReference("file", "/home/anna/password")


def test_users_are_added_made_primary_and_removed(registry: Registry) -> None:
    registry.add(SPEC)
    two = registry.add_user("db1", "bob", Authentication(agent=True), primary=False)
    assert [(user.name, user.primary) for user in two.users] == [("anna", True), ("bob", False)]
    assert two.users[1].reference == "HOST_USER-2"
    changed = registry.set_primary("db1", "bob")
    assert changed.primary_user.name == "bob"
    three = registry.add_user("db1", "carl", Authentication(), primary=True)
    assert [user.name for user in three.users if user.primary] == ["carl"]
    assert [user.name for user in registry.remove_user("db1", "anna").users] == ["bob", "carl"]


def test_the_primary_user_cannot_be_removed(registry: Registry) -> None:
    registry.add(SPEC)
    with pytest.raises(InvalidRequest, match="primary user of db1") as caught:
        registry.remove_user("db1", "anna")
    assert "Add another user" in caught.value.action
    registry.add_user("db1", "bob", Authentication(), primary=False)
    with pytest.raises(InvalidRequest) as caught:
        registry.remove_user("db1", "anna")
    assert "Make another one primary first (bob)" in caught.value.action


def test_users_that_are_there_or_not_are_told(registry: Registry) -> None:
    environment = registry.add(SPEC)
    with pytest.raises(AlreadyExists, match="has a user 'anna' already"):
        registry.add_user("db1", "anna", Authentication(), primary=False)
    with pytest.raises(NotFound, match="user of the environment db1 named 'ana'") as caught:
        registry.set_primary("db1", "ana")
    assert "'anna'" in caught.value.action
    with pytest.raises(NotFound):
        user_by_name(environment, "zed")
    assert user_by_name(environment, "HOST_USER-1").name == "anna"
    assert user_by_name(environment, None).name == "anna"


def test_facts_are_kept_and_replaced(registry: Registry) -> None:
    environment = registry.add(SPEC)
    facts = HostFacts("Debian 12", "Linux 6.1", "x86_64", "db1", 1000, 1000, "/home/anna", "/bin/bash")
    assert registry.record_facts(environment.reference, facts).facts == facts
    newer = HostFacts("Debian 13", tools={"jq": "/usr/bin/jq"}, locale="C.UTF-8")
    registry.record_facts(environment.reference, newer)
    assert registry.get("db1").facts == newer


def test_directories_made_on_a_host_are_remembered_outermost_first(registry: Registry) -> None:
    reference = registry.add(SPEC).reference
    registry.record_made(reference, ["/opt/d", "/opt/d/toolkit"])
    registry.record_made(reference, ["/opt/d/toolkit", "/opt/d/scratch"])
    assert registry.made_on_host(reference) == ("/opt/d", "/opt/d/scratch", "/opt/d/toolkit")


def test_lookup_is_by_references_only(registry: Registry) -> None:
    registry.add(SPEC)
    registry.add(EnvironmentSpec("db2", "db2", user="bob"))
    environment, user = registry.lookup("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-2")
    assert (environment.name, user.name) == ("db2", "bob")
    with pytest.raises(NotFound, match="no environment named 'db1'"):
        registry.lookup("db1", "HOST_USER-1")
    with pytest.raises(NotFound, match="db1 has no user with the reference 'HOST_USER-2'") as caught:
        registry.lookup("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-2")
    assert "HOST_USER-1 (anna)" in caught.value.action


def test_environments_added_at_once_get_references_of_their_own(registry: Registry) -> None:
    threads = [
        threading.Thread(target=registry.add, args=(EnvironmentSpec(f"db{number}", "db", user="anna"),))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(environment.name for environment in registry.all()) == [
        f"db{number}" for number in range(8)
    ]
    assert len({environment.reference for environment in registry.all()}) == 8


def test_no_secret_reaches_the_database(
    registry: Registry, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DB1_PASSWORD", "correct-horse-battery")
    (tmp_path / "secret").write_text("staple-from-a-file")
    for name, reference in (
        ("a", SecretReference("env", "DB1_PASSWORD")),
        ("b", SecretReference("file", str(tmp_path / "secret"))),
    ):
        registry.add(
            EnvironmentSpec(name, "db1", user="anna", authentication=Authentication(password_from=reference))
        )
    content = b"".join(path.read_bytes() for path in state.iterdir() if path.is_file())
    assert b"DB1_PASSWORD" in content
    assert b"correct-horse-battery" not in content
    assert b"staple-from-a-file" not in content
    with sqlite3.connect(state / "state.db") as connection:
        rows = connection.execute("SELECT password_from FROM environment_users ORDER BY id").fetchall()
    connection.close()
    assert rows == [("env:DB1_PASSWORD",), (f"file:{tmp_path / 'secret'}",)]
