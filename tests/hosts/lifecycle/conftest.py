"""An engine with storage, and this machine as its host: a server on loopback, as root, with bind mounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.lifecycle.site import Site
from tests.hosts.sshd import Sshd


@pytest.fixture
def site(tmp_path: Path, clean_home: Path) -> Iterator[Site]:
    """A site that is ready."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    root = tmp_path / "site"
    root.mkdir()
    with Sshd(directory, ["UsePAM no"], quick=True) as server:
        made = Site(root)
        made.prepare(server)
        yield made
        left = made.mounts()
        made.unmount_all()
    assert left == []
