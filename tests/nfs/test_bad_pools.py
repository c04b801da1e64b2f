"""What lies beneath a clone goes wrong while a host has it mounted: the pool is full, its device is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dlpx_remote.mounts.base import Owner
from tests.nfs.mounts_world import NfsWorld, as_engine, mounting_by_sudo, nfs_world, on
from tests.nfs.vm_host import VmHost
from tests.storage.file_systems import MIB, run
from tests.storage.test_faults import fill, loop_device

AT = "/srv/at/x"


@pytest.fixture
def world(nfs_vm: VmHost) -> Iterator[NfsWorld]:
    """An engine of its own, with a small pool."""
    with mounting_by_sudo(nfs_vm, "/srv/at"), nfs_world([nfs_vm], "btrfs, small") as world:
        yield world


def test_a_full_pool_is_said_to_a_writer_and_loses_nothing_and_a_lost_one_can_be_taken_away(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    directory = world.volume("v")
    world.mounts.attach("v", directory, [on("one", AT)], owner=engine_user)
    filling = world.volume("filling")
    fill(filling, leave=4 * MIB)
    write = f"dd if=/dev/zero of={AT}/new bs=64k count=120 conv=fsync status=none"
    said = as_engine(nfs_vm, f"echo kept >{AT}/kept; sync {AT}/kept; {write}; cat {AT}/kept {AT}/file")
    assert "No space left on device" in said
    assert said.endswith("kept\nv:")
    for path in filling.glob("filling-*"):
        path.unlink()
    run("sync", "-f", str(world.pool))
    assert as_engine(nfs_vm, f"dd if=/dev/zero of={AT}/new bs=64k count=4 conv=fsync status=none") == ""
    assert (directory / "new").stat().st_size == 4 * 64 * 1024

    image = world.pool.parent / "image"
    os.truncate(image, 0)
    run("losetup", "--set-capacity", loop_device(image))
    said = as_engine(nfs_vm, f"for n in $(seq 20); do echo x >{AT}/new$n && sync {AT}/new$n || break; done")
    assert "error" in said or "Read-only" in said, said
    assert [each.placement.mount_path for each in world.mounts.attached("v")] == [AT], "the host answers"
    assert world.mounts.detach("v") == ()
    assert nfs_vm.root("ls -A /srv/at; grep -c /srv/at /proc/mounts || true") == "0\n"
    assert world.presentations.names() == frozenset()
    assert {entry.name for entry in world.ledger.entries()} == {"v", "filling"}
