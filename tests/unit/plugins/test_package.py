from __future__ import annotations

import os
import shutil
import stat
import time
import zipfile
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.package import PackageUnusable, build_package, unpacked
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from tests.unit.plugins.on_disk import write_plugin


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    directory = write_plugin(tmp_path / "kettle")
    script = directory / "src" / "boil.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return load_plugin(directory)


def test_the_same_files_give_the_same_bytes(plugin: Plugin, tmp_path: Path) -> None:
    first = build_package(plugin, tmp_path / "first.zip")
    copy = tmp_path / "elsewhere"
    shutil.copytree(plugin.directory, copy)
    for path in copy.rglob("*"):
        os.utime(path, (time.time() - 1e6, time.time() - 1e6))

    second = build_package(load_plugin(copy), tmp_path / "second.zip")

    assert first.file.read_bytes() == second.file.read_bytes()
    assert first.size == len(first.file.read_bytes())


def test_it_holds_what_the_engine_would_copy_and_nothing_else(plugin: Plugin, tmp_path: Path) -> None:
    for name in ("src/__pycache__/kettle.pyc", ".git/HEAD", "src/generated/definitions.pyi"):
        path = plugin.directory / name
        path.parent.mkdir(parents=True)
        path.write_text("left out")

    package = build_package(plugin, tmp_path)

    assert package.file.name == "kettle-1.0.2.dlpx.zip"
    assert package.files == ("plugin_config.yml", "schema.json", "src/boil.sh", "src/kettle.py")
    with unpacked(package.file) as directory:
        found = load_plugin(directory)
        assert found.config.id == plugin.config.id
        assert found.schema == plugin.schema
        assert stat.S_IMODE((directory / "src" / "boil.sh").stat().st_mode) == 0o755
    assert not directory.exists()


def test_a_directory_that_is_not_there_is_said_and_nothing_is_left(plugin: Plugin, tmp_path: Path) -> None:
    with pytest.raises(PackageUnusable, match=r"could not be written to .*No such file") as caught:
        build_package(plugin, tmp_path / "missing" / "one.zip")

    assert "--file" in caught.value.action


def test_a_link_that_leads_out_is_refused_and_leaves_no_file(plugin: Plugin, tmp_path: Path) -> None:
    (plugin.directory / "src" / "passwords").symlink_to("/etc/passwd")

    with pytest.raises(InvalidRequest, match="leads out"):
        build_package(plugin, tmp_path / "out.zip")

    assert not [path.name for path in tmp_path.iterdir() if "out.zip" in path.name]


def test_a_file_of_something_else_is_no_package(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no archive")

    with pytest.raises(PackageUnusable, match="no packaged plugin") as caught, unpacked(other):
        pass

    assert "plugin build" in caught.value.action


def test_an_archive_without_a_configuration_is_no_package(tmp_path: Path) -> None:
    file = tmp_path / "other.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")

    with pytest.raises(PackageUnusable, match=r"it has no plugin_config\.yml"), unpacked(file):
        pass


@pytest.mark.parametrize("at", [30, 200, -200, -10])
def test_a_damaged_package_is_noticed(plugin: Plugin, tmp_path: Path, at: int) -> None:
    file = build_package(plugin, tmp_path / "whole.zip").file
    content = bytearray(file.read_bytes())
    del content[at : at + 5 if at > 0 else None]
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)

    with pytest.raises(PackageUnusable), unpacked(damaged):
        pass


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "src/../../outside"])
def test_a_path_that_leads_out_is_refused(plugin: Plugin, tmp_path: Path, name: str) -> None:
    file = build_package(plugin, tmp_path / "whole.zip").file
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, "x")

    with pytest.raises(PackageUnusable, match="leads out of it"), unpacked(file):
        pass

    assert not (tmp_path / "outside").exists()


def test_a_link_in_a_package_is_refused(plugin: Plugin, tmp_path: Path) -> None:
    file = build_package(plugin, tmp_path / "whole.zip").file
    link = zipfile.ZipInfo("src/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")

    with pytest.raises(PackageUnusable, match="no file"), unpacked(file):
        pass


def test_what_unpacks_to_too_much_is_refused(
    plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = build_package(plugin, tmp_path / "whole.zip").file
    monkeypatch.setattr("dlpx_remote.plugins.package.LARGEST", 100)

    with pytest.raises(PackageUnusable, match="more than a plugin may"), unpacked(file):
        pass
