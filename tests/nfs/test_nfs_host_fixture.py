"""The fixture ``nfs_host``, as the example for files uses it: a whole life over NFS."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.hosts.examples import FILES
from tests.hosts.test_plugin_authors import run_pytest


def test_an_example_lives_a_whole_life_on_it(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path / "files")

    done = run_pytest(tmp_path / "files", "tests/test_whole_life.py")

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
