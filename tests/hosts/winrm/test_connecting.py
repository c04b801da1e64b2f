"""Getting into a Windows host, and every way that fails."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from containers.winrm.responder import Authority, Settings, Stranger, WinRMHost
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports import sockets
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    CredentialUnusable,
    Deadlines,
    HandshakeFailed,
    HostKeyChanged,
    HostKeyError,
    HostKeyUnknown,
    LoginLost,
    NameNotResolved,
    SessionRefused,
)
from dlpx_remote.transports.ssh import TraceEvent
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.winrm import WinrmTarget, connect
from tests.hosts.winrm.conftest import WindowsFactory
from tests.hosts.winrm.windows import USER, Windows, decode

FEW_SECONDS = Deadlines(connect=2.0)


@pytest.fixture
def secure(windows_with: WindowsFactory) -> Iterator[Windows]:
    with windows_with(scheme="https") as windows:
        yield windows


def test_a_wrong_password_is_refused_and_not_tried_twice(every_windows: Windows) -> None:
    with pytest.raises(AuthenticationFailed, match=f"refused the login of {USER}") as caught:
        every_windows.connect(password=lambda: "another one")
    assert "not tried again" in caught.value.action
    tried = [each for each in every_windows.host.exchanges if each.request_headers.get("authorization")]
    assert len(tried) <= 2  # NTLM's negotiate and authenticate
    assert every_windows.host.counts.shells == 0


def test_a_user_that_is_not_there_is_refused(every_windows: Windows) -> None:
    with pytest.raises(AuthenticationFailed, match="refused the login of nobody"):
        every_windows.connect(user="nobody")


def test_a_domain_may_stand_before_the_user(host: Windows) -> None:
    with host.connect(user=rf"WINHOST\{USER}") as connection:
        assert connection.run("'x'", interpreter="powershell").exit_code == 0


@pytest.mark.parametrize(
    ("trouble", "part"),
    [("unknown-scheme", "it offers "), ("no-scheme", "it offers nothing")],
)
def test_a_host_that_offers_no_login_of_ours_says_which(
    every_windows: Windows, trouble: str, part: str
) -> None:
    every_windows.host.trouble(trouble, "HTTP", times=0)
    with pytest.raises(AuthenticationFailed, match=part):
        every_windows.connect()


def test_a_login_that_is_not_offered_names_those_that_are(windows_with: WindowsFactory) -> None:
    settings = Settings(schemes=("Negotiate",))
    with windows_with(authentication="basic", settings=settings) as windows:
        with pytest.raises(AuthenticationFailed, match="by Basic: it offers Negotiate") as caught:
            windows.connect()
        assert "--authentication" in caught.value.action
    with (
        windows_with(settings=Settings(schemes=("Basic",))) as windows,
        pytest.raises(AuthenticationFailed, match="by NTLM: it offers Basic"),
    ):
        windows.connect()


def test_clocks_that_differ_are_told_of(windows_with: WindowsFactory) -> None:
    with (
        windows_with(settings=Settings(clock_skew=3600)) as windows,
        pytest.raises(AuthenticationFailed) as caught,
    ):
        windows.connect(password=lambda: "another one")
    assert re.search(r"clock is (3599|3600) s ahead of this machine's", caught.value.action)


def test_an_account_that_may_not_open_a_shell_is_told_what_it_needs(host: Windows) -> None:
    host.host.trouble("fault", "Create", fault="access-denied")
    with pytest.raises(AuthenticationFailed, match="not open a shell there: Access is denied") as caught:
        host.connect()
    assert "Remote Management Users" in caught.value.action


def test_a_host_with_too_many_shells_says_so(host: Windows) -> None:
    host.host.trouble("fault", "Create", fault="shell-quota")
    with pytest.raises(SessionRefused, match="maximum number of concurrent shells"):
        host.connect()


@pytest.mark.parametrize("expired", [True, False])
def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, password: str, expired: bool) -> None:
    authority = Authority()
    identity = authority.server(expired=expired, not_yet=not expired)
    with WinRMHost({USER: password}, tls=identity, real_powershell=False) as host:
        target = WinrmTarget(
            "127.0.0.1",
            USER,
            port=host.port,
            password=lambda: password,
            ca_file=authority.write(tmp_path / "ca.pem"),
        )
        with pytest.raises(HostKeyError, match=r"has expired|is not valid yet") as caught:
            connect(target)
        assert "clocks" in caught.value.action
        assert host.counts.requests == 0


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, password: str) -> None:
    authority = Authority()
    identity = authority.server(["other.example"])
    with WinRMHost({USER: password}, tls=identity, real_powershell=False) as host:
        target = WinrmTarget(
            "127.0.0.1",
            USER,
            port=host.port,
            password=lambda: password,
            ca_file=authority.write(tmp_path / "ca.pem"),
        )
        with pytest.raises(HostKeyError, match="it is for another name"):
            connect(target)
        connect(replace(target, thumbprint=identity.thumbprint)).close()


def test_a_certificate_of_an_unknown_authority_is_refused(secure: Windows, tmp_path: Path) -> None:
    with pytest.raises(HostKeyUnknown, match=r"self.signed certificate in certificate chain|local issuer"):
        secure.connect(ca_file=None)
    with pytest.raises(HostKeyUnknown, match="is not accepted"):
        secure.connect(ca_file=Authority("another").write(tmp_path / "other.pem"))
    assert secure.host.counts.requests == 0


def test_a_pinned_thumbprint_needs_no_authority(tmp_path: Path, password: str) -> None:
    identity = Authority().server(["other.example"], expired=True)
    with WinRMHost({USER: password}, tls=identity, decoder=decode, real_powershell=False) as host:
        target = WinrmTarget("127.0.0.1", USER, port=host.port, password=lambda: password)
        for thumbprint in (identity.thumbprint, identity.thumbprint.lower(), identity.fingerprint):
            connect(replace(target, thumbprint=thumbprint)).close()
        with pytest.raises(HostKeyChanged, match="another certificate than the pinned one") as caught:
            connect(replace(target, thumbprint="0" * 40))
        assert caught.value.fingerprint == identity.thumbprint
        assert host.counts.shells_open == 0


def test_checking_can_be_switched_off(secure: Windows) -> None:
    with secure.connect(ca_file=None, verify=False) as connection:
        assert connection.run("'x'", interpreter="powershell").exit_code == 0


def test_a_certificate_lets_its_owner_in(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.client(USER).write(tmp_path, "client")
    with WinRMHost(
        {USER: "not used"},
        tls=authority.server(),
        client_authority=authority.certificate,
        decoder=decode,
        real_powershell=False,
    ) as host:
        target = WinrmTarget(
            "127.0.0.1",
            USER,
            port=host.port,
            authentication="certificate",
            certificate=certificate,
            key=key,
            ca_file=authority.write(tmp_path / "ca.pem"),
        )
        connect(target).close()
        assert host.counts.shells == 1
        assert {each.scheme for each in host.exchanges} == {"Certificate"}
        assert host.counts.shells_open == 0
        stranger, its_key = Authority("stranger").client(USER).write(tmp_path, "stranger")
        with pytest.raises(AuthenticationFailed, match="refused the client's certificate"):
            connect(replace(target, certificate=stranger, key=its_key))


@pytest.mark.parametrize(
    ("content", "part"), [(None, "No such file"), ("no certificate", "PEM|no start line|NO_CERTIFICATE")]
)
def test_files_that_cannot_be_used_are_told_of(
    host: Windows, tmp_path: Path, content: str | None, part: str
) -> None:
    path = tmp_path / "file.pem"
    if content:
        path.write_text(content)
    with pytest.raises(InvalidRequest, match=f"CA file .* cannot be used: .*({part})"):
        host.connect(scheme="https", ca_file=path)
    with pytest.raises(CredentialUnusable, match=f"cannot be used: .*({part})"):
        host.connect(scheme="https", authentication="certificate", certificate=path, key=path)


def test_http_where_https_is_asked_for_and_the_other_way_round(host: Windows, secure: Windows) -> None:
    with pytest.raises(HandshakeFailed, match="does not complete a TLS handshake") as caught:
        host.connect(scheme="https", deadlines=FEW_SECONDS)
    assert "--scheme http" in caught.value.action
    with pytest.raises(ConnectFailed):
        secure.connect(scheme="http", ca_file=None, deadlines=FEW_SECONDS)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("ssh", HandshakeFailed),
        ("web", ConnectFailed),
        ("garbage", HandshakeFailed),
        ("closing", ConnectFailed),
        ("closed", ConnectionRefused),
        ("silent", ConnectTimeout),
    ],
)
def test_a_port_of_something_else(password: str, scheme: str, kind: str, error: type[ConnectFailed]) -> None:
    with Stranger(kind) as stranger:  # type: ignore[arg-type]
        target = WinrmTarget(
            "127.0.0.1",
            USER,
            scheme=scheme,  # type: ignore[arg-type]
            port=stranger.port,
            password=lambda: password,
        )
        began = time.monotonic()
        with pytest.raises(error) as caught:
            connect(target, deadlines=Deadlines(connect=0.7 if kind == "silent" else 5))
        assert not isinstance(caught.value, AuthenticationFailed)
        assert caught.value.action
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_deadline_that_passes_while_the_line_is_opened_is_the_end(
    password: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """As on a machine that is too busy: what comes after must not wait for its own longest time."""
    really = sockets.connect

    def late(addresses: list[sockets.Address], deadline: Deadline) -> socket.socket:
        connection = really(addresses, deadline)
        time.sleep(0.6)
        return connection

    monkeypatch.setattr("dlpx_remote.transports.sockets.connect", late)
    with Stranger("silent") as stranger:
        target = WinrmTarget(
            "127.0.0.1",
            USER,
            scheme=scheme,  # type: ignore[arg-type]
            port=stranger.port,
            password=lambda: password,
        )
        began = time.monotonic()
        with pytest.raises(ConnectTimeout):
            connect(target, deadlines=Deadlines(connect=0.3))
        assert time.monotonic() - began < 60


def test_half_a_refusal_is_none(password: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 401 Unauthorized\r\nServer: Microsoft-HTTPAPI/2.0\r\nWWW-Authen")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(LoginLost):
            connect(WinrmTarget("127.0.0.1", USER, scheme="http", port=port, password=lambda: password))
        thread.join()


def test_a_name_that_is_none() -> None:
    with pytest.raises(NameNotResolved, match=r"host name no-such-host.invalid does not resolve"):
        connect(WinrmTarget("no-such-host.invalid", USER, password=str))


def test_kerberos_without_its_library_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winrm.transport.HAVE_KERBEROS", False)
    with pytest.raises(ConnectFailed, match="needs the package pykerberos") as caught:
        connect(WinrmTarget("127.0.0.1", USER, authentication="kerberos"))
    assert "dlpx-remote[kerberos]" in caught.value.action


@pytest.mark.parametrize(
    "trouble",
    ["empty", "not-soap", "broken-soap", "wrong-message-id", "no-message-id", "half-body", "half-chunk"],
)
def test_an_answer_to_the_login_that_is_none(every_windows: Windows, trouble: str) -> None:
    every_windows.host.trouble(trouble, "Create")
    with pytest.raises(ConnectFailed) as caught:
        every_windows.connect(deadlines=FEW_SECONDS)
    assert isinstance(caught.value, (HandshakeFailed, LoginLost))
    assert not isinstance(caught.value, AuthenticationFailed)
    assert every_windows.host.counts.shells_open == 0


@pytest.mark.parametrize("trouble", ["silence-before", "silence-after", "half-then-silence", "trickle"])
def test_a_login_that_never_ends(every_windows: Windows, trouble: str) -> None:
    every_windows.host.trouble(trouble, "Create", seconds=0 if trouble != "trickle" else 60)
    began = time.monotonic()
    with pytest.raises(ConnectTimeout):
        every_windows.connect(deadlines=Deadlines(connect=1.0))
    assert time.monotonic() - began < 20
    assert every_windows.host.counts.shells_open == 0


@pytest.mark.parametrize("trouble", ["bad-seal", "unsealed"])
def test_a_reply_that_somebody_in_between_could_have_written(host: Windows, trouble: str) -> None:
    host.host.trouble(trouble, "Create")
    with pytest.raises(ConnectFailed) as caught:
        host.connect()
    assert not isinstance(caught.value, AuthenticationFailed)
    assert host.host.counts.shells_open == 0


@pytest.mark.parametrize("status", [403, 404, 503])
def test_an_http_status_that_no_winrm_answers_with(host: Windows, status: int) -> None:
    host.host.trouble("status", "Create", status=status)
    with pytest.raises(ConnectFailed, match=f"HTTP status {status}"):
        host.connect()


def test_every_stage_is_reported(secure: Windows) -> None:
    events: list[TraceEvent] = []
    with connect(secure.target, trace=events.append) as connection:
        connection.run("'x'", interpreter="powershell")
    complete = [event.stage for event in events if event.state == "complete"]
    expected = ["resolve", "connect", "handshake", "host key", "auth", "channel", "run", "close"]
    assert complete == expected
    assert {event.address for event in events} == {secure.target.address}


def test_a_password_that_cannot_be_had_is_the_callers_error(host: Windows) -> None:
    def fail() -> str:
        raise InvalidRequest("The variable PASSWORD is not set.")

    with pytest.raises(InvalidRequest, match="PASSWORD is not set"):
        host.connect(password=fail)
    assert host.host.counts.connections == 0
