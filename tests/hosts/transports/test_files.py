"""Files to and from a host: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dlpx_remote.transports.base import TransferFailed
from dlpx_remote.transports.ssh import SshConnection
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


def test_a_host_without_sftp_says_so(
    start_sshd: Callable[..., Sshd], open_connection: Connect, tmp_path: Path
) -> None:
    connection = open_connection(target_of(start_sshd("Subsystem other /bin/false")))
    (tmp_path / "here").write_text("x")
    with pytest.raises(TransferFailed, match="offers no SFTP") as caught:
        connection.put(tmp_path / "here", str(tmp_path / "there"))
    assert "sshd_config" in caught.value.action
    assert connection.run("echo still").stdout == b"still\n"
