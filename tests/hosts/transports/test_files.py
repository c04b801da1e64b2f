"""Files to and from a host: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import Deadlines, FileCopied, OutcomeUnknown, TransferFailed
from dlpx_remote.transports.ssh import SshConnection, SshTarget, TraceEvent
from dlpx_remote.transports.ssh.bulk import BulkPackets
from tests.hosts.faults.proxy import Direction, Fault, Kind, Proxy
from tests.hosts.ssh_host import LoginHost, SshHost
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
def test_a_file_goes_there_and_back_unchanged(size: int, connection: SshConnection, tmp_path: Path) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (tmp_path / "here").write_bytes(content)
    connection.put(tmp_path / "here", str(tmp_path / "there"), mode=0o640)
    assert (tmp_path / "there").read_bytes() == content
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o640
    connection.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize(
    "options",
    [
        ("RekeyLimit 1M",),  # some twenty new keys on the way
        ("Ciphers aes256-gcm@openssh.com",),
        ("Ciphers aes128-ctr",),
        ("Ciphers aes128-ctr", "MACs hmac-sha2-256-etm@openssh.com", "RekeyLimit 1M"),
    ],
)
def test_bytes_pass_unchanged_whatever_the_host_can_encrypt(
    options: Sequence[str], start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    connection = open_connection(target_of(start_sshd(*options)))
    content = os.urandom(20_000_000)
    (tmp_path / "here").write_bytes(content)
    assert connection.put(tmp_path / "here", str(tmp_path / "there")).verified
    assert connection.get(str(tmp_path / "there"), tmp_path / "back").verified
    assert (tmp_path / "back").read_bytes() == content
    assert connection.run(f"cat {shlex.quote(str(tmp_path / 'there'))}").stdout == content


def test_new_keys_that_we_ask_for_disturb_no_transfer(
    open_connection: Connect, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BulkPackets, "REKEY_BYTES", 3_000_000)
    connection = open_connection(target_of(sshd))
    content = os.urandom(20_000_000)
    (tmp_path / "here").write_bytes(content)
    connection.put(tmp_path / "here", str(tmp_path / "there"))
    connection.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_file_replaces_another_and_leaves_nothing_beside_it(
    connection: SshConnection, tmp_path: Path
) -> None:
    (tmp_path / "here").write_text("new")
    (tmp_path / "there").write_text("old")
    connection.put(tmp_path / "here", str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_missing_local_file_changes_nothing_on_the_host(connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    with pytest.raises(TransferFailed, match="No such file"):
        connection.put(tmp_path / "missing", str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "old"


def test_a_missing_remote_directory_is_told(connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    with pytest.raises(TransferFailed, match="could not be copied") as caught:
        connection.put(tmp_path / "here", str(tmp_path / "none" / "there"))
    assert str(tmp_path / "none" / "there") in caught.value.message


def test_a_missing_remote_file_leaves_the_local_one(connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "back").write_text("old")
    with pytest.raises(TransferFailed):
        connection.get(str(tmp_path / "none"), tmp_path / "back")
    assert (tmp_path / "back").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


def test_a_host_without_sftp_is_no_obstacle(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    connection = open_connection(target_of(start_sshd("Subsystem other /bin/false")))
    (tmp_path / "here").write_text("x")
    connection.put(tmp_path / "here", str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "x"


def test_an_account_without_a_shell_is_told(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    connection = open_connection(target_of(start_sshd("ForceCommand echo no shell for you; false")))
    (tmp_path / "here").write_text("x")
    with pytest.raises(TransferFailed, match="gives no bash") as caught:
        connection.put(tmp_path / "here", str(tmp_path / "there"))
    assert "no shell for you" in caught.value.output


@pytest.mark.parametrize("content", [b"", b"content"])
def test_both_sides_compare_checksums(content: bytes, connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(content)
    expected = FileCopied(len(content), hashlib.sha256(content).hexdigest(), verified=True)
    assert connection.put(tmp_path / "here", str(tmp_path / "there")) == expected
    assert connection.get(str(tmp_path / "there"), tmp_path / "back") == expected


def test_where_the_host_has_no_tool_for_checksums_it_is_said(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "cat", "chmod", "dd", "mv", "rm", "sleep", "stat", "tail", "tr", "uname", "wc"):
        (tools / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing here"))
    events: list[TraceEvent] = []
    connection = open_connection(target_of(start_sshd(f"SetEnv PATH={tools}")), trace=events.append)
    (tmp_path / "here").write_text("x")
    assert not connection.put(tmp_path / "here", str(tmp_path / "there")).verified
    assert not connection.get(str(tmp_path / "there"), tmp_path / "back").verified
    assert (tmp_path / "back").read_text() == "x"
    assert any("no tool for SHA-256" in event.detail for event in events if event.stage == "transfer")


@pytest.mark.parametrize(
    "name",
    [
        "with spaces and 'quotes\"",
        "two\nlines",
        "-rf",
        "$(touch owned)`id`;&|",
        "*",
        "~",
        "ünïcödé",
        os.fsdecode(b"not \xff utf-8"),
        "n" * 255,
        "ends: with a colon: ",
        "back\\slash\t",
    ],
)
def test_odd_names_are_names(name: str, connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    there = tmp_path / "there"
    there.mkdir()
    connection.put(tmp_path / name, f"{there}/{name}")
    assert [path.name for path in there.iterdir()] == [name]
    connection.get(f"{there}/{name}", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"


def test_a_relative_name_is_one_in_the_home_directory(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    connection = open_connection(target_of(start_sshd("UsePAM no", f"SetEnv HOME={home}")))
    (tmp_path / "here").write_text("x")
    connection.put(tmp_path / "here", "-there")
    assert (home / "-there").read_text() == "x"
    connection.get("-there", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "x"


@pytest.mark.parametrize("path", ["", "with\0nul"])
def test_what_is_no_path_is_refused(path: str, connection: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    with pytest.raises(InvalidRequest, match="no path"):
        connection.put(tmp_path / "here", path)


class TestWhatIsAtTheDestination:
    @pytest.fixture
    def here(self, tmp_path: Path) -> Path:
        (tmp_path / "here").write_text("new")
        (tmp_path / "place").mkdir()
        return tmp_path / "here"

    @pytest.mark.parametrize("form", ["{}", "{}/", "{}/.", "{}/.."])
    def test_a_directory_is_told(
        self, form: str, connection: SshConnection, here: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TransferFailed, match="is a directory") as caught:
            connection.put(here, form.format(tmp_path / "place"))
        assert "Name a file in it" in caught.value.action
        assert list((tmp_path / "place").iterdir()) == []

    def test_a_local_directory_is_told(self, connection: SshConnection, here: Path, tmp_path: Path) -> None:
        with pytest.raises(TransferFailed, match="is a directory"):
            connection.get(str(here), tmp_path / "place")
        assert list((tmp_path / "place").iterdir()) == []

    def test_a_link_is_replaced_and_what_it_leads_to_is_left(
        self, connection: SshConnection, here: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "target").write_text("old")
        for link, copy in ((tmp_path / "place" / "link", True), (tmp_path / "local", False)):
            link.symlink_to(tmp_path / "target")
            if copy:
                connection.put(here, str(link))
            else:
                connection.get(str(here), link)
            assert not link.is_symlink()
            assert link.read_text() == "new"
        assert (tmp_path / "target").read_text() == "old"

    def test_a_link_that_leads_nowhere_is_replaced(
        self, connection: SshConnection, here: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "place" / "link"
        link.symlink_to(tmp_path / "none")
        connection.put(here, str(link))
        assert link.read_text() == "new"
        assert not (tmp_path / "none").exists()

    def test_a_file_that_nobody_may_write_is_replaced_all_the_same(
        self, connection: SshConnection, here: Path, tmp_path: Path
    ) -> None:
        there = tmp_path / "place" / "there"
        there.write_text("old")
        there.chmod(0o400)
        connection.put(here, str(there), mode=0o444)
        assert there.read_text() == "new"


class TestWhatIsAtTheSource:
    def test_a_directory_is_told(self, connection: SshConnection, tmp_path: Path) -> None:
        with pytest.raises(TransferFailed, match="is a directory"):
            connection.get(str(tmp_path), tmp_path / "back")
        with pytest.raises(TransferFailed, match="no regular file"):
            connection.put(tmp_path, str(tmp_path / "there"))
        assert list(tmp_path.iterdir()) == []

    def test_a_fifo_is_told_and_not_waited_for(self, connection: SshConnection, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(TransferFailed, match="no regular file"):
            connection.get(str(tmp_path / "fifo"), tmp_path / "back")
        with pytest.raises(TransferFailed, match="no regular file"):
            connection.put(tmp_path / "fifo", str(tmp_path / "there"))

    def test_a_link_is_followed(self, connection: SshConnection, tmp_path: Path) -> None:
        (tmp_path / "here").write_text("x")
        (tmp_path / "link").symlink_to("here")
        connection.get(str(tmp_path / "link"), tmp_path / "back")
        connection.put(tmp_path / "link", str(tmp_path / "there"))
        assert (tmp_path / "back").read_text() == (tmp_path / "there").read_text() == "x"

    def test_a_local_file_that_grows_meanwhile_is_not_taken(
        self, connection: SshConnection, tmp_path: Path
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        there.write_text("old")
        with _growing(here), pytest.raises(TransferFailed, match="changed while it was copied"):
            connection.put(here, str(there))
        assert there.read_text() == "old"
        _wait_for_names(tmp_path, "here", "there")

    def test_a_file_on_the_host_that_grows_meanwhile_is_not_taken(
        self, connection: SshConnection, tmp_path: Path
    ) -> None:
        there, back = tmp_path / "there", tmp_path / "back"
        back.write_text("old")
        with _growing(there), pytest.raises(TransferFailed, match=r"changed while it was copied|checksum"):
            connection.get(str(there), back)
        assert back.read_text() == "old"
        assert {path.name for path in tmp_path.iterdir()} == {"there", "back"}

    def test_a_file_that_vanishes_meanwhile_still_comes_whole(
        self, connection: SshConnection, tmp_path: Path
    ) -> None:
        content = os.urandom(30_000_000)
        (tmp_path / "there").write_bytes(content)

        def remove_once_it_comes() -> None:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                if any(part.stat().st_size for part in tmp_path.glob(".dlpx-remote.*")):
                    break
            (tmp_path / "there").unlink()

        remover = threading.Thread(target=remove_once_it_comes)
        remover.start()
        try:
            connection.get(str(tmp_path / "there"), tmp_path / "back")
        finally:
            remover.join()
        assert (tmp_path / "back").read_bytes() == content


class TestOwnersAndPermissions:
    def test_root_gives_a_file_to_anyone_by_name_or_number(
        self, connection: SshConnection, tmp_path: Path
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may give files away")
        (tmp_path / "here").write_text("x")
        for owner, expected in (("nobody", (65534, 0)), ("12345:54321", (12345, 54321)), (":7", (0, 7))):
            there = tmp_path / f"there{owner}"
            connection.put(tmp_path / "here", str(there), owner=owner, mode=0o4750)
            status = there.stat()
            assert (status.st_uid, status.st_gid) == expected
            assert status.st_mode & 0o7777 == 0o4750

    @pytest.mark.parametrize("owner", ["root", "0:0", "no such user"])
    def test_another_owner_than_oneself_is_refused_with_what_to_do(
        self, owner: str, ssh_host: SshHost, open_connection: Connect, tmp_path: Path
    ) -> None:
        connection = open_connection(target_of_host(ssh_host, tmp_path))
        (tmp_path / "here").write_text("new")
        connection.run("echo old >there")
        try:
            with pytest.raises(TransferFailed, match="could not be given to it") as caught:
                connection.put(tmp_path / "here", "there", owner=owner)
            assert "root" in caught.value.action
            assert connection.run("cat there; ls -A | grep part").stdout == b"old\n"
        finally:
            connection.run("rm there")

    def test_a_directory_that_may_not_be_written_is_told(
        self, ssh_host: SshHost, open_connection: Connect, tmp_path: Path
    ) -> None:
        connection = open_connection(target_of_host(ssh_host, tmp_path))
        (tmp_path / "here").write_text("new")
        with pytest.raises(TransferFailed, match="Permission denied") as caught:
            connection.put(tmp_path / "here", "/usr/there")
        assert "permissions" in caught.value.action
        with pytest.raises(TransferFailed, match="Permission denied"):
            connection.get("/etc/shadow", tmp_path / "back")

    def test_a_noisy_account_changes_no_byte(
        self, ssh_host: SshHost, open_connection: Connect, tmp_path: Path
    ) -> None:
        (tmp_path / "here").write_bytes(content := os.urandom(100_000))
        for user in ("noisy", "csh", "fish"):
            connection = open_connection(target_of_host(ssh_host, tmp_path, user))
            connection.put(tmp_path / "here", "there")
            connection.get("there", tmp_path / user)
            connection.run("rm there")
            assert (tmp_path / user).read_bytes() == content


class TestNetworksThatFail:
    """A transfer that is cut leaves nothing on the host, and ends within its time-outs."""

    @pytest.mark.parametrize("kind", ["cut", "reset", "corrupt"])
    @pytest.mark.parametrize("offset", [0, 3000, 1_000_000])
    def test_a_cut_put_leaves_the_old_file_and_nothing_beside_it(
        self, kind: Kind, offset: int, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "place" / "there"
        here.write_bytes(os.urandom(5_000_000))
        there.parent.mkdir()
        there.write_text("old")
        with Proxy(sshd.address, sshd.port) as proxy:
            connection = open_connection(through(proxy, sshd))
            proxy.links[0].arm(Fault(kind, "up", offset))
            with pytest.raises(TransferFailed, match=r"lost|No session"):
                connection.put(here, str(there))
            connection.close()
            _wait_for_names(there.parent, "there")
        assert there.read_text() == "old"

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_a_stalled_transfer_ends_with_the_idle_time_out(
        self, direction: Direction, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        here.write_bytes(bytes(50_000_000))
        with Proxy(sshd.address, sshd.port) as proxy:
            connection = open_connection(through(proxy, sshd), deadlines=Deadlines(idle=1.0))
            connection.facts()  # so that what a fresh connection says by itself has passed
            proxy.links[0].arm(Fault("stall", direction, 100_000 if direction == "up" else 250))
            with pytest.raises(TransferFailed, match="nothing came for 1 s"):
                connection.put(here, str(there))
            connection.close()
        _wait_for_names(tmp_path, "here")

    def test_a_transfer_ends_with_its_total_time_out(self, connection: SshConnection, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(bytes(300_000_000))
        with pytest.raises(TransferFailed, match=r"not done within 0\.2 s"):
            connection.put(tmp_path / "here", str(tmp_path / "there"), timeout=0.2)
        with pytest.raises(TransferFailed, match=r"not done within 0\.2 s"):
            connection.get(str(tmp_path / "here"), tmp_path / "back", timeout=0.2)
        _wait_for_names(tmp_path, "here")
        assert connection.run("echo still").stdout == b"still\n"

    def test_an_answer_that_is_cut_off_is_an_unknown_outcome(
        self, sshd: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "place" / "there"
        here.write_text("new")
        there.parent.mkdir()
        there.write_text("old")
        with Proxy(sshd.address, sshd.port) as proxy:
            connection = open_connection(through(proxy, sshd), deadlines=Deadlines(idle=2.0))
            connection.facts()
            proxy.links[0].arm(Fault("stall", "down", 120))
            with pytest.raises((OutcomeUnknown, TransferFailed)) as caught:
                connection.put(here, str(there))
        if isinstance(caught.value, TransferFailed):  # not even the channel was opened
            assert there.read_text() == "old"
        _wait_for_names(there.parent, "there")


def target_of_host(host: LoginHost, directory: Path, user: str = "engine") -> SshTarget:
    """The way into a test host."""
    (directory / "ssh_config").touch()
    return SshTarget(
        host=host.address,
        port=host.port,
        user=user,
        key=str(host.key),
        fingerprint=host.fingerprint,
        ssh_config=directory / "ssh_config",
        default_keys=False,
    )


def through(proxy: Proxy, server: Sshd) -> SshTarget:
    """The way into ``server`` through a proxy."""
    return target_of(server, port=proxy.port, fingerprint=server.fingerprint())


@contextmanager
def _growing(path: Path) -> Iterator[None]:
    """A file of some size that something appends to all the time."""
    path.write_bytes(bytes(20_000_000))
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait_for_names(directory: Path, *names: str) -> None:
    """Wait until ``directory`` holds exactly ``names``, while a script on the host tidies up."""
    until = time.monotonic() + 20
    while (found := {path.name for path in directory.iterdir()} - {"sshd1", "ssh_config"}) != set(names):
        assert time.monotonic() < until, found
        time.sleep(0.02)
