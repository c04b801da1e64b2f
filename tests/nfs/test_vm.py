"""The virtual test host itself: up, reached by our own transport, rebooted, cut off, gone without a trace."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from containers.nfs_vm.vm import NfsVm, VmError, VmScriptFailed
from dlpx_remote.engine import Engine
from dlpx_remote.transports.base import TransportError
from tests.nfs.by_hand import ganesha
from tests.nfs.mounts_world import mounting_by_sudo
from tests.nfs.vm_host import VmHost

_PATIENCE = 30.0


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_users_come_in_over_our_own_transport(engine: Engine, nfs_vm: VmHost) -> None:
    for user in ("engine", "plain", "password"):
        engine.add_environment(nfs_vm.spec(user, user))
        assert engine.run(user, "id -un").stdout_text == f"{user}\n"


def test_it_has_what_the_engine_and_plugins_need(engine: Engine, nfs_vm: VmHost) -> None:
    engine.add_environment(nfs_vm.spec("db"))
    with mounting_by_sudo(nfs_vm, "/srv/at"):
        steps = {step.name: step for step in engine.test_environment("db")}
    assert [name for name, step in steps.items() if step.outcome != "ok"] == []
    nfs_vm.root("type rsync expect jq setfacl setfattr exportfs rpc.nfsd mkfs.btrfs fuser pg_createcluster")
    assert nfs_vm.root("pg_lsclusters --no-header") == ""


def test_the_owner_gets_output_exit_code_and_a_limit(nfs_vm: VmHost) -> None:
    assert nfs_vm.root("printf 'ä\\nb'; echo c >&2") == "ä\nb"
    with pytest.raises(VmScriptFailed, match="to stderr") as caught:
        nfs_vm.root("echo to stderr >&2; (exit 3); echo not reached")
    assert caught.value.exit_code == 3
    with pytest.raises(VmError, match="did not answer"):
        nfs_vm.vm.root("sleep 1", timeout=0.1)


def test_a_reboot_keeps_disk_and_host_key_and_ends_all_else(engine: Engine, nfs_vm: VmHost) -> None:
    engine.add_environment(nfs_vm.spec("db"))
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = engine.run("db", boot).stdout_text
    engine.run("db", "echo kept > ~/file; sync; nohup sleep 600 > /dev/null 2>&1 &")
    nfs_vm.vm.reboot()
    assert nfs_vm.vm.host_key() == nfs_vm.host_key
    assert engine.run("db", "cat ~/file; rm ~/file; sync").stdout_text == "kept\n"
    assert engine.run("db", boot).stdout_text != before
    assert engine.run("db", "pgrep sleep || echo none").stdout_text == "none\n"


def test_a_cut_network_is_silence_and_comes_back(engine: Engine, nfs_vm: VmHost) -> None:
    engine.add_environment(nfs_vm.spec("db"))
    engine.run("db", "true")
    nfs_vm.vm.cut_network()
    try:
        with pytest.raises(TransportError):
            engine.run("db", "echo arrived > /tmp/arrived", timeout=2)
        assert nfs_vm.root("ls /tmp") == ""
    finally:
        nfs_vm.vm.restore_network()
    assert engine.run("db", "rm -f /tmp/arrived; echo here").stdout_text == "here\n"


def test_two_reach_each_other_and_each_its_own_disk(two_nfs_vms: tuple[VmHost, VmHost]) -> None:
    one, other = two_nfs_vms
    assert one.host_key != other.host_key
    one.root("echo 1 > /tmp/mine")
    try:
        assert other.root("ls /tmp") == ""
        script = "exec 3<> /dev/tcp/{}/22; read -r line <&3; echo $line"
        assert one.root(script.format("10.0.9.2")).startswith("SSH-2.0-")
        assert other.root(script.format("10.0.9.1")).startswith("SSH-2.0-")
    finally:
        one.root("rm /tmp/mine")


def test_it_mounts_what_this_machine_serves(nfs_vm: VmHost, tmp_path: Path) -> None:
    served, place = tmp_path / "served", tmp_path / "server"
    served.mkdir()
    place.mkdir()
    (served / "from-here").write_text("from here")
    with ganesha(served, place) as port:
        nfs_vm.root(
            "mkdir /mnt/data\n"
            f"mount -t nfs -o vers=4.2,proto=tcp,port={port} {nfs_vm.vm.gateway}:/export /mnt/data"
        )
        try:
            assert nfs_vm.root("cat /mnt/data/from-here") == "from here"
            nfs_vm.root("echo from there > /mnt/data/from-there")
        finally:
            nfs_vm.root("umount /mnt/data; rmdir /mnt/data")
    assert (served / "from-there").read_text() == "from there\n"


def test_what_is_left_behind_is_noticed(nfs_vm: VmHost) -> None:
    before = nfs_vm.contents()
    nfs_vm.root("mkdir /mnt/left && mount -t tmpfs none /mnt/left")
    try:
        assert "file /mnt/left" in nfs_vm.contents() - before
        assert "mount none /mnt/left tmpfs" in nfs_vm.contents() - before
    finally:
        nfs_vm.root("umount /mnt/left; rmdir /mnt/left")


def test_no_emulator_outlives_a_run_that_is_killed(nfs_vm: VmHost) -> None:
    program = textwrap.dedent("""
        import threading, time
        from containers.nfs_vm import vm as module

        class Early(module._Machine):
            def wait_until_ready(self, limit):
                print(self.pid, flush=True)
                time.sleep(600)

        module._Machine = Early
        thread = threading.Thread(target=module.NfsVm().start, daemon=True)
        thread.start()
        time.sleep(600)
    """)
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    emulator = int(run.stdout.readline())
    try:
        assert _is_emulator(emulator)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    assert _eventually(lambda: not _is_emulator(emulator))


def test_a_stopped_machine_is_gone_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VmError, match="not running"):
        NfsVm().root("true")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VmError, match="apt-get install qemu-system-x86"):
        NfsVm().start()


def test_a_machine_that_does_not_come_up_says_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from containers.nfs_vm import vm as module

    monkeypatch.setattr(module, "_KERNEL", "console=ttyS0 root=/dev/nowhere panic=0 rdinit=/nowhere")
    monkeypatch.setattr(module, "_START_LIMIT", 4.0)
    machine = NfsVm()
    with pytest.raises(VmError, match=r"(?s)did not come up within 4 s.*last words:\n."):
        machine.start()
    assert machine.console == ""
    machine.stop()


def _is_emulator(pid: int) -> bool:
    try:
        return b"qemu" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
