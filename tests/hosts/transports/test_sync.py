"""Directories of a host, copied by rsync over the connection that is open."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import Deadlines, SyncFailed, SyncProgress
from dlpx_remote.transports.privilege import PrivilegeRefused
from dlpx_remote.transports.ssh import SshConnection
from tests.hosts.faults.proxy import Fault, Kind, Proxy
from tests.hosts.ssh_host import SshHost
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import Connect, target_of
from tests.hosts.transports.test_files import target_of_host, through


@pytest.fixture(scope="module", name="sshd")
def _sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server whose account has no start-up files of its own."""
    home = tmp_path_factory.mktemp("home")
    with Sshd(tmp_path_factory.mktemp("sshd"), ["UsePAM no", f"SetEnv HOME={home}"]) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with all that is special in trees."""
    directory = tmp_path / "source"
    (directory / "below" / "deep").mkdir(parents=True)
    (directory / "file").write_text("content")
    (directory / "file").chmod(0o640)
    (directory / "below" / "deep" / "file").write_bytes(os.urandom(300_000))
    (directory / "below" / "log.txt").write_text("log")
    (directory / "hard").hardlink_to(directory / "file")
    (directory / "link").symlink_to("file")
    (directory / "nowhere").symlink_to("/no/such/place")
    (directory / "empty").mkdir(mode=0o700)
    (directory / "odd [name]*\n-").write_text("odd")
    (directory / os.fsdecode(b"\xff")).write_text("no UTF-8")
    return directory


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    directory = tmp_path / "copy"
    directory.mkdir()
    return directory


def tree(directory: Path) -> dict[str, object]:
    """What is in a directory: by path its kind, permissions, and content or target."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = (path.read_bytes(), status.st_mtime)
        found[str(path.relative_to(directory))] = (stat.filemode(status.st_mode), content)
    return found


def test_a_tree_comes_as_it_is(connection: SshConnection, source: Path, copy: Path) -> None:
    result = connection.sync(str(source), copy)
    assert tree(copy) == tree(source)
    assert (copy / "hard").samefile(copy / "file")
    assert (result.files, result.vanished) == (5, ())
    assert result.size > 300_000
    assert connection.sync(f"{source}/", copy).files == 0, "nothing has changed"


def test_what_is_gone_at_the_source_goes_here_too(
    connection: SshConnection, source: Path, copy: Path
) -> None:
    (copy / "old").write_text("old")
    connection.sync(str(source), copy, delete=False)
    assert (copy / "old").exists()
    connection.sync(str(source), copy)
    assert tree(copy) == tree(source)


@pytest.mark.parametrize(
    ("excluded", "gone"),
    [
        (["/below"], {"below", "below/deep", "below/deep/file", "below/log.txt"}),
        (["{source}/below/deep"], {"below/deep", "below/deep/file"}),
        (["*.txt", "/empty"], {"below/log.txt", "empty"}),
        (["# no comment", "+ file", "/fil"], set()),
        (["/odd \\[name\\]\\*\n-"], {"odd [name]*\n-"}),
    ],
)
def test_excluded_paths_do_not_come(
    excluded: list[str], gone: set[str], connection: SshConnection, source: Path, copy: Path
) -> None:
    patterns = [pattern.replace("{source}", str(source)) for pattern in excluded]
    connection.sync(str(source), copy, exclude_paths=patterns)
    assert set(tree(source)) - set(tree(copy)) == gone


def test_links_to_follow_come_as_what_they_lead_to(
    connection: SshConnection, source: Path, copy: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "data").write_text("outside")
    (outside / "inner" / "skip").write_text("skip")
    (source / "below" / "[out]").symlink_to(outside)
    links = [f"{source}/below/[out]", "/link"]
    for _ in range(2):
        connection.sync(
            str(source), copy, sym_links_to_follow=links, exclude_paths=["/below/[out]/inner/skip"]
        )
        assert (copy / "below" / "[out]" / "data").read_text() == "outside"
        assert list((copy / "below" / "[out]" / "inner").iterdir()) == []
        assert (copy / "link").read_text() == "content"
        assert not (copy / "link").is_symlink()
        assert (copy / "nowhere").is_symlink()
    connection.sync(str(source), copy)
    assert tree(copy) == tree(source)


@pytest.mark.parametrize("link", ["", "/", "../outside", "below/../../x"])
def test_a_link_outside_is_refused(link: str, connection: SshConnection, source: Path, copy: Path) -> None:
    with pytest.raises(InvalidRequest, match="no symbolic link below"):
        connection.sync(str(source), copy, sym_links_to_follow=[link])


def test_a_link_to_follow_that_leads_nowhere_is_told(
    connection: SshConnection, source: Path, copy: Path
) -> None:
    with pytest.raises(SyncFailed, match=r"nowhere .*No such file or directory"):
        connection.sync(str(source), copy, sym_links_to_follow=["nowhere"])


@pytest.mark.parametrize(
    "name", ["with blanks", "wild*[a]?", "-rf", "'quoted\"", "line\nfeed", "$(id)`id`", "a:b"]
)
def test_odd_directories_are_directories(
    name: str, connection: SshConnection, tmp_path: Path, copy: Path
) -> None:
    for made in (name, "wildly[a]x"):
        (tmp_path / "base" / made).mkdir(parents=True)
    (tmp_path / "base" / name / "file").write_text("content")
    connection.sync(str(tmp_path / "base" / name), copy)
    assert tree(copy) == tree(tmp_path / "base" / name)


def test_progress_is_told(connection: SshConnection, source: Path, copy: Path) -> None:
    (source / "big").write_bytes(bytes(5_000_000))
    told: list[SyncProgress] = []
    connection.sync(str(source), copy, on_progress=told.append)
    assert 99 <= told[-1].percent <= 100
    assert told[-1].size >= 5_000_000


def test_an_error_in_the_callback_ends_it(connection: SshConnection, source: Path, copy: Path) -> None:
    def fail(_: SyncProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        connection.sync(str(source), copy, on_progress=fail)
    assert connection.run("echo still").stdout == b"still\n"


def test_many_at_once_on_one_connection(connection: SshConnection, source: Path, tmp_path: Path) -> None:
    copies = [tmp_path / f"copy{number}" for number in range(6)]
    threads = []
    for place in copies:
        place.mkdir()
        threads.append(threading.Thread(target=connection.sync, args=(str(source), place)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(tree(place) == tree(source) for place in copies)


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("path", "reason"), [("{}/none", "No such file or directory"), ("{}/file", "Not a directory")]
    )
    def test_a_missing_source_is_told(
        self, path: str, reason: str, connection: SshConnection, source: Path, copy: Path
    ) -> None:
        with pytest.raises(SyncFailed, match=reason) as caught:
            connection.sync(path.format(source), copy)
        assert "Check the path" in caught.value.action

    def test_a_missing_destination_is_told(self, connection: SshConnection, source: Path, copy: Path) -> None:
        with pytest.raises(InvalidRequest, match="no directory"):
            connection.sync(str(source), copy / "none")

    def test_no_rsync_here_is_told(
        self, connection: SshConnection, source: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(SyncFailed, match="not installed on this machine"):
            connection.sync(str(source), copy)

    def test_no_rsync_there_is_told(
        self, start_sshd: Callable[..., Sshd], open_connection: Connect, source: Path, copy: Path
    ) -> None:
        tools = source.parent / "tools"
        tools.mkdir()
        for tool in ("bash", "cat", "id", "uname"):
            (tools / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing here"))
        connection = open_connection(target_of(start_sshd("UsePAM no", f"SetEnv HOME={tools} PATH={tools}")))
        facts = connection.facts()
        if "rsync" in facts.tools:  # found in one of the places that are always searched
            pytest.fail(f"rsync was found at {facts.tools['rsync']}")
        with pytest.raises(SyncFailed, match="rsync is not installed on 127"):
            connection.sync(str(source), copy)

    def test_what_may_not_be_read_is_named(
        self, ssh_host: SshHost, open_connection: Connect, copy: Path, tmp_path: Path
    ) -> None:
        connection = open_connection(target_of_host(ssh_host, tmp_path, "plain"))
        connection.run("mkdir data; echo x >data/open; echo x >data/closed; chmod 0 data/closed")
        try:
            with pytest.raises(SyncFailed, match="closed may not be read") as caught:
                connection.sync("data", copy)
            assert "exclude it" in caught.value.action
            connection.sync("data", copy, exclude_paths=["/closed"])
            assert [path.name for path in copy.iterdir()] == ["open"]
        finally:
            connection.run("rm -rf data")

    def test_no_space_here_is_told(self, connection: SshConnection, source: Path, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small file system")
        small = tmp_path / "small"
        small.mkdir()
        (source / "big").write_bytes(os.urandom(3_000_000))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
        try:
            with pytest.raises(SyncFailed, match="no space is left here"):
                connection.sync(str(source), small)
        finally:
            subprocess.run(["umount", str(small)], check=True)

    @pytest.mark.parametrize("kind", ["cut", "reset", "corrupt"])
    def test_a_lost_connection_is_told(
        self, kind: Kind, sshd: Sshd, open_connection: Connect, source: Path, copy: Path
    ) -> None:
        (source / "big").write_bytes(os.urandom(5_000_000))
        with Proxy(sshd.address, sshd.port) as proxy:
            connection = open_connection(through(proxy, sshd))
            connection.facts()
            proxy.links[0].arm(Fault(kind, "down", 500_000))
            with pytest.raises(SyncFailed, match="the connection was lost"):
                connection.sync(str(source), copy)
        assert not [path for path in copy.rglob(".*") if path.name.startswith(".big.")]

    def test_a_stall_ends_with_the_idle_time_out(
        self, sshd: Sshd, open_connection: Connect, source: Path, copy: Path
    ) -> None:
        (source / "big").write_bytes(os.urandom(5_000_000))
        with Proxy(sshd.address, sshd.port) as proxy:
            connection = open_connection(through(proxy, sshd), deadlines=Deadlines(idle=2.0))
            connection.facts()
            proxy.links[0].arm(Fault("stall", "down", 500_000))
            with pytest.raises(SyncFailed, match=r"silent|timeout|lost"):
                connection.sync(str(source), copy)

    def test_the_total_time_out_ends_it(self, connection: SshConnection, source: Path, copy: Path) -> None:
        (source / "big").write_bytes(bytes(400_000_000))
        with pytest.raises(SyncFailed, match=r"not done within 0\.3 s"):
            connection.sync(str(source), copy, timeout=0.3)
        assert connection.run("echo still").stdout == b"still\n"


class TestAnotherUser:
    @pytest.fixture
    def plain(self, own_ssh_host: SshHost, open_connection: Connect, tmp_path: Path) -> SshConnection:
        own_ssh_host.root(
            "install -d -o engine -m 700 /srv/data; install -o engine -m 600 /etc/hostname /srv/data/file"
        )
        return open_connection(target_of_host(own_ssh_host, tmp_path, "plain"))

    def test_the_rsync_user_reads_what_the_login_may_not(
        self, plain: SshConnection, own_ssh_host: SshHost, copy: Path
    ) -> None:
        own_ssh_host.root(
            "umask 337; echo 'plain ALL=(engine) NOPASSWD: /usr/bin/rsync' >/etc/sudoers.d/test"
        )
        with pytest.raises(SyncFailed, match="Permission denied"):
            plain.sync("/srv/data", copy)
        plain.sync("/srv/data", copy, rsync_user="engine")
        assert [path.name for path in copy.iterdir()] == ["file"]

    def test_a_refusal_says_which_line_sudoers_lack(self, plain: SshConnection, copy: Path) -> None:
        with pytest.raises(PrivilegeRefused, match="may not run") as caught:
            plain.sync("/srv/data", copy, rsync_user="engine")
        assert "plain ALL=(engine) NOPASSWD: /usr/bin/rsync" in caught.value.action
