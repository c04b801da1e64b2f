"""What an account without rights sees. Root may read everything: for it the refusal comes from the calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlpx_remote.plugins.plugin import read_plugin
from tests.unit.plugins.on_disk import write_plugin


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Paths that the system refuses to open, as it does for an account without rights."""
    paths: set[Path] = set()
    read_text, iterdir = Path.read_text, Path.iterdir

    def refusing_read_text(self: Path, *arguments: object, **named: object) -> str:
        if self in paths:
            raise PermissionError(13, "Permission denied", str(self))
        return read_text(self, *arguments, **named)  # type: ignore[arg-type]

    def refusing_iterdir(self: Path) -> object:
        if self in paths:
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "read_text", refusing_read_text)
    monkeypatch.setattr(Path, "iterdir", refusing_iterdir)
    return paths


@pytest.mark.parametrize("name", ["plugin_config.yml", "schema.json"])
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, refused: set[Path], name: str) -> None:
    refused.add(write_plugin(tmp_path) / name)
    (problem,) = read_plugin(tmp_path).problems
    assert (problem.file, problem.message) == (name, "The file cannot be read: permission denied.")
    assert "read access" in problem.hint


def test_a_directory_that_may_not_be_read_is_named(tmp_path: Path, refused: set[Path]) -> None:
    refused.add(write_plugin(tmp_path))
    (problem,) = read_plugin(tmp_path).problems
    assert (problem.file, problem.message) == (
        str(tmp_path),
        "The directory cannot be read: permission denied.",
    )
