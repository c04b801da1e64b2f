"""What a login that broke off is called decides whether it may be tried again."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dlpx_remote.transports.base import AuthenticationFailed, LoginLost
from dlpx_remote.transports.ssh import SshTarget
from dlpx_remote.transports.ssh.errors import connect_error
from dlpx_remote.transports.ssh.session import Session
from dlpx_remote.transports.ssh.target import Hop, hops


@pytest.fixture
def hop(tmp_path: Path) -> Hop:
    (tmp_path / "ssh_config").touch()
    return hops(SshTarget(host="db1", user="joe", ssh_config=tmp_path / "ssh_config"))[-1]


@pytest.mark.parametrize(
    ("judging", "farewell", "expected"),
    [
        (True, "Too many authentication failures", AuthenticationFailed),
        (True, "", LoginLost),
        (False, "Invalid ssh2 packet type: 234", LoginLost),
        (False, "", LoginLost),
    ],
)
def test_only_a_host_that_had_credentials_to_judge_can_have_refused_them(
    hop: Hop, judging: bool, farewell: str, expected: type[Exception]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = Session(ours)
        session.farewell = farewell
        if judging:
            session._service_accepted.set()
        error = connect_error(session.lost(), hop, "auth", 5)
    assert type(error) is expected
    assert farewell in error.message
