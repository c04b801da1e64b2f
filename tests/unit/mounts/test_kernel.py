"""The table of the kernel's exports as text, and a machine that has no such server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.mounts import kernel
from dlpx_remote.mounts.base import Export, ExportFailed
from dlpx_remote.mounts.kernel import KernelExporter


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_path_comes_back_from_a_line(path: str) -> None:
    entry = kernel._Entry(path, {"10.0.0.1": "rw,sync", "fd00::/64": "ro"})
    line = kernel._line(entry)
    assert line.isascii()
    assert "\n" not in line
    assert kernel._entry(line) == entry


def test_names_of_bytes_come_back_too() -> None:
    path = b"/srv/\xff\xfe".decode("utf-8", "surrogateescape")
    assert kernel._unescaped(kernel._escaped(path)) == path


def test_a_machine_without_the_server_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_found", lambda program: None)
    exporter = KernelExporter(directory=tmp_path)
    with pytest.raises(ExportFailed, match="apt-get install nfs-kernel-server"):
        exporter.add(Export("one", tmp_path, ("10.0.0.1",)))
    assert "apt-get install nfs-kernel-server" in exporter.problems()[0]
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_was_never_started_serves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_found", lambda program: f"/usr/sbin/{program}")
    monkeypatch.setattr(kernel, "_SERVER", tmp_path / "nfsd")
    exporter = KernelExporter(directory=tmp_path)
    assert exporter.names() == frozenset()
    with pytest.raises(ExportFailed, match="is not running"):
        exporter.add(Export("one", tmp_path, ("10.0.0.1",)))
    exporter.remove("one")
    exporter.close()
    assert list(tmp_path.iterdir()) == []
