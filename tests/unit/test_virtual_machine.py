"""The recipe of the virtual test host, as far as it can be tried without one: what is refused, and how."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from containers.nfs_vm import build
from containers.ssh.build import ImageError
from dlpx_remote.demo.share import virtual_machines


def test_it_is_found_by_programs_as_by_the_tests() -> None:
    assert virtual_machines().NfsVm.gateway == "10.0.2.2"


def test_who_cannot_build_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ImageError, match="takes root"):
        build.build()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ImageError, match=r"debootstrap and .*missing.*apt-get install debootstrap"):
        build.build()
    assert list((tmp_path / "nfs-vm").iterdir()) == []


def test_what_old_recipes_and_cut_off_builds_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = tmp_path / "nfs-vm"
    for name, age in (("old", 15), ("young", 1), ("unfinished-x", 0)):
        (products / name).mkdir(parents=True)
        then = (products / name).stat().st_mtime - age * 24 * 3600
        os.utime(products / name, (then, then))
    build._remove_unused(products)
    assert [path.name for path in products.iterdir()] == ["young"]
