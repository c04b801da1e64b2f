"""Volumes presented on this machine: who owns what, seen by real users."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dlpx_remote.mounts import kernelmounts, mountinfo
from dlpx_remote.mounts.base import Owner, OwnershipFailed
from dlpx_remote.mounts.ownership import change_owner, owner_of
from dlpx_remote.mounts.presentation import Presentations

STORED, ASKED, OTHER = Owner(2600, 2601), Owner(3700, 3701), 4242


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Files of the owner, of another user and of the one to be asked for, with all that can get lost."""
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    for name in ("plain", "setuid", "listed", "others", "asked", "capable"):
        (volume / "sub" / name).write_text(name)
    (volume / "sub" / "link").symlink_to("/etc/passwd")
    for path in (volume, *volume.rglob("*")):
        os.chown(path, STORED.uid, STORED.gid, follow_symlinks=False)
    os.chown(volume / "sub" / "others", OTHER, OTHER)
    os.chown(volume / "sub" / "asked", ASKED.uid, ASKED.gid)
    (volume / "sub" / "setuid").chmod(0o6755)
    subprocess.run(["setfacl", "-m", f"u:{STORED.uid}:r,u:{OTHER}:rw", volume / "sub" / "listed"], check=True)
    os.setxattr(volume / "sub" / "listed", "user.note", b"kept")
    os.setxattr(volume / "sub" / "capable", "security.capability", CAPABILITY)
    return volume


CAPABILITY = bytes.fromhex("0100000202000000000000000000000000000000")


@pytest.fixture
def presentations(tmp_path: Path) -> Iterator[Presentations]:
    presentations = Presentations(tmp_path / "present")
    yield presentations
    left = presentations.names()
    for name in left:
        presentations.withdraw(name)
    assert not left, "a test left something mounted"


def seen(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in (directory / "sub").iterdir()}


def as_user(owner: Owner, script: str, directory: Path) -> str:
    """What a user of that number gets; the way to the directory is open to all for it."""
    for parent in directory.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        ["setpriv", f"--reuid={owner.uid}", f"--regid={owner.gid}", "--clear-groups", "bash", "-ec", script],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("mapped", [True, False])
def test_the_owners_files_are_the_asked_ones_with_all_that_they_carry(
    mapped: bool, volume: Path, presentations: Presentations
) -> None:
    presented = presentations.present("v", volume, ASKED, mapped=mapped)
    assert presented.way == ("mapped" if mapped else "changed")
    files = presented.directory / "sub"
    assert owner_of(presented.directory) == ASKED
    asked = (ASKED.uid, ASKED.gid)
    owners = seen(presented.directory)
    assert {owners[name] for name in ("plain", "setuid", "listed", "link", "capable")} == {asked}
    assert owners["others"] == (OTHER, OTHER)
    # Every file keeps an owner: mapped, the two change places; changed, both are the asked one's.
    assert owners["asked"] == ((STORED.uid, STORED.gid) if mapped else asked)
    assert (files / "setuid").stat().st_mode & 0o7777 == 0o6755
    assert os.getxattr(files / "listed", "user.note") == b"kept"
    rights = subprocess.run(["getfacl", "-nc", files / "listed"], capture_output=True, text=True, check=True)
    assert f"user:{ASKED.uid}:r--" in rights.stdout
    assert f"user:{OTHER}:rw-" in rights.stdout
    assert os.getxattr(files / "capable", "security.capability")[:12] == CAPABILITY[:12]
    assert as_user(ASKED, "echo new >sub/new; cat sub/new sub/plain", presented.directory) == "new\nplain"
    assert "Permission denied" in as_user(Owner(OTHER, OTHER), "echo x >sub/no", presented.directory)
    presentations.withdraw("v")
    stored = STORED if mapped else ASKED
    assert (volume / "sub" / "new").stat().st_uid == stored.uid, "stored as the owner's: a clone maps alike"


def test_without_an_owner_all_is_as_stored(volume: Path, presentations: Presentations) -> None:
    for owner in (None, STORED):
        presented = presentations.present("v", volume, owner)
        assert (presented.way, presented.remarks) == ("as stored", ())
        assert seen(presented.directory) == seen(volume)
    presentations.withdraw("v")
    assert not presentations.path("v").exists()
    assert presentations.withdraw("v") == ()


def test_presenting_again_changes_nothing_and_another_owner_or_volume_takes_its_place(
    volume: Path, presentations: Presentations, tmp_path: Path
) -> None:
    place = presentations.present("v", volume, ASKED).directory
    (first,) = mountinfo.at(mountinfo.here(), str(place))
    presentations.present("v", volume, ASKED)
    assert mountinfo.at(mountinfo.here(), str(place)) == [first]
    presentations.present("v", volume, Owner(OTHER, OTHER))
    assert owner_of(place) == Owner(OTHER, OTHER)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "here").touch()
    presentations.present("v", tmp_path / "other", ASKED)
    assert (place / "here").exists()
    assert len(mountinfo.at(mountinfo.here(), str(place))) == 1
    presentations.withdraw("v")


def test_the_whole_machine_may_be_the_owner(volume: Path, presentations: Presentations) -> None:
    os.chown(volume, 0, 0)
    assert owner_of(presentations.present("v", volume, ASKED).directory) == ASKED
    assert owner_of(presentations.present("v", volume, Owner(2**32 - 2, 0)).directory).uid == 2**32 - 2
    presentations.withdraw("v")


def test_numbers_that_nobody_has_are_refused(volume: Path, presentations: Presentations) -> None:
    for number in (-1, 2**32 - 1):
        with pytest.raises(OwnershipFailed, match="can own no files"):
            presentations.present("v", volume, Owner(number, 0))


def test_a_machine_that_cannot_map_changes_the_files_and_says_so(
    volume: Path, presentations: Presentations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EPERM, "user namespaces are not allowed")

    monkeypatch.setattr(kernelmounts, "_user_namespace", refuse)
    presented = presentations.present("v", volume, ASKED)
    assert presented.way == "changed"
    (remark,) = presented.remarks
    assert remark.startswith("The owner of 7 files and directories of v was changed one by one, in ")
    assert "cannot map owners" in remark
    again = presentations.present("v", volume, ASKED)
    assert again.way == "as stored", "and the next time costs nothing"
    presentations.withdraw("v")


def test_a_used_directory_is_taken_away_lazily_and_it_is_said(
    volume: Path, presentations: Presentations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlpx_remote.mounts.presentation._SETTLING", 0.1)
    place = presentations.present("v", volume, ASKED).directory
    with (place / "sub" / "plain").open():
        (remark,) = presentations.withdraw("v")
    assert "unmounted lazily" in remark


def _change_until_killed(volume: Path, journal: Path, left: int) -> NoReturn:
    """End at the call after so many that change something, or with 0 after the last."""

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return run

    for name in ("chown", "chmod", "setxattr", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        change_owner(volume, ASKED, journal)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class TestChangingFileByFile:
    def test_a_change_that_was_cut_off_anywhere_is_gone_on_with(self, volume: Path, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        for step in range(100):
            child = os.fork()
            if child == 0:
                _change_until_killed(volume, journal, step)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert ended in (0, -signal.SIGKILL)
            if ended == 0:
                break
        assert step > 3
        assert not journal.exists()
        assert seen(volume)["plain"] == (ASKED.uid, ASKED.gid)
        assert seen(volume)["others"] == (OTHER, OTHER)
        assert owner_of(volume) == ASKED
        assert (volume / "sub" / "setuid").stat().st_mode & 0o7777 == 0o6755
        assert os.getxattr(volume / "sub" / "capable", "security.capability") == CAPABILITY

    def test_another_owner_after_a_cut_gets_all_files_too(self, volume: Path, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        journal.write_text(f"[{STORED.uid}, {STORED.gid}, {ASKED.uid}, {ASKED.gid}]\n[half a li")
        os.chown(volume / "sub" / "plain", ASKED.uid, ASKED.gid)
        change_owner(volume, Owner(OTHER, OTHER), journal)
        assert set(seen(volume).values()) == {(OTHER, OTHER)}
        assert not journal.exists()

    def test_a_file_system_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(OwnershipFailed, match="could not all be given to 3700:3701"):
            change_owner(tmp_path / "none", ASKED, tmp_path / "journal")
