"""``libs.run_sync`` called by plugin code in its worker: from a real server, by rsync, into a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import Authentication, Environment, EnvironmentUser, HostType
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.operations import Dispatcher, LibraryCalls
from dlpx_remote.plugins.worker import Workers
from tests.hosts.sshd import Sshd
from tests.unit.plugins.worker.support import CONNECTION, discovering


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    directory = tmp_path / "sshd"
    directory.mkdir()
    with Sshd(directory, ["UsePAM no"]) as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "logs").mkdir(parents=True)
    (directory / "data").write_text("content")
    (directory / "logs" / "today").write_text("log")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("far")
    (directory / "followed").symlink_to(tmp_path / "elsewhere")
    (directory / "kept").symlink_to(tmp_path / "elsewhere")
    return directory


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    directory = tmp_path / "data set"
    directory.mkdir()
    return directory


@pytest.fixture
def call(server: Sshd, tmp_path: Path, data_set: Path, clean_home: Path) -> Iterator[Callable[..., str]]:
    """Has a plugin make a call; gives what came of it, as text."""
    with Workers() as workers:

        def made(arguments: str, into: Path | None = data_set, **settings: Any) -> str:
            user = EnvironmentUser(
                "HOST_USER-1",
                server.user,
                Authentication(key=str(server.user_key)),
                primary=True,
            )
            environment = Environment(
                "UNIX_HOST_ENVIRONMENT-1",
                "UNIX_HOST-1",
                "db1",
                server.address,
                server.port,
                HostType.UNIX,
                (user,),
                fingerprint=server.fingerprint(),
                **settings,
            )
            body = f"""
        from dlpx.virtualization.libs.exceptions import LibraryError
        try:
            said = repr(libs.run_sync(source_connection, {arguments}))
        except LibraryError as error:
            said = f"{{error.id}}: {{error}}"
        return [RepositoryDefinition(name=said)]
    """
            plugin = discovering(tmp_path / f"plugin{len(list(tmp_path.iterdir()))}", body)
            with (
                Connections(lambda *_: (environment, user), Secrets()) as connections,
                Dispatcher(
                    workers, plugin, LibraryCalls(connections, data_set=into), job="job"
                ) as dispatcher,
            ):
                (found,) = dispatcher.run("discovery.repository", source_connection=CONNECTION)
            return str(found["name"])

        yield made


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_a_directory_comes_into_the_data_set(call: Callable[..., str], source: Path, data_set: Path) -> None:
    (data_set / "gone at the source").write_text("old")
    assert call(repr(str(source))) == "None"
    assert _files(data_set) == {"data", "logs", "logs/today", "followed", "kept"}
    assert (data_set / "data").read_text() == "content"
    assert (data_set / "followed").is_symlink()


def test_paths_are_left_out_and_links_followed_as_asked(
    call: Callable[..., str], source: Path, data_set: Path
) -> None:
    assert call(f"{str(source)!r}, None, ['/logs'], ['followed']") == "None"
    assert _files(data_set) == {"data", "followed", "followed/file", "kept"}
    assert not (data_set / "followed").is_symlink()
    assert (data_set / "kept").is_symlink()


def test_another_account_reads_by_the_way_that_the_environment_has(
    call: Callable[..., str], source: Path, data_set: Path, tmp_path: Path
) -> None:
    """A program of the site's own, which notes for whom and what; sudo itself is tried on a container."""
    asked, become = tmp_path / "asked", tmp_path / "become"
    become.write_text(f'#!/bin/sh\necho "$1 ${{2##*/}}" >>{asked}\nshift\nexec "$@"\n')
    become.chmod(0o755)
    assert call(f"{str(source)!r}, 'postgres'", privilege=f"command:{become} {{user}}") == "None"
    assert asked.read_text() == "postgres rsync\n"
    assert (data_set / "data").read_text() == "content"


def test_an_account_that_is_not_to_be_had_is_told(call: Callable[..., str], source: Path) -> None:
    said = call(f"{str(source)!r}, 'no-such-account'")
    assert said.startswith(("privilege_refused: libs.run_sync failed", "sync_failed: libs.run_sync failed"))
    assert "no-such-account" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'/no/such/directory'", "sync_failed: libs.run_sync failed"),
        ("'/tmp', None, None, ['../up']", "invalid_path: libs.run_sync failed"),
    ],
)
def test_what_cannot_be_copied_is_told(arguments: str, said: str, call: Callable[..., str]) -> None:
    assert call(arguments).startswith(said)


def test_without_a_data_set_there_is_nothing_to_copy_into(call: Callable[..., str], source: Path) -> None:
    assert call(repr(str(source)), into=None) == (
        "no_data_set: libs.run_sync needs the data set of a dSource to copy into; "
        "discovery.repository has none."
    )
