"""Preparing a pool: on a block device, in a file that we make, or in a directory; and opening it again.

What was chosen is a setting of the engine, written before anything is made, with the identifiers that will
tell it from everything else. So a preparation that was cut off can be repeated, and after a restart of the
machine the pool is mounted again by whoever opens it first.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dlpx_remote.errors import AlreadyExists, InvalidRequest
from dlpx_remote.storage import devices
from dlpx_remote.storage.base import StorageError
from dlpx_remote.storage.btrfs import BtrfsBackend, is_btrfs, require_btrfs
from dlpx_remote.storage.copy import CopyBackend
from dlpx_remote.storage.failures import failures
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool, PoolBackend
from dlpx_remote.storage.reflink import ReflinkBackend, can_reflink, require_reflink
from dlpx_remote.storage.room import in_words
from dlpx_remote.store import Kind, Ledger, Settings

SETTING = "storage.pool"
SMALLEST = 256 * 1024 * 1024
"""Bytes of a loop file; Btrfs cannot be made much smaller, and is of no use then."""

_NEVER_MIND = {"lost+found"}  # in the root of many file systems

BackendKind = Literal["btrfs", "reflink", "copy"]


@dataclass(frozen=True)
class PoolChoice:
    """What an operator asks for: a directory, and what is to lie under it.

    Attributes:
        path: directory of the pool, absolute; the mount point where there is a device or file.
        kind: of the back end; None takes the best that the directory allows, and Btrfs on a device or file.
        device: block device to make a Btrfs file system on.
        image: file to make a Btrfs file system in.
        size: bytes of that file.
        overwrite: whether a device may be overwritten that holds something.
    """

    path: Path
    kind: BackendKind | None = None
    device: Path | None = None
    image: Path | None = None
    size: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class PoolSettings:
    """The pool of this engine.

    Attributes:
        identifier: tells it from other pools.
        kind: of the back end.
        path: directory of the pool.
        device: what is mounted there, a block device; None for a directory or file.
        image: the file that is mounted there.
        size: bytes of that file when it was made.
        file_system: UUID of the file system that we made; None for a directory.
    """

    identifier: str
    kind: BackendKind
    path: Path
    device: Path | None = None
    image: Path | None = None
    size: int | None = None
    file_system: str | None = None


def configured(settings: Settings) -> PoolSettings | None:
    """The pool that this engine has; None where none was prepared."""
    found: dict[str, Any] | None = settings.get(SETTING)
    if found is None:
        return None
    paths = {name: Path(found[name]) for name in ("path", "device", "image") if found.get(name)}
    return PoolSettings(**{**found, **paths})


def initialise(choice: PoolChoice, settings: Settings, ledger: Ledger) -> PoolSettings:
    """Prepare the pool of this engine. The same choice again changes nothing, or finishes what was cut off.

    Args:
        choice: what is asked for.
        settings: where it is kept.
        ledger: that it is empty, where another pool was there.

    Raises:
        InvalidRequest: the choice cannot be.
        AlreadyExists: this engine has another pool, with volumes.
        BackendUnavailable: a program, a device or a right is missing.
        StorageError: there is something in the place that must not be overwritten.
    """
    _check(choice)
    known = configured(settings)
    if known is not None and _is_same(known, choice):
        wanted = known
    else:
        if known is not None and ledger.entries(kind=Kind.VOLUME):
            raise AlreadyExists(
                f"This engine has a pool with volumes already: {known.path} ({known.kind}).",
                "Delete its volumes first, or use another state (--state) for another pool.",
            )
        wanted = _settings_for(choice)
        _check_nothing_is_lost(choice)
        if wanted.file_system is None:
            _require(wanted.kind, _nearest(wanted.path))
        settings.set(SETTING, _plain(wanted))
    in_use = bool(ledger.entries(kind=Kind.VOLUME))
    if not _is_in_place(wanted):
        _put_in_place(wanted, choice.overwrite, in_use)
    _require(wanted.kind, wanted.path)
    Place(wanted.path).prepare(wanted.identifier)
    Place(wanted.path, wanted.identifier).check()
    return wanted


def open_pool(settings: Settings, ledger: Ledger) -> Pool:
    """The pool of this engine, mounted again if it is not.

    Raises:
        InvalidRequest: this engine has none yet.
        BackendUnavailable: its device or file is gone, or another pool is in its place.
    """
    known = configured(settings)
    if known is None:
        raise InvalidRequest(
            "This engine has no storage yet.",
            "Prepare it: dlpx-remote storage init /srv/dlpx-pool --image /srv/dlpx-pool.img --size 100G",
        )
    place = Place(known.path, known.identifier)
    source = known.device or known.image
    if source is not None and known.file_system is not None and place.identifier() is None:
        devices.mount(source, known.path, known.file_system, is_file=known.device is None)
    place.check()
    return Pool(backend_for(known.kind, place), ledger)


def backend_for(kind: str, place: Place) -> PoolBackend:
    """The back end of that kind.

    Raises:
        InvalidRequest: there is none.
    """
    match kind:
        case "btrfs":
            return BtrfsBackend(place)
        case "reflink":
            return ReflinkBackend(place)
        case "copy":
            return CopyBackend(place)
    raise InvalidRequest(f"There is no storage back end {kind!r}.", "There are btrfs, reflink and copy.")


def best_kind(directory: Path) -> BackendKind:
    """The best back end that the file system of a directory allows."""
    if is_btrfs(directory):
        return "btrfs"
    return "reflink" if can_reflink(directory) else "copy"


def _check(choice: PoolChoice) -> None:
    if not choice.path.is_absolute() or ".." in choice.path.parts or choice.path == Path("/"):
        raise InvalidRequest(f"{choice.path} cannot be the directory of a pool.", "Name an absolute path.")
    if choice.device is not None and choice.image is not None:
        raise InvalidRequest("A pool lies on a device or in a file, not both.", "Leave one of them out.")
    if choice.kind is not None:
        backend_for(choice.kind, Place(choice.path))
    made_here = choice.device is not None or choice.image is not None
    if made_here and choice.kind not in (None, "btrfs"):
        raise InvalidRequest(
            f"On a device or in a file we make a Btrfs file system; {choice.kind} is for a directory.",
            "Leave the back end out, or name a directory on a file system of your own.",
        )
    if (choice.image is None) != (choice.size is None):
        raise InvalidRequest(
            "A file for the pool needs a size, and a size needs a file.",
            "Name both: --image FILE --size 100G",
        )
    if choice.size is not None and choice.size < SMALLEST:
        raise InvalidRequest(f"A pool has at least {in_words(SMALLEST)}.", "Choose a larger size.")
    if choice.image is not None and _within(choice.image, choice.path):
        raise InvalidRequest(
            f"The file {choice.image} would be hidden by what is mounted at {choice.path}.",
            "Put it somewhere else.",
        )


def _within(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents


def _is_same(known: PoolSettings, choice: PoolChoice) -> bool:
    return (known.path, known.device, known.image) == (choice.path, choice.device, choice.image) and (
        choice.kind in (None, known.kind)
    )


def _settings_for(choice: PoolChoice) -> PoolSettings:
    made_here = choice.device is not None or choice.image is not None
    found = PoolSettings(
        identifier=str(uuid.uuid4()),
        kind="btrfs",
        path=choice.path,
        device=choice.device,
        image=choice.image,
        size=choice.size,
        file_system=str(uuid.uuid4()) if made_here else None,
    )
    if made_here:
        return found
    return replace(found, kind=choice.kind or best_kind(_nearest(choice.path)))


def _check_nothing_is_lost(choice: PoolChoice) -> None:
    """What is there already and is not ours stays."""
    path = choice.path
    with failures(f"The directory {path} could not be looked at", path):
        if path.exists() and (not path.is_dir() or {each.name for each in path.iterdir()} - _NEVER_MIND):
            pool = Place(path).identifier()
            raise StorageError(
                f"{path} is {'the pool of another state' if pool else 'not an empty directory'}.",
                "Name an empty directory, or one that is not there yet.",
            )
    if choice.image is not None and choice.image.exists():
        raise StorageError(
            f"The file {choice.image} is there already.",
            "Name another, or remove it if nothing is lost with it.",
        )
    if choice.device is not None:
        devices.require_block_device(choice.device)
        _check_blank(choice.device, choice.overwrite)


def _check_blank(source: Path, overwrite: bool) -> None:
    found = devices.file_system_on(source)
    what = found.get("TYPE") or found.get("PTTYPE")
    if what and not overwrite:
        raise StorageError(
            f"{source} is not blank: it holds {what}.", "Add --overwrite if all that is on it may be lost."
        )


def _put_in_place(wanted: PoolSettings, overwrite: bool, in_use: bool) -> None:
    source = wanted.device or wanted.image
    if source is None or wanted.file_system is None:
        with failures(f"The directory {wanted.path} could not be made", wanted.path):
            wanted.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    is_file = wanted.device is None
    if not in_use and devices.find(source, wanted.file_system, is_file=is_file) is None:
        if wanted.image is not None and wanted.size is not None:
            devices.make_image(wanted.image, wanted.size)
        _check_blank(source, overwrite)
        devices.make_btrfs(source, wanted.file_system)
    devices.mount(source, wanted.path, wanted.file_system, is_file=is_file)


def _is_in_place(wanted: PoolSettings) -> bool:
    return Place(wanted.path).identifier() == wanted.identifier


def _nearest(path: Path) -> Path:
    """The path itself or the nearest directory above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _require(kind: BackendKind, directory: Path) -> None:
    if kind == "btrfs":
        require_btrfs(directory)
    elif kind == "reflink":
        require_reflink(directory)


def _plain(wanted: PoolSettings) -> dict[str, Any]:
    values = asdict(wanted)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
