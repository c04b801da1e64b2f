from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.plugins.check import check_plugin
from dlpx_remote.plugins.scaffold import NewPlugin, NotWritten, write_new_plugin


@pytest.mark.parametrize(
    ("plugin_type", "host_type", "operations"),
    [("DIRECT", "UNIX", 9), ("STAGED", "UNIX", 10), ("DIRECT", "WINDOWS", 8), ("STAGED", "WINDOWS", 10)],
)
def test_a_new_plugin_passes_its_check(
    tmp_path: Path,
    plugin_type: Literal["DIRECT", "STAGED"],
    host_type: Literal["UNIX", "WINDOWS"],
    operations: int,
) -> None:
    new = NewPlugin('Bob\'s "own": plugin {no}', plugin_type, host_type)

    write_new_plugin(new, tmp_path / "here" / "plugin")
    report = check_plugin(tmp_path / "here" / "plugin")

    assert not report.errors, report.errors
    assert report.plugin is not None
    assert report.plugin.config.name == new.name
    assert report.plugin.config.plugin_type.value == plugin_type
    assert report.plugin.config.host_types == (host_type,)
    assert len(report.operations) == operations
    assert not report.warnings, "every required operation is there, and every name is defined"


def test_it_says_what_it_wrote_and_leaves_nothing_else(tmp_path: Path) -> None:
    written = write_new_plugin(NewPlugin("Kettle"), tmp_path / "kettle")

    assert [path.relative_to(tmp_path / "kettle").as_posix() for path in written] == [
        ".gitignore",
        "README.md",
        "ci.sh",
        "mypy.ini",
        "plugin_config.yml",
        "pytest.ini",
        "schema.json",
        "src/kettle/__init__.py",
        "src/kettle/plugin.py",
        "tests/test_plugin.py",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["kettle"]
    assert not any("{{" in path.read_text() for path in written)


def test_the_page_on_plugins_shows_the_script_for_a_ci(tmp_path: Path) -> None:
    write_new_plugin(NewPlugin("Kettle"), tmp_path / "kettle")

    page = Path(__file__).resolve().parents[3] / "docs" / "writing-a-plugin.md"
    assert (tmp_path / "kettle" / "ci.sh").read_text() in page.read_text("utf-8")


def test_two_plugins_have_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_new_plugin(NewPlugin("Kettle"), tmp_path / name)

    first, second = (check_plugin(tmp_path / name).sound_plugin().config.id for name in ("one", "two"))
    assert first != second


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kettle").mkdir()
    (tmp_path / "kettle" / "notes.txt").write_text("mine")

    with pytest.raises(AlreadyExists, match=r"something in .*kettle already"):
        write_new_plugin(NewPlugin("Kettle"), tmp_path / "kettle")

    assert [path.name for path in (tmp_path / "kettle").iterdir()] == ["notes.txt"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "kettle").mkdir()

    assert write_new_plugin(NewPlugin("Kettle"), tmp_path / "kettle")


@pytest.mark.parametrize("name", ["", "3 kettles", "…", "class", "json", "tests", "Ke\nttle"])
def test_a_name_that_makes_no_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        write_new_plugin(NewPlugin(name), tmp_path / "kettle")

    assert "name" in caught.value.action
    assert not (tmp_path / "kettle").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(NotWritten, match=r"could not be written to .*file/kettle: "):
        write_new_plugin(NewPlugin("Kettle"), tmp_path / "file" / "kettle")
