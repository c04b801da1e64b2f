"""Files to and from a Windows host. The host plays our two scripts in Python, over the real messages."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from containers.winrm.responder import Invocation, Live, Process, Reply
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import OutcomeUnknown, TransferFailed
from dlpx_remote.transports.winrm.bootstrap import read_frame
from dlpx_remote.transports.winrm.files import PUT, REMOVE
from tests.hosts.winrm.windows import Windows

DATA = random.Random(0).randbytes(700_000)
THERE = r"C:\data\Bücher 'neu'.bin"


@dataclass
class Disk:
    """What the scripts read and write."""

    windows: Windows
    files: dict[str, bytes] = field(default_factory=dict)
    spoilt: bool = False

    def __post_init__(self) -> None:
        self.windows.script(r"\[IO.File\]::Open\(\$part", self._put)
        self.windows.script(r"OpenStandardOutput", self._get)

    def _put(self, run: Invocation) -> Reply:
        """As the script: lines of base64 up to the checksum; anything else changes nothing."""
        lines = run.stdin.split(b"\n.\n", 1)[1].splitlines()
        *content, seal = lines or [b""]
        data = b"".join(base64.b64decode(line, validate=True) for line in content)
        found = hashlib.sha256(data + (b"!" if self.spoilt else b"")).hexdigest()
        if seal != b"=" + found.encode():
            return Reply(stderr="its checksum on the host is another one\r\n", exit_code=1)
        self.files[run.variables["DLPX_PATH"]] = data
        return Reply(stdout=found)

    def _get(self, run: Invocation) -> Reply:
        data = self.files.get(run.variables["DLPX_PATH"])
        if data is None:
            return Reply(stderr="Could not find file 'C:\\none'.\r\n", exit_code=1)
        seal = hashlib.sha256(data).hexdigest()
        return Reply(stdout=data + (b"!" if self.spoilt else b""), stderr=f"={seal}", chunk=50_000)


@pytest.mark.parametrize("size", [0, 1, 57_000, 57_001, len(DATA)])
def test_a_file_goes_there_and_comes_back(every_windows: Windows, tmp_path: Path, size: int) -> None:
    disk = Disk(every_windows)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(DATA[:size])
    with every_windows.connect() as connection:
        put = connection.put(source, THERE)
        got = connection.get(THERE, back, mode=0o640)
    assert disk.files == {THERE: DATA[:size]}
    assert back.read_bytes() == DATA[:size]
    assert back.stat().st_mode & 0o777 == 0o640
    assert put == got
    assert (put.size, put.verified) == (size, True)
    assert put.sha256 == hashlib.sha256(DATA[:size]).hexdigest()


def test_a_file_goes_in_one_command_and_few_requests(host: Windows, tmp_path: Path) -> None:
    Disk(host)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with host.connect() as connection:
        before = host.host.counts
        connection.put(source, THERE)
        after = host.host.counts
    assert after.commands - before.commands == 1
    lines = -(-len(DATA) // 57_000)
    assert after.requests - before.requests <= lines + 4


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_checksum_that_differs_changes_nothing(host: Windows, tmp_path: Path, direction: str) -> None:
    disk = Disk(host, {THERE: b"old there"}, spoilt=True)
    here = tmp_path / "here"
    here.write_bytes(b"old here")
    with host.connect() as connection:
        copy = {"put": lambda: connection.put(here, THERE), "get": lambda: connection.get(THERE, here)}
        with pytest.raises(TransferFailed, match="checksum"):
            copy[direction]()
    assert disk.files == {THERE: b"old there"}
    assert here.read_bytes() == b"old here"
    assert list(tmp_path.glob(".dlpx-remote*")) == []


def test_what_the_host_says_is_the_reason(host: Windows, tmp_path: Path) -> None:
    Disk(host)
    with host.connect() as connection, pytest.raises(TransferFailed, match="Could not find file"):
        connection.get("C:\\none", tmp_path / "here")


def test_what_cannot_be_copied_is_refused(host: Windows, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with host.connect() as connection:
        with pytest.raises(TransferFailed, match="No such file"):
            connection.put(tmp_path / "none", THERE)
        with pytest.raises(TransferFailed, match="directory"):
            connection.put(tmp_path / "directory", THERE)
        with pytest.raises(TransferFailed, match="directory"):
            connection.get(THERE, tmp_path / "directory")
        with pytest.raises(InvalidRequest, match="no path"):
            connection.put(tmp_path / "none", "")
        with pytest.raises(InvalidRequest, match="no owner"):
            connection.put(tmp_path / "none", THERE, owner="somebody")


@pytest.mark.parametrize(("after", "error"), [(0, TransferFailed), (3, TransferFailed), (13, OutcomeUnknown)])
def test_a_put_that_is_cut_says_whether_the_file_may_be_there(
    host: Windows, tmp_path: Path, after: int, error: type[Exception]
) -> None:
    disk = Disk(host, {THERE: b"old"})
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with host.connect() as connection:
        host.host.trouble("cut-after", "Send", after=after)
        with pytest.raises(error):
            connection.put(source, THERE)
    assert disk.files[THERE] in ((b"old",) if error is TransferFailed else (b"old", DATA))


def test_a_get_that_is_cut_leaves_what_was_there(host: Windows, tmp_path: Path) -> None:
    Disk(host, {THERE: DATA})
    here = tmp_path / "here"
    here.write_bytes(b"old")
    with host.connect() as connection:
        host.host.trouble("cut-after", "Receive", after=2)
        with pytest.raises(TransferFailed):
            connection.get(THERE, here)
    assert here.read_bytes() == b"old"


def test_the_path_is_in_no_command_line_and_the_frame_is_whole(host: Windows, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(run: Invocation) -> Reply:
        seen.append(run.stdin)
        return Reply(exit_code=1)

    host.script(r"\[IO.File\]::Open\(\$part", look)
    source = tmp_path / "source"
    source.write_bytes(b"content")
    with host.connect() as connection, pytest.raises(TransferFailed, match="exit code 1"):
        connection.put(source, THERE)
    _, _, variables = read_frame(seen[0])
    assert variables.keys() == {"DLPX_PATH", "DLPX_PART"}
    assert variables["DLPX_PATH"] == THERE.encode()


class SlowDisk:
    """What our scripts do line by line, so that one can be ended in the middle: then it does not tidy up."""

    def __init__(self, windows: Windows) -> None:
        self.parts: set[bytes] = set()
        self.removals = 0
        windows.host.when(r"Out-Default", Live(self._run))

    def _run(self, _invocation: Invocation, process: Process) -> int:
        lines = [process.read_line()]
        while lines[-1] != b".\n":
            lines.append(process.read_line())
        token, script, variables = read_frame(b"".join(lines))
        process.write(f"{token}\n")
        if script.decode() == REMOVE:
            self.removals += 1
            self.parts.discard(variables["DLPX_PART"])
        elif script.decode() == PUT:
            self.parts.add(variables["DLPX_PART"])
            while process.read_line():
                pass
            self.parts.discard(variables["DLPX_PART"])
            return 1
        return 0


def test_a_put_that_is_ended_leaves_no_part_of_the_file(host: Windows, tmp_path: Path) -> None:
    disk = SlowDisk(host)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with host.connect() as connection:
        host.host.trouble("slow", "Send", after=4, seconds=2)
        with pytest.raises(TransferFailed):
            connection.put(source, THERE, timeout=1)
        assert disk.removals == 1
        assert disk.parts == set()


@pytest.mark.parametrize("later", ["the next script", "closing"])
def test_what_an_ended_put_left_is_removed_as_soon_as_the_host_can_be_reached(
    host: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    monkeypatch.setattr("dlpx_remote.transports.winrm.files.REMOVING", 1.0)
    monkeypatch.setattr("dlpx_remote.transports.winrm.running.ENDING", 0.5)
    disk = SlowDisk(host)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with host.connect() as connection:

        def leave(*_: object) -> None:
            host.host.trouble("cut-before", "HTTP", times=0)
            host.host.cut_connections()

        threading.Timer(0.5, leave).start()
        host.host.trouble("slow", "Send", after=4, seconds=1)
        with pytest.raises(TransferFailed):
            connection.put(source, THERE)
        assert len(disk.parts) == 1
        host.host.troubles.clear()
        if later == "the next script":
            connection.run("'next'", interpreter="powershell")
            assert disk.parts == set()
    assert disk.parts == set()
    assert disk.removals == 1
