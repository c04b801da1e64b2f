"""The exporter of a host that is the engine's own machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlpx_remote.mounts.base import Export, Exporter, ExportFailed
from dlpx_remote.mounts.local import LocalExporter


def test_what_is_added_is_listed_until_it_is_removed(tmp_path: Path) -> None:
    exporter: Exporter = LocalExporter(tmp_path / "exports")
    assert exporter.names() == frozenset()
    export = Export("VDB-1", tmp_path, ("127.0.0.1",))
    served = exporter.add(export)
    assert (served.file_system, served.path) == ("bind", str(tmp_path))
    assert exporter.add(export) == served
    assert LocalExporter(tmp_path / "exports").names() == {"VDB-1"}
    exporter.remove("VDB-1")
    exporter.remove("VDB-1")
    assert exporter.names() == frozenset()
    assert exporter.problems() == ()


def test_a_directory_that_is_not_there_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="is not there"):
        LocalExporter(tmp_path / "exports").add(Export("VDB-1", tmp_path / "none", ()))


def test_mapped_owners_are_served(tmp_path: Path) -> None:
    assert LocalExporter(tmp_path / "exports").maps_owners(tmp_path)
