"""Mounting on a real host from every state in which it can be; with bind mounts, which need no server."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator

import pytest

from dlpx_remote.mounts.base import MountBusy, MountFailed, MountRefused
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.mounts.source import Source
from dlpx_remote.transports.privilege import Privilege, PrivilegeRefused
from dlpx_remote.transports.ssh import SshConnection, connect
from tests.hosts.ssh_host import SshHost
from tests.hosts.transports.test_files import target_of_host

DATA = Source("bind", "/area/data", ("rw",))

_CLEAN = r"""
grep -o ' /area/at[^ ]*' /proc/self/mountinfo | cut -c 2- | tac | while read -r at; do
    umount -l "$(printf %b "$at")"
done
rm -rf --one-file-system /area/*
"""


@pytest.fixture(autouse=True)
def data(mounting_host: SshHost) -> Iterator[None]:
    """A data set at /area/data and another at /area/other; nothing else is left of a test."""
    before = mounting_host.root(
        "mkdir -p /area/data /area/other /area/at; echo hello >/area/data/file; cat /proc/self/mountinfo"
    )
    yield
    after = mounting_host.root(f"cat /proc/self/mountinfo; {_CLEAN}")
    assert after == before, "a test left something mounted"


def there(host: SshHost, path: str) -> bool:
    return host.root(f"cat {shlex.quote(path)}/file 2>/dev/null || true") == "hello\n"


def exists(host: SshHost, path: str) -> bool:
    return host.root(f"[ -e {shlex.quote(path)} ] && echo yes || echo no") == "yes\n"


def test_missing_directories_are_made_and_taken_away_again(
    mounts: HostMounts, mounting_host: SshHost
) -> None:
    mounted = mounts.mount("/area/at/new/deep", DATA)
    assert there(mounting_host, "/area/at/new/deep")
    assert mounted.made == ("/area/at/new", "/area/at/new/deep")
    assert mounted.options.startswith("rw")
    assert mounted.remarks == ()
    assert mounts.unmount("/area/at/new/deep", DATA, mounted.made) == ()
    assert not exists(mounting_host, "/area/at/new")
    assert exists(mounting_host, "/area/at")
    assert mounts.unmount("/area/at/new/deep", DATA, mounted.made) == (), "what is gone is no error"


def test_a_directory_that_was_there_stays(mounts: HostMounts, mounting_host: SshHost) -> None:
    mounting_host.root("mkdir /area/at/here")
    mounted = mounts.mount("/area/at/here", DATA)
    assert mounted.made == ()
    mounts.unmount("/area/at/here", DATA, mounted.made)
    assert exists(mounting_host, "/area/at/here")


def test_made_directories_that_hold_something_by_now_stay_and_it_is_said(
    mounts: HostMounts, mounting_host: SshHost
) -> None:
    mounted = mounts.mount("/area/at/a/b", DATA)
    mounting_host.root("touch /area/at/a/note")
    (remark,) = mounts.unmount("/area/at/a/b", DATA, mounted.made)
    assert remark.startswith("The directory /area/at/a was left behind: failed to remove '/area/at/a': ")
    assert not exists(mounting_host, "/area/at/a/b")


def test_mounting_twice_is_mounting_once(mounts: HostMounts, mounting_host: SshHost) -> None:
    made = mounts.mount("/area/at/x", DATA).made
    again = mounts.mount("/area/at/x", DATA)
    assert (again.path, again.made) == ("/area/at/x", ())
    assert mounting_host.root("grep -c ' /area/at/x ' /proc/self/mountinfo") == "1\n"
    mounts.unmount("/area/at/x", DATA, made)


def test_options_that_are_not_in_force_lead_to_a_new_mount(
    mounts: HostMounts, mounting_host: SshHost
) -> None:
    made = mounts.mount("/area/at/x", DATA).made
    readonly = Source("bind", "/area/data", ("rw", "ro"))
    again = mounts.mount("/area/at/x", readonly)
    assert again.options.split(",")[0] == "ro"
    assert again.remarks == ("/area/at/x was mounted already and is mounted anew, because it had not ro.",)
    assert mounting_host.root("touch /area/at/x/new 2>&1 || true").endswith("Read-only file system\n")
    mounts.unmount("/area/at/x", readonly, made)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("mkdir /area/at/x; touch /area/at/x/{mine,.hidden}", r"is not empty \(it holds .hidden, mine\)"),
        ("touch /area/at/x", "is no directory"),
        ("ln -s /nowhere /area/at/x", "is a symbolic link that leads nowhere"),
    ],
)
def test_what_would_be_hidden_or_cannot_be_mounted_on_is_refused(
    prepare: str, message: str, mounts: HostMounts, mounting_host: SshHost
) -> None:
    mounting_host.root(prepare)
    with pytest.raises(MountRefused, match=message):
        mounts.mount("/area/at/x", DATA)


def test_something_else_that_is_mounted_there_is_left_alone(
    mounts: HostMounts, mounting_host: SshHost
) -> None:
    mounting_host.root("mkdir /area/at/x; mount --bind /area/other /area/at/x")
    with pytest.raises(MountRefused, match=r"area is mounted at /area/at/x on .* already"):
        mounts.mount("/area/at/x", DATA)
    (remark,) = mounts.unmount("/area/at/x", DATA)
    assert remark == "area is mounted at /area/at/x now, and was left alone."
    mounting_host.root("umount /area/at/x")


def test_something_mounted_over_ours_is_told(mounts: HostMounts, mounting_host: SshHost) -> None:
    made = mounts.mount("/area/at/x", DATA).made
    mounting_host.root("mount --bind /area/other /area/at/x")
    with pytest.raises(MountBusy, match="is mounted over /area/data"):
        mounts.unmount("/area/at/x", DATA, made)
    mounting_host.root("umount /area/at/x")
    mounts.unmount("/area/at/x", DATA, made)


def test_a_symbolic_link_is_followed_and_it_is_said(mounts: HostMounts, mounting_host: SshHost) -> None:
    mounting_host.root("mkdir '/area/at/re al'; ln -s 're al' /area/at/link")
    mounted = mounts.mount("/area/at/link", DATA)
    assert mounted.path == "/area/at/re al"
    assert mounted.remarks == ("/area/at/link is /area/at/re al, by a symbolic link; it is mounted there.",)
    assert mounts.mount("/area/at/link", DATA).path == "/area/at/re al"
    mounts.unmount(mounted.path, DATA)


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "tab\there",
        "line\nbreak",
        "back\\slash\\040",
        "-o ro",
        "$(id) 'q' \"d\"",
        "中文é😀",
        "#1*?[",
    ],
)
def test_odd_names_are_names(name: str, mounts: HostMounts, mounting_host: SshHost) -> None:
    path = f"/area/at/{name}/below"
    mounted = mounts.mount(path, DATA)
    assert mounted.path == path
    assert there(mounting_host, path)
    assert mounts.mount(path, DATA).made == ()
    assert mounts.unmount(path, DATA, mounted.made) == ()
    assert mounting_host.root("ls -A /area/at") == ""


def test_a_read_only_parent_is_told(mounts: HostMounts, mounting_host: SshHost) -> None:
    mounting_host.root("mkdir /area/at/ro; mount -t tmpfs -o ro none /area/at/ro")
    with pytest.raises(MountFailed, match=r"/area/at/ro/x cannot be made .*Read-only file system"):
        mounts.mount("/area/at/ro/x", DATA)
    mounting_host.root("umount /area/at/ro")


def test_what_mount_says_is_passed_on_and_nothing_is_left(mounts: HostMounts, mounting_host: SshHost) -> None:
    with pytest.raises(MountFailed, match="/area/none does not exist"):
        mounts.mount("/area/at/x", Source("bind", "/area/none"))
    assert not exists(mounting_host, "/area/at/x")


def test_a_directory_that_the_account_may_not_see_is_mounted_on_with_a_remark(
    mounts: HostMounts, mounting_host: SshHost
) -> None:
    mounting_host.root("mkdir -m 700 /area/at/secret")
    mounted = mounts.mount("/area/at/secret", DATA)
    assert "whether it was empty is not known" in mounted.remarks[0]
    mounts.unmount("/area/at/secret", DATA)


def test_sudo_that_refuses_is_told_with_the_rule_to_add(
    mounting_host: SshHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with connect(target_of_host(mounting_host, tmp_path_factory.mktemp("plain"), "plain")) as plain:
        with pytest.raises(PrivilegeRefused) as caught:
            HostMounts(plain).mount("/area/at/x", DATA)
        assert "plain ALL=(root) NOPASSWD: /usr/bin/mkdir" in caught.value.action
        with pytest.raises(PrivilegeRefused, match="no way to become so"):
            HostMounts(plain, Privilege("none")).mount("/area/at/x", DATA)
    assert not exists(mounting_host, "/area/at/x")


class TestBusy:
    def test_the_processes_are_named(self, mounts: HostMounts, mounting_host: SshHost) -> None:
        made = mounts.mount("/area/at/x", DATA).made
        mounting_host.root(
            "runuser -u engine -- bash -c 'cd /area/at/x; exec -a secret-word sleep 300' "
            "</dev/null >/dev/null 2>&1 & sleep 0.2"
        )
        with pytest.raises(MountBusy, match=r"in use by sleep \(process \d+ of engine\)") as caught:
            mounts.unmount("/area/at/x", DATA, made)
        assert "secret-word" not in str(caught.value), "arguments may hold secrets"
        assert there(mounting_host, "/area/at/x"), "nothing was changed"
        remarks = mounts.unmount("/area/at/x", DATA, made, force=True)
        assert "by umount -l, because of: umount: " in remarks[0]
        assert "busy" in remarks[0]
        assert not exists(mounting_host, "/area/at/x")
        mounting_host.root("pkill -u engine sleep")

    def test_others_processes_may_be_hidden_and_it_is_said(
        self, mounts: HostMounts, mounting_host: SshHost
    ) -> None:
        made = mounts.mount("/area/at/x", DATA).made
        mounting_host.root("(cd /area/at/x; exec sleep 300) </dev/null >/dev/null 2>&1 & sleep 0.2")
        with pytest.raises(MountBusy, match="processes of other users could not be seen"):
            mounts.unmount("/area/at/x", DATA, made)
        mounting_host.root("echo 'engine ALL=(root) NOPASSWD: /usr/bin/bash' >/etc/sudoers.d/look")
        with pytest.raises(MountBusy, match=r"sleep \(process \d+ of root\)"):
            mounts.unmount("/area/at/x", DATA, made)
        mounting_host.root("rm /etc/sudoers.d/look; pkill -u root sleep; sleep 0.1")
        assert mounts.unmount("/area/at/x", DATA, made) == ()

    def test_a_mount_below_is_named(self, mounts: HostMounts, mounting_host: SshHost) -> None:
        made = mounts.mount("/area/at/x", DATA).made
        mounting_host.root("mkdir /area/at/x/sub; mount -t tmpfs none /area/at/x/sub")
        with pytest.raises(MountBusy, match="/area/at/x/sub is mounted below it"):
            mounts.unmount("/area/at/x", DATA, made)
        mounting_host.root("umount /area/at/x/sub")
        mounts.unmount("/area/at/x", DATA, made)


def test_what_came_there_at_the_same_time_is_found_out(
    mounting_host: SshHost, host_connection: SshConnection
) -> None:
    mounting_host.root("mkdir /area/at/x")
    mounts = HostMounts(host_connection)
    state = mounts.look("/area/at/x", DATA)
    mounting_host.root("mount --bind /area/other /area/at/x")
    with pytest.raises(MountRefused, match=r"Something else was mounted at /area/at/x .* at the same time"):
        mounts.mount("/area/at/x", DATA, state=state)
    mounting_host.root("umount /area/at/x")


def test_two_calls_at_once_leave_one_mount_or_a_clear_refusal(
    host_connection: SshConnection, mounting_host: SshHost
) -> None:
    outcomes: list[object] = []

    def mount() -> None:
        try:
            outcomes.append(HostMounts(host_connection).mount("/area/at/x", DATA))
        except (MountRefused, MountFailed) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=mount) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 2
    HostMounts(host_connection).mount("/area/at/x", DATA)
    assert mounting_host.root("grep -c ' /area/at/x ' /proc/self/mountinfo") == "1\n"
    HostMounts(host_connection).unmount("/area/at/x", DATA, ("/area/at/x",))


def test_a_server_that_is_not_there_is_told_in_seconds(mounts: HostMounts, mounting_host: SshHost) -> None:
    source = Source("nfs", "127.0.0.1:/none", ("rw",), port=1)
    with pytest.raises(MountFailed, match=r"does not reach the NFS server at 127.0.0.1 port 1"):
        mounts.mount("/area/at/x", source)
    assert not exists(mounting_host, "/area/at/x")
