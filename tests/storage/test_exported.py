"""A pool in a file, as the command that would prepare it again: the same comes of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import Engine
from dlpx_remote.engine_mounts import NfsChoice
from dlpx_remote.engine_storage import PoolChoice
from tests.storage.file_systems import MIB, run


@pytest.fixture
def pool(scratch: Path) -> Iterator[Path]:
    """Where a pool is to be mounted."""
    path = scratch / "the pool"
    yield path
    run("umount", str(path))


def test_a_pool_in_a_file_and_the_server_are_made_again(
    pool: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = PoolChoice(pool, image=scratch / "image", size=300 * MIB)
    served = NfsChoice("system-ganesha", 12049, bus="unix:path=/run/b", configuration="/etc/g.conf")
    first, second = str(scratch / "first"), str(scratch / "second")
    assert main(["--state", first, "export"]) == 0
    assert capsys.readouterr().out == "", "of an empty state"
    with Engine(scratch / "first") as engine:
        engine.storage.initialise(choice)
        engine.mounts.nfs.configure(served)
    assert main(["--state", first, "export"]) == 0
    commands = capsys.readouterr().out
    run("umount", str(pool))
    (scratch / "image").unlink()

    for command in commands.splitlines():
        assert main(["--state", second, *shlex.split(command)[1:]]) == 0
    capsys.readouterr()

    with Engine(scratch / "second") as engine:
        assert engine.storage.choice() == choice
        assert engine.storage.status().image == scratch / "image"
        assert engine.mounts.nfs.choice() == served
    assert main(["--state", second, "export"]) == 0
    assert capsys.readouterr().out == commands
