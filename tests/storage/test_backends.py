"""The contract of back ends, held by all of them on real file systems."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.storage.base import BackendUnavailable, StorageError
from dlpx_remote.storage.btrfs import BtrfsBackend
from dlpx_remote.storage.place import MARKER, Place
from dlpx_remote.storage.pool import PoolBackend
from dlpx_remote.storage.reflink import record_size_of
from tests.storage.file_systems import MIB, run

ODD = "odd \n\t'\" \\ Grüße $(x) -rf"
BYTES = os.fsdecode(b"not utf-8 \xff\xfe")


def unfinished(place: Place) -> list[str]:
    return sorted(path.name for path in place.unfinished.iterdir())


def test_a_new_volume_is_an_empty_directory(backend: PoolBackend) -> None:
    backend.create("data")
    path = backend.path("data")
    assert (path.is_dir(), list(path.iterdir())) == (True, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert backend.names() == {"data"}


def test_other_accounts_cannot_look_into_the_pool(backend: PoolBackend) -> None:
    for directory in (backend.place.root, backend.place.volumes, backend.place.unfinished):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_snapshot_keeps_what_the_source_had(backend: PoolBackend, place: Place) -> None:
    backend.create("data")
    (backend.path("data") / "file").write_text("before")
    (backend.path("data") / "going").write_text("gone later")
    backend.snapshot("data", "snapshot")
    (backend.path("data") / "file").write_text("after")
    (backend.path("data") / "going").unlink()
    (backend.path("data") / "new").write_text("new")
    snapshot = backend.path("snapshot")
    assert sorted(path.name for path in snapshot.iterdir()) == ["file", "going"]
    assert (snapshot / "file").read_text() == "before"
    assert unfinished(place) == []


def test_a_clone_is_written_without_touching_its_snapshot(backend: PoolBackend) -> None:
    backend.create("data")
    (backend.path("data") / "file").write_text("before")
    backend.snapshot("data", "snapshot")
    for clone in ("one", "two"):
        backend.clone("snapshot", clone)
        (backend.path(clone) / "file").write_text(clone)
        (backend.path(clone) / f"new-{clone}").mkdir()
    read = {name: (backend.path(name) / "file").read_text() for name in backend.names()}
    assert read == {"data": "before", "snapshot": "before", "one": "one", "two": "two"}
    assert sorted(path.name for path in backend.path("snapshot").iterdir()) == ["file"]
    assert sorted(path.name for path in backend.path("one").iterdir()) == ["file", "new-one"]


def test_all_that_files_have_comes_along(backend: PoolBackend) -> None:
    backend.create("data")
    data = backend.path("data")
    (data / ODD).mkdir()
    (data / ODD / BYTES).write_bytes(os.urandom(100_000))
    (data / "setuid").write_text("x")
    os.chown(data / "setuid", 12345, 23456)
    (data / "setuid").chmod(0o6751)
    (data / "hard").hardlink_to(data / "setuid")
    (data / "soft").symlink_to(ODD)
    (data / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(data / "fifo", 0o640)
    os.setxattr(data / "setuid", "user.colour", b"blue\0green")
    subprocess.run(["chmod", "g+s", str(data / ODD)], check=True)
    acl = bytes.fromhex(
        "0200000001000700ffffffff020007003930000004000500ffffffff10000700ffffffff20000500ffffffff"
    )
    os.setxattr(data / ODD, "system.posix_acl_access", acl)
    with (data / "sparse").open("wb") as file:
        file.truncate(30 * MIB)
        file.seek(10 * MIB)
        file.write(b"in the middle")
    os.utime(data / "sparse", ns=(1_000_000_001, 2_000_000_002))
    os.chown(data, 4321, 5432)
    data.chmod(0o2750)
    backend.snapshot("data", "snapshot")
    backend.clone("snapshot", "clone")
    clone = backend.path("clone")
    assert inventory(clone) == inventory(data)
    assert (clone / "hard").samefile(clone / "setuid")
    assert (clone / "sparse").stat().st_blocks * 512 < MIB


def inventory(tree: Path) -> dict[str, object]:
    """Everything that can be seen of a tree's files from outside."""
    found: dict[str, object] = {}
    for directory, _, names in os.walk(tree):
        for path in [Path(directory), *(Path(directory) / name for name in names)]:
            status = path.lstat()
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = path.readlink()
            elif stat.S_ISREG(status.st_mode):
                content = hash(path.read_bytes())
            attributes = {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            }
            found[str(path.relative_to(tree))] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_nlink if stat.S_ISREG(status.st_mode) else 0,
                status.st_mtime_ns,
                content,
                attributes,
            )
    return found


def test_what_is_there_already_is_not_made_again(backend: PoolBackend) -> None:
    for _ in range(2):
        backend.create("data")
        (backend.path("data") / "file").write_text("one")
    backend.snapshot("data", "snapshot")
    (backend.path("data") / "file").write_text("two")
    backend.snapshot("data", "snapshot")
    backend.clone("snapshot", "clone")
    (backend.path("clone") / "file").write_text("three")
    backend.clone("snapshot", "clone")
    read = {name: (backend.path(name) / "file").read_text() for name in backend.names()}
    assert read == {"data": "two", "snapshot": "one", "clone": "three"}


def test_a_deleted_volume_is_gone_and_may_be_deleted_again(backend: PoolBackend, place: Place) -> None:
    backend.create("data")
    (backend.path("data") / "deep" / "er").mkdir(parents=True)
    (backend.path("data") / "deep" / "er" / ODD).write_text("x")
    (backend.path("data") / "deep").chmod(0o000)
    backend.snapshot("data", "snapshot")
    for _ in range(2):
        backend.delete("data")
        backend.delete("snapshot")
    backend.delete("never-there")
    assert (backend.names(), unfinished(place)) == (frozenset(), [])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-rf", ".hidden", "new\nline", "x" * 101, "ä"])
def test_a_name_that_is_no_name_is_refused(backend: PoolBackend, name: str) -> None:
    for call in (backend.create, backend.delete, backend.path):
        with pytest.raises(InvalidRequest, match="cannot be the name of a volume"):
            call(name)


def test_volumes_with_names_that_could_be_taken_for_one_another(backend: PoolBackend) -> None:
    names = ["data", "new-data", "old-data", "data.old", "new-new-data"]
    for name in names:
        backend.create(name)
    backend.delete("data")
    backend.snapshot("new-data", "data")
    backend.delete("old-data")
    assert backend.names() == {*names} - {"old-data"}


def test_the_size_counts_what_files_hold_and_what_is_not_shared(backend: PoolBackend) -> None:
    backend.create("data")
    (backend.path("data") / "file").write_bytes(os.urandom(4 * MIB))
    (backend.path("data") / "second name").hardlink_to(backend.path("data") / "file")
    with (backend.path("data") / "holes").open("wb") as file:
        file.truncate(100 * MIB)
    assert (backend.size("data").logical, backend.size("data").own) == (4 * MIB, 4 * MIB)
    (backend.path("data") / "small").write_bytes(b"x" * 100)
    backend.snapshot("data", "snapshot")
    backend.clone("snapshot", "clone")
    (backend.path("clone") / "more").write_bytes(os.urandom(MIB))
    size = backend.size("clone")
    assert size.logical == 5 * MIB + 100
    assert size.own == (MIB if backend.cheap_clones else 5 * MIB + 100)


def test_health_tells_the_room_and_is_quiet_when_all_is_well(backend: PoolBackend) -> None:
    health = backend.health()
    assert 0 < health.free < health.total
    assert health.problems == ()


def test_a_pool_that_is_not_mounted_is_unavailable(backend: PoolBackend, place: Place) -> None:
    backend.create("data")
    marker = place.root / MARKER
    content = marker.read_text()
    marker.unlink()
    for call in (
        backend.names,
        backend.health,
        lambda: backend.create("other"),
        lambda: backend.delete("data"),
        lambda: backend.size("data"),
        lambda: backend.snapshot("data", "snapshot"),
    ):
        with pytest.raises(BackendUnavailable, match="is not there") as caught:
            call()
        assert "storage status" in caught.value.action
    marker.write_text(content.replace(str(place.identifier()), "x"))
    assert place.path("data").is_dir()


def test_another_pool_in_its_place_is_refused(backend: PoolBackend, place: Place) -> None:
    (place.root / MARKER).write_text('{"pool": "somebody-else"}')
    with pytest.raises(BackendUnavailable, match=r"Another pool lies at .*: somebody-else, not"):
        backend.create("data")
    assert list(place.volumes.iterdir()) == []


def test_many_volumes_are_made_at_once(backend: PoolBackend, place: Place) -> None:
    backend.create("data")
    (backend.path("data") / "file").write_text("x")
    backend.snapshot("data", "snapshot")
    errors: list[BaseException] = []

    def clone(number: int) -> None:
        try:
            with place.lock(f"clone-{number % 4}"):
                backend.clone("snapshot", f"clone-{number % 4}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=clone, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert backend.names() == {"data", "snapshot", *(f"clone-{number}" for number in range(4))}
    assert all((backend.path(f"clone-{number}") / "file").read_text() == "x" for number in range(4))


@pytest.mark.parametrize("kind", ["btrfs"])
class TestBtrfs:
    """What only Btrfs has."""

    def test_a_snapshot_cannot_be_written_to(self, backend: PoolBackend) -> None:
        backend.create("data")
        backend.snapshot("data", "snapshot")
        with pytest.raises(OSError, match="Read-only file system"):
            (backend.path("snapshot") / "file").write_text("x")

    def test_subvolumes_within_are_refused_by_snapshots_and_deleted_with_their_volume(
        self, backend: PoolBackend
    ) -> None:
        backend.create("data")
        within = backend.path("data") / "deep" / "er"
        within.mkdir(parents=True)
        for name in ("deep/er/one", "two", "two/three", "two/four"):
            run("btrfs", "--quiet", "subvolume", "create", str(backend.path("data") / name))
            (backend.path("data") / name / "file").write_text("x")
        run("btrfs", "--quiet", "property", "set", str(backend.path("data") / "two"), "ro", "true")
        with pytest.raises(
            StorageError, match=r"holds Btrfs subvolumes of its own.*: deep/er/one, two\."
        ) as caught:
            backend.snapshot("data", "snapshot")
        assert "Replace them by directories" in caught.value.action
        assert backend.names() == {"data"}
        backend.delete("data")
        assert backend.names() == frozenset()

    def test_a_directory_that_somebody_put_there_is_not_deleted(
        self, backend: PoolBackend, place: Place
    ) -> None:
        (place.volumes / "letters").mkdir()
        (place.volumes / "letters" / "mine").write_text("x")
        for call in (backend.delete, backend.create):
            with pytest.raises(StorageError, match=r"no Btrfs subvolume|File exists"):
                call("letters")
        assert (place.volumes / "letters" / "mine").read_text() == "x"

    def test_it_is_refused_on_another_file_system(self, tmp_path: Path, kind: str) -> None:
        from dlpx_remote.storage.btrfs import require_btrfs

        with pytest.raises(BackendUnavailable, match="does not lie on a Btrfs file system") as caught:
            require_btrfs(tmp_path)
        assert "--image FILE" in caught.value.action

    def test_errors_that_were_counted_on_a_device_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        from dlpx_remote.storage import btrfs

        device = tmp_path / "some-uuid" / "devinfo" / "1"
        device.mkdir(parents=True)
        (device / "error_stats").write_text("write_errs 0\nread_errs 12\ncorruption_errs 1\n")
        (device / "missing").write_text("1\n")
        monkeypatch.setattr(btrfs, "SYSTEM_FILES", tmp_path)
        assert btrfs.device_problems("some-uuid") == [
            "Btrfs has counted errors on device 1 of the pool (12 read, 1 corruption): see what the kernel "
            "says (dmesg), and replace the device.",
            "Device 1 of the pool is missing.",
        ]


@pytest.mark.parametrize("kind", ["reflink"])
def test_on_xfs_a_record_size_is_the_unit_of_copying_for_clones_too(backend: PoolBackend) -> None:
    backend.create("data", record_size=64 * 1024)
    (backend.path("data") / "within").mkdir()
    (backend.path("data") / "within" / "file").write_bytes(b"x" * MIB)
    backend.snapshot("data", "snapshot")
    backend.clone("snapshot", "clone")
    for path in ("", "within", "within/file"):
        assert record_size_of(backend.path("clone") / path) == 64 * 1024
    backend.create("other")
    assert record_size_of(backend.path("other")) is None
    backend.create("tiny", record_size=1024)  # less than a block: nothing that XFS could do
    assert record_size_of(backend.path("tiny")) is None


@pytest.mark.parametrize("kind", ["btrfs", "copy"])
def test_where_a_record_size_has_no_meaning_it_does_no_harm(backend: PoolBackend) -> None:
    backend.create("data", record_size=64 * 1024)
    assert backend.names() == {"data"}


def test_kinds_are_what_they_say(backend: PoolBackend, kind: str) -> None:
    assert backend.kind == kind
    assert backend.cheap_clones is (kind != "copy")
    assert isinstance(backend, BtrfsBackend) is (kind == "btrfs")
