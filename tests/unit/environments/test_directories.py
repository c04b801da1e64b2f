"""The engine's directories on a host, with the real script under a real bash."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dlpx_remote.environments.directories import (
    DirectoryUnusable,
    prepare,
    prepare_temporary,
    remove,
)
from tests.unit.environments.local import LocalConnection


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home of anna's"
    home.mkdir()
    return home


@pytest.fixture
def connection(home: Path) -> LocalConnection:
    return LocalConnection(home)


def test_the_default_is_in_the_users_home_and_private(connection: LocalConnection, home: Path) -> None:
    made = prepare(connection, None)
    root = home / ".dlpx-remote"
    assert (made.root, made.toolkit, made.scratch) == (str(root), f"{root}/toolkit", f"{root}/scratch")
    assert made.made == (str(root), f"{root}/toolkit", f"{root}/scratch")
    for path in (root, root / "toolkit", root / "scratch"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert [entry.name for entry in path.iterdir() if entry.is_file()] == []


def test_preparing_again_makes_nothing(connection: LocalConnection) -> None:
    prepare(connection, None)
    assert prepare(connection, None).made == ()


def test_a_given_directory_is_made_with_its_parents(connection: LocalConnection, tmp_path: Path) -> None:
    root = tmp_path / "var" / "it's $HOME; `x`"
    made = prepare(connection, str(root))
    assert made.root == str(root)
    assert made.made == (str(tmp_path / "var"), str(root), f"{root}/toolkit", f"{root}/scratch")
    assert (root / "scratch").is_dir()


def test_only_what_was_made_is_removed(connection: LocalConnection, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    root.mkdir()
    (root / "others.txt").write_text("stays")
    made = prepare(connection, str(root))
    assert made.made == (f"{root}/toolkit", f"{root}/scratch")
    (root / "toolkit" / "deep" / "er").mkdir(parents=True)
    (root / "toolkit" / "deep" / "er" / "tool").write_text("ours")
    remove(connection, made.made)
    assert [path.name for path in root.iterdir()] == ["others.txt"]


def test_everything_that_was_made_is_removed(connection: LocalConnection, tmp_path: Path) -> None:
    made = prepare(connection, str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b" / "scratch" / "file").write_text("x")
    remove(connection, made.made)
    assert not (tmp_path / "a").exists()
    remove(connection, made.made)  # again: nothing is there, nothing is wrong


def test_a_parent_with_other_things_in_it_stays(connection: LocalConnection, tmp_path: Path) -> None:
    made = prepare(connection, str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "letter").write_text("mine")
    remove(connection, made.made)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["letter"]


def test_a_link_in_place_of_a_directory_is_neither_used_nor_followed(
    connection: LocalConnection, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "letter").write_text("mine")
    root = tmp_path / "root"
    root.mkdir()
    (root / "toolkit").symlink_to(elsewhere)
    with pytest.raises(DirectoryUnusable, match="belongs to somebody else"):
        prepare(connection, str(root))
    remove(connection, [f"{root}/toolkit"])
    assert (elsewhere / "letter").read_text() == "mine"


def test_a_file_in_the_way_is_explained(connection: LocalConnection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DirectoryUnusable, match=r"on anna@here:22 cannot be used: .*/file': File exists"
    ) as caught:
        prepare(connection, str(tmp_path / "file" / "root"))
    assert "--directory" in caught.value.action


def test_a_place_where_nothing_can_be_made_is_explained(connection: LocalConnection) -> None:
    with pytest.raises(DirectoryUnusable, match="cannot create directory '/proc/dlpx-remote'") as caught:
        prepare(connection, "/proc/dlpx-remote/root")  # not even root can
    assert "write access" in caught.value.action


def test_temporary_directories_leave_nothing(connection: LocalConnection) -> None:
    made = prepare_temporary(connection)
    assert Path(made.scratch).is_dir()
    assert Path(made.root).name.startswith("dlpx-remote.")
    (Path(made.scratch) / "file").write_text("x")
    remove(connection, made.made)
    assert not Path(made.root).exists()


def test_what_cannot_be_removed_is_told(tmp_path: Path, home: Path) -> None:
    class Failing(LocalConnection):
        def run(self, script, **options):  # type: ignore[no-untyped-def]
            return super().run("rm() { echo 'busy' >&2; return 1; }\n" + script)

    connection = Failing(home)
    made = prepare(connection, str(tmp_path / "root"))
    with pytest.raises(DirectoryUnusable, match="could not all be removed") as caught:
        remove(connection, made.made)
    assert f"{tmp_path}/root/toolkit" in caught.value.action
    assert "busy" in caught.value.output
