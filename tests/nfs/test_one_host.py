"""The life of a directory tree and its VDB on one machine that mounts over NFS and loses its power meanwhile.

Small enough for every run of the suite. The same with a database, and on three hosts, is in
:mod:`tests.nfs.test_three_hosts`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine import Engine
from dlpx_remote.engine_mounts import HostChoice, NfsChoice
from dlpx_remote.engine_sources import Given
from dlpx_remote.engine_storage import PoolChoice
from dlpx_remote.mounts import mountinfo
from dlpx_remote.store import Ledger, Store
from tests.hosts.examples import FILES
from tests.nfs.vm_host import VmHost
from tests.storage.file_systems import mounted

COPY = "/mnt/copy"


@pytest.fixture
def engine(nfs_vm: VmHost, tmp_path: Path, clean_home: Path) -> Iterator[Engine]:
    """It has found the tree ``orders`` on the machine."""
    nfs_vm.root(
        "mkdir /srv/orders; cd /srv/orders; echo orders > .dlpx-source; echo 1 > row; chown -R engine .; sync"
    )
    with mounted("btrfs", tmp_path / "disk") as disk, Engine(tmp_path / "state") as engine:
        engine.storage.initialise(PoolChoice(disk / "pool"))
        engine.mounts.nfs.configure(NfsChoice(port=free_port("127.0.0.1"), listen="127.0.0.1"))
        environment = engine.add_environment(nfs_vm.spec("vm"))
        # The emulator carries connections: they come from this machine's loopback.
        engine.mounts.nfs.configure_host(environment, HostChoice(nfs_vm.vm.gateway, ("127.0.0.1",)))
        engine.add_plugin(FILES)
        assert not engine.discover().failed
        try:
            yield engine
        finally:
            nfs_vm.root(f"umount -f -l {COPY} 2> /dev/null || true; rmdir {COPY} 2> /dev/null || true")
            nfs_vm.root("rm -r /srv/orders; rm -rf ~engine/.dlpx-remote; sync")
            engine.mounts.nfs.stop()
            for entry in reversed(mountinfo.here()):
                if entry.point.startswith(f"{tmp_path}/state/"):
                    subprocess.run(["umount", "-l", entry.point], check=True)


def test_a_copy_lives_through_a_loss_of_power_and_leaves_nothing(
    engine: Engine, nfs_vm: VmHost, tmp_path: Path
) -> None:
    vdbs = engine.vdbs
    _done(engine, engine.dsources.link("orders", "vm", "orders"))
    _done(engine, engine.dsources.sync("orders"))
    _done(engine, vdbs.provision("copy", "orders", "vm", parameters=Given({"mountPath": COPY})))
    assert "nfs4" in nfs_vm.root(f"findmnt --noheadings --output FSTYPE {COPY}")
    nfs_vm.root(f"runuser -u engine -- bash -c 'echo mine > {COPY}/row; sync {COPY}/row'")
    assert nfs_vm.root("cat /srv/orders/row") == "1\n"

    nfs_vm.vm.reboot()

    assert vdbs.status("copy") == "INACTIVE", "the connection that the machine has forgotten is not used"
    _done(engine, vdbs.disable("copy"))
    _done(engine, vdbs.enable("copy"))
    assert vdbs.status("copy") == "ACTIVE"
    assert nfs_vm.root(f"cat {COPY}/row; findmnt --noheadings --output FSTYPE {COPY}") == "mine\nnfs4\n"
    _done(engine, vdbs.refresh("copy"))
    assert nfs_vm.root(f"cat {COPY}/row") == "1\n"

    _done(engine, vdbs.delete("copy"))
    _done(engine, engine.dsources.delete("orders"))

    assert nfs_vm.root("ls -A /mnt; grep ' /mnt/' /proc/mounts || true") == ""
    assert engine.mounts.nfs.status().exports == ()
    assert _ledger(tmp_path / "state") == []
    assert list((tmp_path / "disk/mounted/pool/volumes").iterdir()) == []
    assert [entry for entry in mountinfo.here() if entry.point.startswith(f"{tmp_path}/state/")] == []


def _done(engine: Engine, job: str) -> Any:
    return engine.jobs.result(job, timeout=200)


def _ledger(state: Path) -> list[str]:
    store = Store(state)
    try:
        return [f"{entry.kind} {entry.name}" for entry in Ledger(store).entries()]
    finally:
        store.close()
