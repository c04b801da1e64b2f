"""What may be a mount path and a shared path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.mounts.base import MountRefused
from dlpx_remote.mounts.paths import checked_mount_path, checked_shared_path, directory_within


@pytest.mark.parametrize(
    ("given_path", "plain"),
    [
        ("/srv/data", "/srv/data"),
        ("/srv//data/", "/srv/data"),
        ("//srv/./data", "/srv/data"),
        ("/é \n", "/é \n"),
    ],
)
def test_the_plainest_form(given_path: str, plain: str) -> None:
    assert checked_mount_path(given_path) == plain


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("srv/data", "is relative"),
        ("", "is relative"),
        ("/srv/../etc", "has '..' in it"),
        ("/..", "has '..' in it"),
        ("/", "Nothing can be mounted at /"),
        ("/./", "Nothing can be mounted at /"),
        ("/a\x00b", "can be no path"),
        ("/a\udc80", "can be no path"),
        ("/" + "a" * 4095, "can be no path"),
    ],
)
def test_what_can_be_no_mount_path(path: str, message: str) -> None:
    with pytest.raises(MountRefused, match=message):
        checked_mount_path(path)


@given(st.text())
def test_a_checked_path_stays_below_its_volume(path: str) -> None:
    try:
        plain = checked_shared_path(path)
    except MountRefused:
        return
    assert ".." not in plain.split("/")
    assert not plain.startswith("/")
    assert checked_shared_path(plain) == plain


def test_no_path_means_the_whole_volume(tmp_path: Path) -> None:
    assert checked_shared_path(None) == checked_shared_path("/") == ""
    assert directory_within(tmp_path, "") == tmp_path


def test_symbolic_links_within_the_volume_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "in").symlink_to("real")
    assert directory_within(tmp_path, "real/deep") == tmp_path / "real" / "deep"
    for path in ("out", "in/deep"):
        with pytest.raises(MountRefused, match="symbolic link"):
            directory_within(tmp_path, path)
    (tmp_path / "real" / "file").touch()
    for path in ("none", "real/file", "real/file/x"):
        with pytest.raises(MountRefused, match="There is no directory"):
            directory_within(tmp_path, path)
