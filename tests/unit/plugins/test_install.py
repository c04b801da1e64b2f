from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.plugins.install import NotInstalled, install
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from tests.unit.plugins.on_disk import CODE, CONFIG, write_plugin


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return load_plugin(write_plugin(tmp_path / "kettle"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "plugins"


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_the_copy_is_a_plugin_of_its_own(plugin: Plugin, state: Path) -> None:
    copy = install(plugin, state)
    assert copy.directory == state / f"{CONFIG['id']}-1.0.2"
    assert copy.config.source_directory == copy.directory / "src"
    assert copy.schema == plugin.schema
    (plugin.directory / "src" / "kettle.py").write_text("changed")
    assert (copy.directory / "src" / "kettle.py").read_text() == CODE


def test_only_the_owner_can_read_the_copy(plugin: Plugin, state: Path) -> None:
    copy = install(plugin, state)
    for path in (state, copy.directory, *copy.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_version_control_caches_and_generated_classes_are_left_out(plugin: Plugin, state: Path) -> None:
    for name in (".git/config", "src/__pycache__/kettle.cpython-311.pyc", "src/generated/__init__.py"):
        (plugin.directory / name).parent.mkdir(parents=True)
        (plugin.directory / name).touch()
    (plugin.directory / "src" / "lib" / "generated").mkdir(parents=True)
    (plugin.directory / "src" / "lib" / "generated" / "kept.sh").write_text("true")
    (plugin.directory / "src" / "lib" / "generated" / "kept.sh").chmod(0o755)
    copy = install(plugin, state)
    assert names(copy.directory) == [
        "plugin_config.yml",
        "schema.json",
        "src",
        "src/kettle.py",
        "src/lib",
        "src/lib/generated",
        "src/lib/generated/kept.sh",
    ]
    assert os.access(copy.directory / "src/lib/generated/kept.sh", os.X_OK)


def test_the_same_build_with_the_same_content_may_be_added_again(plugin: Plugin, state: Path) -> None:
    first = install(plugin, state)
    (first.directory / "src" / "__pycache__").mkdir()
    assert install(plugin, state) == first
    assert names(state).count(first.directory.name) == 1


@pytest.mark.parametrize("change", ["content", "more", "less"])
def test_the_same_build_with_other_content_is_refused(plugin: Plugin, state: Path, change: str) -> None:
    (plugin.directory / "note.txt").write_text("one")
    before = names(install(plugin, state).directory)
    if change == "content":
        (plugin.directory / "note.txt").write_text("two")
    elif change == "more":
        (plugin.directory / "more.txt").touch()
    else:
        (plugin.directory / "note.txt").unlink()
    with pytest.raises(AlreadyExists, match=r"Build 1\.0\.2 of the plugin Kettle is there already") as raised:
        install(plugin, state)
    assert "buildNumber" in raised.value.action
    assert names(state / f"{CONFIG['id']}-1.0.2") == before


def test_another_build_lies_beside_the_first(plugin: Plugin, state: Path, tmp_path: Path) -> None:
    install(plugin, state)
    install(load_plugin(write_plugin(tmp_path / "next", config={"buildNumber": "1.0.3"})), state)
    assert sorted(path.name for path in state.iterdir()) == [f"{CONFIG['id']}-1.0.{n}" for n in (2, 3)]


def test_a_link_out_of_the_plugin_is_refused_and_nothing_is_left(plugin: Plugin, state: Path) -> None:
    (plugin.directory / "src" / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(
        InvalidRequest, match=r"passwords leads out of the plugin's directory, to /etc/passwd"
    ):
        install(plugin, state)
    assert names(state) == []


def test_a_link_within_the_plugin_becomes_a_copy(plugin: Plugin, state: Path) -> None:
    (plugin.directory / "alias.py").symlink_to("src/kettle.py")
    copy = install(plugin, state)
    assert not (copy.directory / "alias.py").is_symlink()
    assert (copy.directory / "alias.py").read_text() == CODE


@pytest.mark.parametrize("made", ["nothing", "loop", "pipe"])
def test_what_cannot_be_copied_is_refused_by_name(plugin: Plugin, state: Path, made: str) -> None:
    odd = plugin.directory / "src" / "odd"
    if made == "nothing":
        odd.symlink_to("missing")
    elif made == "loop":
        odd.symlink_to(".")
    else:
        os.mkfifo(odd)
    try:
        with pytest.raises(InvalidRequest, match=r"src/odd"):
            install(plugin, state)
    finally:
        odd.unlink()  # a pipe that is left blocks whoever reads it
    assert names(state) == []


def test_a_copy_that_breaks_off_leaves_nothing(
    plugin: Plugin, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(NotInstalled, match="No space left on device") as raised:
        install(plugin, state)
    assert "free space" in raised.value.action
    assert names(state) == []


def test_a_state_directory_that_cannot_be_made_is_named(plugin: Plugin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotInstalled, match=r"could not be copied to .*file/plugins"):
        install(plugin, tmp_path / "file" / "plugins")


def test_several_may_add_one_plugin_at_once(plugin: Plugin, state: Path) -> None:
    found: list[Plugin | Exception] = []

    def add() -> None:
        try:
            found.append(install(plugin, state))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(one) for one in found if isinstance(one, Exception)] == []
    assert [path.name for path in state.iterdir()] == [f"{CONFIG['id']}-1.0.2"]


_STOPS_WHILE_COPYING = """
import shutil, sys
from pathlib import Path
from dlpx_remote.plugins.install import install
from dlpx_remote.plugins.plugin import load_plugin

def stop(source, copy):
    Path(copy).touch()
    print("copying", flush=True)
    sys.stdin.read()

shutil.copyfile = stop
install(load_plugin(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_what_a_killed_process_left_is_removed_by_the_next_one_but_not_what_one_still_makes(
    plugin: Plugin, state: Path, tmp_path: Path
) -> None:
    other = write_plugin(tmp_path / "other", config={"buildNumber": "2.0"})
    command = [sys.executable, "-c", _STOPS_WHILE_COPYING, str(other), str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as copying:
        try:
            assert copying.stdout is not None
            assert copying.stdout.readline() == b"copying\n"
            (unfinished,) = state.iterdir()
            first = install(plugin, state)
            assert set(state.iterdir()) == {unfinished, first.directory}
        finally:
            copying.kill()
    second = install(load_plugin(write_plugin(tmp_path / "next", config={"buildNumber": "1.0.3"})), state)
    assert set(state.iterdir()) == {first.directory, second.directory}
