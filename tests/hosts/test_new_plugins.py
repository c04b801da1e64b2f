"""A new plugin of each of the four kinds: checked, run at once, and tested by its own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from tests.hosts.sshd import sshd_binary
from tests.hosts.test_plugin_authors import run_pytest

KINDS = {
    "direct-unix": (),
    "staged-unix": ("--staged",),
    "direct-windows": ("--windows",),
    "staged-windows": ("--staged", "--windows"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_its_check_runs_at_once_and_its_own_tests_pass(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sshd_binary()
    plugin = tmp_path / "kettle"
    assert main(["plugin", "init", str(plugin), "--name", "Kettle", *KINDS[kind]]) == 0

    capsys.readouterr()
    assert main(["plugin", "check", str(plugin), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []

    assert main(["plugin", "run", str(plugin), "discovery.repository", "--output", "json"]) == 0
    (repository,) = json.loads(capsys.readouterr().out)["result"]
    assert repository["name"] == "Kettle"

    tested = run_pytest(plugin)
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    assert "skipped" not in tested.stdout
