"""From a marked directory to a copy of it, on a machine with a kernel that really mounts over NFS."""

from dlpx_remote.engine_storage import PoolChoice
from dlpx_remote.engine_sources import Given


def test_a_tree_is_linked_copied_changed_and_refreshed(dlpx_engine, dlpx_plugin, nfs_host, tmp_path):
    nfs_host.root("mkdir -p /srv/orders && echo orders >/srv/orders/.dlpx-source && echo 1 >/srv/orders/one")
    nfs_host.root("chown -R engine /srv/orders")
    nfs_host.join(dlpx_engine)
    dlpx_engine.add_plugin(dlpx_plugin)
    dlpx_engine.storage.initialise(PoolChoice(tmp_path / "pool", "copy"))
    assert not dlpx_engine.discover().failed
    jobs = dlpx_engine.jobs

    jobs.result(dlpx_engine.dsources.link("orders", "nfs-host", "orders"))
    jobs.result(dlpx_engine.dsources.sync("orders"))
    parameters = Given({"mountPath": "/mnt/copy"})
    jobs.result(dlpx_engine.vdbs.provision("copy", "orders", "nfs-host", parameters=parameters))
    try:
        assert "nfs4" in nfs_host.root("findmnt --noheadings --output FSTYPE /mnt/copy")
        nfs_host.root("runuser -u engine -- sh -c 'echo changed >/mnt/copy/one'")
        assert nfs_host.root("cat /srv/orders/one") == "1\n"

        jobs.result(dlpx_engine.vdbs.refresh("copy"))
        assert nfs_host.root("cat /mnt/copy/one") == "1\n"
    finally:
        jobs.result(dlpx_engine.vdbs.delete("copy"))
        jobs.result(dlpx_engine.dsources.delete("orders"))
        dlpx_engine.mounts.nfs.stop()
    assert nfs_host.root("findmnt --noheadings --types nfs4 || true") == ""
