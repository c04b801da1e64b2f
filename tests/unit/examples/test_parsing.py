"""What the example plugins make of what their scripts print, and that the plugins are free of errors."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from dlpx_remote.engine import check_plugin
from tests.unit.examples.modules import EXAMPLES, module


@pytest.fixture
def postgres() -> Iterator[ModuleType]:
    yield from module("postgres/src/postgres/discovery.py")


@pytest.fixture
def files() -> Iterator[ModuleType]:
    yield from module("files/src/files/discovery.py")


@pytest.fixture
def windows_files() -> Iterator[ModuleType]:
    yield from module("windows_files/src/windows_files/discovery.py")


@pytest.mark.parametrize("example", ["postgres", "files"])
def test_a_complete_example_has_nothing_wrong(example: str) -> None:
    assert check_plugin(EXAMPLES / example).problems == ()


def test_an_incomplete_example_is_warned_of_what_it_lacks() -> None:
    problems = check_plugin(EXAMPLES / "windows_files").problems
    assert {problem.severity for problem in problems} == {"warning"}
    assert all("is missing" in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("line", "version", "major"),
    [
        ("postgres (PostgreSQL) 15.4 (Debian 15.4-1)", "15.4", "15"),
        ("postgres (PostgreSQL) 9.6.24", "9.6.24", "9.6"),
        ("postgres (PostgreSQL) 17beta1", "17beta1", "17"),
        ("postgres (EnterpriseDB) 14.9.0", "14.9.0", "14"),
    ],
)
def test_versions_of_every_age_are_understood(
    postgres: ModuleType, line: str, version: str, major: str
) -> None:
    (installation,) = postgres.parse_installations(f"/odd\ndirectory/bin\0{line}\0")
    assert installation.bin_directory == "/odd\ndirectory/bin"
    assert (installation.version, installation.major_version) == (version, major)


def test_what_is_no_postgresql_is_left_out(postgres: ModuleType) -> None:
    assert postgres.parse_installations("/bin\0something else\0") == []
    assert postgres.parse_installations("") == []


def _record(**changes: str) -> str:
    fields = {
        "data": "/data",
        "name": "",
        "version": "15",
        "config": "",
        "program": "",
        "port": "",
        "readable": "yes",
        "owner": "postgres",
        "staging": "",
        **changes,
    }
    return "".join(f"{key}={value}\0" for key, value in fields.items()) + "\0"


def test_clusters_with_odd_names_are_told_apart(postgres: ModuleType) -> None:
    found = postgres.parse_clusters(_record(data="/b=c\nd e") + _record(data="/a"))
    assert [cluster.data_directory for cluster in found] == ["/a", "/b=c\nd e"]


def test_the_default_port_is_taken_only_where_everything_was_read(postgres: ModuleType) -> None:
    readable, closed = postgres.parse_clusters(_record(data="/a") + _record(data="/b", readable="no"))
    assert (readable.port, postgres.note(readable, "me")) == (5432, None)
    assert closed.port is None
    assert "me cannot read the data directory" in postgres.note(closed, "me")


def test_a_running_cluster_belongs_to_the_installation_it_runs_from(postgres: ModuleType) -> None:
    record = _record(program="/opt/pg/bin/postgres") + _record(data="/stopped")
    running, stopped = postgres.parse_clusters(record)
    assert running.belongs_to("/opt/pg/bin", "15")
    assert not running.belongs_to("/usr/lib/postgresql/15/bin", "15")
    assert stopped.belongs_to("/usr/lib/postgresql/15/bin", "15")
    assert not stopped.belongs_to("/usr/lib/postgresql/16/bin", "16")


def test_what_is_somebody_s_staging_is_known_as_such(postgres: ModuleType) -> None:
    mine, staging = postgres.parse_clusters(_record(data="/a") + _record(data="/b", staging="on"))
    assert (mine.staging, staging.staging) == (False, True)


def test_a_tree_that_is_found_twice_is_one_with_the_marker_s_name(files: ModuleType) -> None:
    found = files.parse("configured\0/c\0\0marker\0/t\0Tree\r\0pattern\0/t\0\0unreadable\0/u\0\0")
    (tree,) = found.trees
    assert (tree.path, tree.name, tree.found_by) == ("/t", "Tree", "marker")
    assert found.unreadable == {"/u"}


def test_windows_paths_that_differ_in_case_only_are_one(windows_files: ModuleType) -> None:
    lines = (
        '{"path":"D:\\\\Daten\\\\Bücher","name":" Books \\u00e9","note":""}\r\n'
        '{"path":"d:\\\\daten\\\\bücher","name":"again","note":""}\r\n\r\n'
        '{"path":"C:\\\\a","name":null,"note":"Access is denied."}\r\n'
    )
    closed, books = windows_files.data_directories(lines)
    assert (closed.path, closed.name, closed.note) == ("C:\\a", "", "Access is denied.")
    assert (books.path, books.name, books.note) == ("D:\\Daten\\Bücher", "Books é", "")


def test_a_program_that_is_found_twice_on_the_path_is_one(windows_files: ModuleType) -> None:
    line = '{"version":"10.0.20348","path":"C:\\\\Windows\\\\System32\\\\Robocopy.exe"}\r\n'
    (found,) = windows_files.installations(line + line.replace("Windows", "WINDOWS"))
    assert found.version == "10.0.20348"
    assert windows_files.installations("") == []
