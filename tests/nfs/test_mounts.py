"""Volumes on real hosts: exported by a real server, mounted by the kernel of a virtual machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from dlpx_remote.mounts import host as host_module
from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.base import MountBusy, Owner
from dlpx_remote.mounts.mending import Mending
from dlpx_remote.store import Kind
from dlpx_remote.workflows.differences import HostTable
from dlpx_remote.workflows.repairing import Repair, plan_hosts
from tests.nfs.mounts_world import RULE, NfsWorld, as_engine, nfs_world, on
from tests.nfs.vm_host import VmHost

pytestmark = pytest.mark.usefixtures("detached")


def test_a_volume_is_the_users_own_with_all_that_its_files_carry(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    directory = world.volume("v")
    (directory / "tool").write_text("#!/bin/sh\n")
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 2600, 2601)
    os.chown(directory / "data" / "file", 4242, 4242)
    (directory / "tool").chmod(0o6755)
    subprocess.run(["setfacl", "-m", "u:2600:rwx,u:4242:r", directory / "log"], check=True)
    rights = subprocess.run(["getfacl", "-n", directory / "log"], capture_output=True, check=True).stdout
    os.setxattr(directory / "file", "user.note", b"kept")

    (mounted,) = world.mounts.attach("v", directory, [on("one", "/srv/at/a b/é")], owner=engine_user)

    assert (mounted.source, mounted.version) == ("10.0.2.2:/dlpx/v.one", "4.1")
    assert {"rw", "hard", "proto=tcp", f"port={world.server.port}"} <= set(mounted.options.split(","))
    assert mounted.remarks == ()
    place = '"/srv/at/a b/é"'
    listing = nfs_vm.root(f"cd {place}; stat -c '%a %u %g %n' . tool file data/file")
    u, g = engine_user.uid, engine_user.gid
    assert listing.splitlines() == [
        f"755 {u} {g} .",
        f"6755 {u} {g} tool",
        f"644 {u} {g} file",
        "644 4242 4242 data/file",
    ]
    assert (
        as_engine(nfs_vm, f"cd {place}; echo new >new; chmod 4700 new; cat new; stat -c %a%u new")
        == f"new\n4700{u}\n"
    )
    assert "Permission denied" in as_engine(nfs_vm, f"echo x >{place}/data/file")
    assert "Permission denied" in nfs_vm.root(f"touch {place}/roots 2>&1 || true"), "root is squashed"
    assert as_engine(nfs_vm, f"mv {place}/file {place}/moved; echo more >>{place}/moved") == ""
    assert as_engine(nfs_vm, f"touch {place}/log/new") == ""
    # this server does not show them to hosts, but what hosts do leaves them as they are
    assert os.getxattr(directory / "moved", "user.note") == b"kept"
    after = subprocess.run(["getfacl", "-n", directory / "log"], capture_output=True, check=True).stdout
    assert after == rights
    assert (directory / "new").stat().st_uid == 2600, "stored as the volume's owner's"
    assert world.exporter.names() == {"v.one"}

    assert world.mounts.detach("v") == ()
    assert nfs_vm.root("ls -A /srv/at; grep -c /srv/at /proc/mounts || true") == "0\n"
    assert world.exporter.names() == frozenset()
    assert world.presentations.names() == frozenset()


def test_parts_of_a_volume_are_mounted_into_each_other(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    directory = world.volume("v")
    wanted = [
        on("one", "/srv/at/x/in/deep", "log/deep"),
        on("one", "/srv/at/x", "data"),
        on("one", "/srv/at/y"),
    ]
    world.mounts.attach("v", directory, wanted, owner=engine_user)
    said = nfs_vm.root("cd /srv/at; cat x/file; echo; cat x/in/deep/file; echo; cat y/file")
    assert said.split() == ["v:data", "v:log/deep", "v:"]
    assert len(world.mounts.attached("v")) == 3
    world.mounts.detach("v")
    assert nfs_vm.root("ls -A /srv/at; grep -c /srv/at /proc/mounts || true") == "0\n"
    assert not (directory / "data" / "in").exists()


def test_who_holds_a_mount_is_named(world: NfsWorld, nfs_vm: VmHost, engine_user: Owner) -> None:
    world.mounts.attach("v", world.volume("v"), [on("one", "/srv/at/x")], owner=engine_user)
    nfs_vm.root("runuser -u engine -- sleep 300 </srv/at/x/file >/dev/null 2>&1 & sleep 0.3")
    with pytest.raises(MountBusy, match=r"in use by sleep \(process \d+ of engine\)"):
        world.mounts.detach("v")
    nfs_vm.root("pkill -u engine sleep; sleep 0.3")
    world.mounts.detach("v")


def test_a_server_that_was_killed_under_a_writer_loses_nothing(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    directory = world.volume("v")
    world.mounts.attach("v", directory, [on("one", "/srv/at/x")], owner=engine_user)
    writer = (
        "for n in $(seq 60); do echo $n >>/srv/at/x/log/lines; sync /srv/at/x/log/lines; echo $n; done "
        ">/tmp/written 2>/tmp/said"
    )
    nfs_vm.root(f"setsid runuser -u engine -- bash -c '{writer}' </dev/null >/dev/null 2>&1 & sleep 1")
    process = world.server.process()
    assert process is not None
    os.kill(process, signal.SIGKILL)
    for _ in range(100):
        if nfs_vm.root("tail -n 1 /tmp/written || true") == "60\n":
            break
        time.sleep(1)
    assert nfs_vm.root("tail -n 1 /tmp/written; cat /tmp/said") == "60\n", "it went on, without an error"
    assert (directory / "log" / "lines").read_text().split() == [str(n) for n in range(1, 61)]
    world.mounts.detach("v")


def test_nothing_hangs_on_a_dead_server(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "UNMOUNTING", 4.0)
    directory = world.volume("v")
    wanted = [on("one", "/srv/at/x")]
    world.mounts.attach("v", directory, wanted, owner=engine_user)
    nfs_vm.root("echo dirty >/tmp/dirty; runuser -u engine -- cp /tmp/dirty /srv/at/x/dirty; rm /tmp/dirty")
    nfs_vm.root("runuser -u engine -- sleep 300 </srv/at/x/file >/dev/null 2>&1 & sleep 0.3")
    world.server.stop()
    assert len(world.mounts.attached("v")) == 1, "the mount table answers"
    remarks = world.mounts.detach("v", force=True)
    assert any("was taken away by umount -" in remark for remark in remarks), remarks
    assert nfs_vm.root("grep -c /srv/at /proc/mounts || true") == "0\n"
    nfs_vm.root("pkill -KILL -u engine sleep; sleep 0.3; [ ! -d /srv/at/x ] || rmdir /srv/at/x")
    assert {entry.kind for entry in world.ledger.entries()} == {"volume"}


def test_what_was_left_on_a_host_that_did_not_answer_goes_when_the_place_is_used_again(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    world.mounts.attach("v", world.volume("v"), [on("one", "/srv/at/x")], owner=engine_user)
    world.disconnect()
    nfs_vm.root("pkill -x sshd; sleep 0.3")
    remarks = world.mounts.detach("v", force=True)
    assert any("was left at /srv/at/x on" in remark for remark in remarks), remarks
    nfs_vm.root("/usr/sbin/sshd")
    (mounted,) = world.mounts.attach("w", world.volume("w"), [on("one", "/srv/at/x")], owner=engine_user)
    assert "which was left at /srv/at/x, is unmounted" in " ".join(mounted.remarks)
    assert nfs_vm.root("cat /srv/at/x/file") == "w:"
    world.mounts.detach("w")
    assert nfs_vm.root("ls -A /srv/at; grep -c /srv/at /proc/mounts || true") == "0\n"
    assert {entry.kind for entry in world.ledger.entries()} == {"volume"}


def test_a_mount_that_only_the_host_or_only_the_ledger_knows_is_planned_and_put_right(
    world: NfsWorld, nfs_vm: VmHost, engine_user: Owner
) -> None:
    def plan(port: int) -> list[Repair]:
        table = mountinfo.parse(nfs_vm.root("cat /proc/self/mountinfo").encode())
        hosts = [HostTable("one", "vm", table, user="engine")]
        return plan_hosts(hosts, world.ledger, Mending(world.mounts, port))

    port = world.server.port
    mending = Mending(world.mounts, port)
    world.mounts.attach("v", world.volume("v"), [on("one", "/srv/at/x")], owner=engine_user)
    assert plan(port) == []
    nfs_vm.root("umount /srv/at/x")
    (again,) = plan(port)
    assert again.words == "mount v again at /srv/at/x on vm, as the ledger names it"
    assert mending.mount_again(again.name)
    assert not mending.mount_again(again.name), "it is mounted"
    assert nfs_vm.root("cat /srv/at/x/file") == "v:"

    assert world.ledger.get(Kind.MOUNT, again.name) is not None
    world.ledger.gone(Kind.MOUNT, again.name)
    (stray,) = plan(port)
    assert stray.words == (
        "unmount 10.0.2.2:/dlpx/v.one at /srv/at/x on vm, which the ledger does not name; no data is lost"
    )
    assert plan(port + 1) == [], "another engine's server"
    assert stray.stray is not None
    assert mending.unmount(stray.stray)
    assert not mending.unmount(stray.stray), "it is gone"
    assert nfs_vm.root("grep -c /srv/at /proc/mounts || true; rmdir /srv/at/x") == "0\n"
    world.mounts.detach("v")
    assert {entry.kind for entry in world.ledger.entries()} == {"volume"}


def test_a_stale_mount_is_mounted_anew(world: NfsWorld, nfs_vm: VmHost, engine_user: Owner) -> None:
    directory = world.volume("v")
    wanted = [on("one", "/srv/at/x")]
    world.mounts.attach("v", directory, wanted, owner=engine_user)
    nfs_vm.root("cat /srv/at/x/file")
    # as after a loss of the server's own files: the same export under another number
    world.exporter.remove("v.one")
    assert "tale" in nfs_vm.root("sleep 1; (cat /srv/at/x/file; ls /srv/at/x) 2>&1 || true")
    (mounted,) = world.mounts.attach("v", directory, wanted, owner=engine_user)
    assert "is mounted anew, because its file handle was stale" in " ".join(mounted.remarks)
    assert nfs_vm.root("cat /srv/at/x/file") == "v:"
    world.mounts.detach("v")


def test_two_hosts_have_the_same_volume(two_nfs_vms: tuple[VmHost, VmHost]) -> None:
    rules = [host.root("cat /etc/sudoers.d/engine") for host in two_nfs_vms]
    for host in two_nfs_vms:
        host.root(f"echo '{RULE}' >/etc/sudoers.d/engine")
    with nfs_world(two_nfs_vms) as world:
        wanted = [on("one", "/srv/both"), on("two", "/srv/both"), on("two", "/srv/log", "log")]
        mounted = world.mounts.attach("v", world.volume("v"), wanted, owner=Owner(1000, 1000))
        assert [each.version for each in mounted] == ["4.1"] * 3
        as_engine(two_nfs_vms[0], "echo from one >/srv/both/log/new")
        assert two_nfs_vms[1].root("cat /srv/both/log/new /srv/log/new") == "from one\nfrom one\n"
        assert world.mounts.detach("v") == ()
    for host, rule in zip(two_nfs_vms, rules, strict=True):
        left = host.root("(ls -d /srv/both /srv/log 2>/dev/null; grep /srv/ /proc/mounts) || true")
        assert left == ""
        host.root(f"echo '{rule.strip()}' >/etc/sudoers.d/engine")
