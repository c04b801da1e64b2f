"""Preparing a pool on a device, in a file, in a directory; opening it after a restart; what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.storage import devices, initialise
from dlpx_remote.storage.base import BackendUnavailable, StorageError
from dlpx_remote.storage.initialise import PoolChoice, configured, open_pool
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Ledger, Settings, Store
from tests.storage.file_systems import MIB, in_memory, mounted, run

SIZE = 256 * MIB


class Engine:
    """Settings and ledger of one engine, and what is mounted for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "state")
        self.settings, self.ledger = Settings(self.store), Ledger(self.store)
        self.path = directory / "pool"
        self.image = PoolChoice(self.path, image=directory / "pool.img", size=SIZE)

    def initialise(self, choice: PoolChoice | None = None) -> initialise.PoolSettings:
        return initialise.initialise(choice or self.image, self.settings, self.ledger)

    def pool(self) -> Pool:
        return open_pool(self.settings, self.ledger)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with in_memory() as directory:
        made = Engine(directory)
        yield made
        made.store.close()
        for point in mount_points(directory):
            run("umount", point)


def mount_points(directory: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{directory}/")]


def options_of(point: Path) -> str:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return next(line.split()[3] for line in lines if line.split()[1] == str(point))


def test_a_pool_in_a_file(engine: Engine) -> None:
    made = engine.initialise()
    assert (made.kind, made.path, made.image, made.size) == (
        "btrfs",
        engine.path,
        engine.directory / "pool.img",
        SIZE,
    )
    assert configured(engine.settings) == made
    image = (engine.directory / "pool.img").stat()
    assert (image.st_mode & 0o777, image.st_size, image.st_blocks * 512 < SIZE // 4) == (0o600, SIZE, True)
    assert {"noatime", "user_subvol_rm_allowed"} <= set(options_of(engine.path).split(","))
    superblock = run("btrfs", "inspect-internal", "dump-super", str(engine.path.with_name("pool.img")))
    node = next(line.split()[1] for line in superblock.splitlines() if line.startswith("nodesize"))
    assert int(node) == max(4096, os.sysconf("SC_PAGE_SIZE")), "what bounds the time and space of a clone"
    pool = engine.pool()
    pool.create("data")
    assert (pool.kind, [volume.name for volume in pool.volumes()]) == ("btrfs", ["data"])


def test_preparing_it_again_changes_nothing(engine: Engine) -> None:
    made = engine.initialise()
    engine.pool().create("data")
    assert engine.initialise() == made
    assert [volume.there for volume in engine.pool().volumes()] == [True]
    assert len(mount_points(engine.directory)) == 1


def test_after_a_restart_of_the_machine_it_is_mounted_again(engine: Engine) -> None:
    engine.initialise()
    engine.pool().create("data")
    for again in (engine.pool, engine.initialise):
        run("umount", str(engine.path))
        again()
        assert [(volume.name, volume.there) for volume in engine.pool().volumes()] == [("data", True)]


@pytest.mark.parametrize("step", ["make_image", "make_btrfs", "mount", "prepare"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_preparation_that_was_cut_off_is_finished_by_the_next(
    engine: Engine, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: object = Place if step == "prepare" else devices
    real: Callable[..., object] = getattr(owner, step)

    def die(*arguments: Any, **options: Any) -> None:
        if when == "after":
            real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, die)
        with pytest.raises(KeyboardInterrupt):
            engine.initialise()
    engine.initialise()
    engine.pool().create("data")
    assert len(mount_points(engine.directory)) == 1


def test_a_file_that_is_gone_is_missed_and_nothing_is_made_in_its_place(engine: Engine) -> None:
    engine.initialise()
    engine.pool().create("data")
    run("umount", str(engine.path))
    (engine.directory / "pool.img").rename(engine.directory / "elsewhere")
    for again in (engine.pool, engine.initialise):
        with pytest.raises(BackendUnavailable, match=r"is not there: .*pool\.img is missing") as caught:
            again()
        assert "put it back" in caught.value.action
    assert not (engine.directory / "pool.img").exists()
    (engine.directory / "elsewhere").rename(engine.directory / "pool.img")
    assert [volume.there for volume in engine.pool().volumes()] == [True]


def test_a_file_with_another_content_is_never_made_anew(engine: Engine) -> None:
    engine.initialise()
    engine.pool().create("data")
    run("umount", str(engine.path))
    image = engine.directory / "pool.img"
    image.write_bytes(b"\0" * 4096)
    os.truncate(image, SIZE)
    for again in (engine.pool, engine.initialise):
        with pytest.raises(BackendUnavailable, match="does not hold its file system"):
            again()
    assert devices.file_system_on(image) == {}


@pytest.mark.parametrize("now", ["gone", "another content"])
def test_a_file_is_not_looked_for_on_the_loop_device_that_has_not_let_go_of_it(
    engine: Engine, now: str
) -> None:
    engine.initialise()
    image = engine.directory / "pool.img"
    # As a process in a mount namespace of its own would keep the device after the unmounting.
    keeper = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        run("umount", str(engine.path))
        if now == "gone":
            image.unlink()
        else:
            image.rename(engine.directory / "elsewhere")
            image.write_bytes(b"\0" * 4096)
            os.truncate(image, SIZE)
        with pytest.raises(BackendUnavailable, match=r"is missing|does not hold its file system"):
            engine.pool()


def test_files_in_the_mount_point_are_not_hidden(engine: Engine) -> None:
    engine.initialise()
    run("umount", str(engine.path))
    (engine.path / "letter").write_text("x")
    with pytest.raises(StorageError, match="files in it, which would be hidden"):
        engine.pool()
    (engine.path / "letter").unlink()
    engine.pool()


@pytest.fixture
def device(engine: Engine) -> Iterator[Path]:
    """A block device."""
    image = engine.directory / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    command = ["losetup", "--find", "--show", str(image)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    yield Path(found)
    for point in mount_points(engine.directory):
        run("umount", point)
    run("losetup", "--detach", found)


def test_a_pool_on_a_blank_device(engine: Engine, device: Path) -> None:
    engine.initialise(PoolChoice(engine.path, device=device))
    engine.pool().create("data")
    run("umount", str(engine.path))
    assert [volume.there for volume in engine.pool().volumes()] == [True]


def test_a_device_that_is_not_blank_is_only_overwritten_on_demand(engine: Engine, device: Path) -> None:
    run("mkfs.ext4", "-q", str(device))
    with pytest.raises(StorageError, match=f"{device} is not blank: it holds ext4") as caught:
        engine.initialise(PoolChoice(engine.path, device=device))
    assert "--overwrite" in caught.value.action
    assert devices.file_system_on(device)["TYPE"] == "ext4"
    assert configured(engine.settings) is None
    engine.initialise(PoolChoice(engine.path, device=device, overwrite=True))
    assert devices.file_system_on(device)["TYPE"] == "btrfs"


def test_a_device_that_holds_something_else_after_a_cut_is_not_overwritten(
    engine: Engine, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(devices, "make_btrfs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.initialise(PoolChoice(engine.path, device=device))
    run("mkfs.ext4", "-q", str(device))
    with pytest.raises(StorageError, match="is not blank"):
        engine.initialise(PoolChoice(engine.path, device=device))


def test_a_device_that_goes_by_another_name_now_is_found(engine: Engine, device: Path) -> None:
    engine.initialise(PoolChoice(engine.path, device=device))
    engine.pool().create("data")
    run("umount", str(engine.path))
    known = engine.settings.get(initialise.SETTING)
    engine.settings.set(initialise.SETTING, {**known, "device": "/dev/name-of-yesterday"})
    assert [volume.there for volume in engine.pool().volumes()] == [True]


@pytest.mark.parametrize(
    ("file_system", "kind"), [("btrfs", "btrfs"), ("reflink", "reflink"), ("copy", "copy")]
)
def test_a_directory_gets_the_best_that_its_file_system_allows(
    engine: Engine, file_systems: dict[str, Path], file_system: str, kind: str
) -> None:
    path = file_systems[file_system] / "deep" / "pool"
    made = engine.initialise(PoolChoice(path))
    assert (made.kind, made.file_system) == (kind, None)
    engine.pool().create("data")
    engine.pool().delete("data")
    run("rm", "-r", str(path.parent))


def test_the_root_of_a_fresh_file_system_will_do(engine: Engine) -> None:
    with mounted("ext4", engine.directory / "own") as point:
        assert (point / "lost+found").is_dir()
        assert engine.initialise(PoolChoice(point)).kind == "copy"


@pytest.mark.parametrize(
    ("kind", "words"), [("reflink", "cannot share data"), ("btrfs", "not lie on a Btrfs")]
)
def test_a_back_end_that_the_file_system_does_not_allow_is_refused(
    engine: Engine, file_systems: dict[str, Path], kind: initialise.BackendKind, words: str
) -> None:
    with pytest.raises(BackendUnavailable, match=words):
        engine.initialise(PoolChoice(file_systems["copy"] / "pool", kind=kind))
    assert configured(engine.settings) is None


def test_what_lies_in_a_directory_is_not_taken_over(engine: Engine) -> None:
    engine.path.mkdir()
    (engine.path / "letter").write_text("x")
    for choice in (engine.image, PoolChoice(engine.path)):
        with pytest.raises(StorageError, match="is not an empty directory"):
            engine.initialise(choice)
    (engine.path / "letter").unlink()
    (engine.directory / "pool.img").write_text("x")
    with pytest.raises(StorageError, match=r"pool\.img is there already"):
        engine.initialise()
    assert configured(engine.settings) is None


def test_the_pool_of_another_state_is_not_taken_over(engine: Engine) -> None:
    engine.initialise(PoolChoice(engine.path, kind="copy"))
    other = Store(engine.directory / "other")
    with pytest.raises(StorageError, match="is the pool of another state"):
        initialise.initialise(PoolChoice(engine.path, kind="copy"), Settings(other), Ledger(other))
    other.close()


def test_another_pool_only_while_there_are_no_volumes(engine: Engine) -> None:
    engine.initialise(PoolChoice(engine.path, kind="copy"))
    second = PoolChoice(engine.directory / "second", kind="copy")
    engine.pool().create("data")
    with pytest.raises(AlreadyExists, match=r"has a pool with volumes already: .*pool \(copy\)"):
        engine.initialise(second)
    engine.pool().delete("data")
    assert engine.initialise(second).path == second.path


def test_an_engine_without_a_pool_says_how_to_get_one(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="has no storage yet") as caught:
        engine.pool()
    assert "dlpx-remote storage init" in caught.value.action


PLACE = Path("/srv/pool")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (PoolChoice(Path("relative")), "cannot be the directory of a pool"),
        (PoolChoice(Path("/srv/../etc")), "cannot be the directory of a pool"),
        (PoolChoice(Path("/")), "cannot be the directory of a pool"),
        (PoolChoice(PLACE, device=Path("/dev/x"), image=Path("/x"), size=SIZE), "not both"),
        (PoolChoice(PLACE, kind="copy", image=Path("/x"), size=SIZE), "copy is for a directory"),
        (PoolChoice(PLACE, image=Path("/x")), "needs a size"),
        (PoolChoice(PLACE, size=SIZE), "needs a size"),
        (PoolChoice(PLACE, image=Path("/x"), size=MIB), "at least 256.0 MiB"),
        (PoolChoice(PLACE, image=PLACE / "x", size=SIZE), "would be hidden"),
        (PoolChoice(PLACE, kind="tape"), "no storage back end 'tape'"),  # type: ignore[arg-type]
    ],
)
def test_a_choice_that_cannot_be_is_refused(engine: Engine, choice: PoolChoice, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        engine.initialise(choice)


@pytest.mark.parametrize(
    ("device", "words"), [(Path("/dev/not-there"), "is not there"), (Path("/dev/null"), "is no block device")]
)
def test_what_is_no_device_is_refused(engine: Engine, device: Path, words: str) -> None:
    with pytest.raises(BackendUnavailable, match=words) as caught:
        engine.initialise(PoolChoice(engine.path, device=device))
    assert "lsblk" in caught.value.action


def test_a_missing_program_names_its_package(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices, "_SYSTEM_PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="the program blkid is missing") as caught:
        engine.initialise()
    assert "apt-get install util-linux" in caught.value.action
