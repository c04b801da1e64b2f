"""Logins with tickets of a real KDC: a host that takes them, and everything that is wrong with tickets."""

from __future__ import annotations

import base64
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from containers.winrm.responder import NoTickets, Reply, Settings, WinRMHost
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CredentialUnusable,
    Deadlines,
    HostKeyError,
    NotSent,
)
from dlpx_remote.transports.winrm import WinrmConnection
from tests.hosts.realm import NAME, Realm
from tests.hosts.winrm.conftest import WindowsFactory
from tests.hosts.winrm.windows import USER, Windows

SERVICE = "HTTP/localhost"
SCHEMES = ("http", "https")


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with Realm(tmp_path_factory.mktemp("realm")) as realm:
        realm.add(USER)
        realm.add("stranger")
        realm.add(SERVICE)
        yield realm


@pytest.fixture
def realm(kdc: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    """A realm whose user has a ticket."""
    for name, value in kdc.environment.items():
        monkeypatch.setenv(name, value)
    kdc.log_in(USER)
    yield kdc
    kdc.forget()


@pytest.fixture(params=SCHEMES)
def windows(request: pytest.FixtureRequest, realm: Realm, windows_with: WindowsFactory) -> Iterator[Windows]:
    """A host that takes tickets, over HTTP and HTTPS."""
    settings = Settings(keytab=str(realm.keytab(SERVICE)))
    with windows_with(scheme=request.param, settings=settings) as windows:
        yield windows


def enter(windows: Windows, **changes: Any) -> WinrmConnection:
    changes = {"host": "localhost", "authentication": "kerberos", "password": None, **changes}
    return windows.connect(**changes)


def run(connection: WinrmConnection) -> bytes:
    return connection.run("'x'", interpreter="powershell").stdout


@pytest.mark.parametrize("user", [USER, f"{USER}@{NAME}"])
def test_a_ticket_lets_its_owner_in_and_encrypts_what_goes_over_http(windows: Windows, user: str) -> None:
    windows.script("^#", lambda call: Reply(stdout=call.script))
    script = f"# {'ä' * 300_000} \U0001f600"
    with enter(windows, user=user) as connection:
        assert run(connection) == b"x\r\n"
        before = windows.host.counts
        assert run(connection) == b"x\r\n"
        warm = windows.host.counts
        assert (warm.requests - before.requests, warm.connections) == (3, 1)
        assert connection.run(script, interpreter="powershell").stdout.decode() == script
    messages = [each for each in windows.host.exchanges if each.action]
    assert {(each.user, each.scheme) for each in messages} == {(USER, "Kerberos")}
    assert {each.encrypted for each in messages} == {windows.target.scheme == "http"}


def test_commands_side_by_side_have_a_login_each(windows: Windows) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with enter(windows) as connection, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: run(connection), range(12))) == [b"x\r\n"] * 12
    assert windows.host.counts.shells == 1


def test_without_a_ticket_nothing_is_sent_and_a_ticket_that_comes_later_helps(
    windows: Windows, realm: Realm
) -> None:
    realm.forget()
    with pytest.raises(CredentialUnusable, match=f"{USER} has no Kerberos ticket for {SERVICE}: ") as caught:
        enter(windows)
    assert f"kinit {USER}" in caught.value.action
    assert windows.host.counts.requests == 0
    realm.log_in(USER)
    with enter(windows) as connection:
        assert run(connection) == b"x\r\n"


def test_the_ticket_of_somebody_else_is_not_ours(windows: Windows, realm: Realm) -> None:
    realm.log_in("stranger")
    with pytest.raises(CredentialUnusable, match=r"find client principal|No Kerberos credentials"):
        enter(windows)
    with pytest.raises(AuthenticationFailed, match="refused the login of stranger"):
        enter(windows, user="stranger")  # whom the host does not know
    assert windows.host.counts.shells == 0


def test_an_expired_ticket_is_told_of(windows: Windows, realm: Realm) -> None:
    shift_clock(realm.tickets, 2 * 3600)
    with pytest.raises(CredentialUnusable, match=f"no Kerberos ticket for {SERVICE}: Ticket expired"):
        enter(windows)
    assert windows.host.counts.requests == 0


def test_a_ticket_that_expired_just_now_is_told_of(windows: Windows, realm: Realm) -> None:
    """Within the clock skew that Kerberos allows, the host still takes it; the library does not go on."""
    realm.log_in(USER, seconds=1)
    until = time.monotonic() + 60
    while realm.has_ticket:
        assert time.monotonic() < until
        time.sleep(0.1)
    with pytest.raises(CredentialUnusable, match=f"no Kerberos ticket for {SERVICE}: Ticket expired"):
        enter(windows)
    windows.host.forget_shells()


def test_a_ticket_that_expires_meanwhile_ends_what_needs_a_new_login(windows: Windows, realm: Realm) -> None:
    with enter(windows) as connection:
        assert run(connection) == b"x\r\n"
        realm.forget()
        assert run(connection) == b"x\r\n"  # over the login that stands
        windows.host.cut_connections()
        time.sleep(0.1)
        with pytest.raises(NotSent, match="has no Kerberos ticket"):
            run(connection)
        realm.log_in(USER)
        assert run(connection) == b"x\r\n"


def test_a_host_that_the_realm_does_not_know_is_told_of(windows: Windows) -> None:
    with pytest.raises(CredentialUnusable, match=r"HTTP/127.0.0.1: Server .* not found|Cannot find KDC"):
        enter(windows, host="127.0.0.1")
    assert windows.host.counts.requests == 0


def test_a_realm_that_is_not_there_is_told_of(
    windows: Windows, realm: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "krb5.conf"
    good = (realm.directory / "krb5.conf").read_text()
    config.write_text(re.sub(r"kdc = \S+", "kdc = 127.0.0.1:1", good))
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    with pytest.raises(CredentialUnusable, match="Cannot contact any KDC"):
        enter(windows)


def test_a_host_with_another_key_refuses(windows: Windows, realm: Realm) -> None:
    realm.change_key(SERVICE)
    try:
        with pytest.raises(AuthenticationFailed, match=f"refused the login of {USER}") as caught:
            enter(windows)
    finally:
        realm.take_key(SERVICE)
    assert f"another key than the one of {SERVICE}" in caught.value.action
    assert windows.host.counts.shells == 0


def test_a_clock_that_is_wrong_is_told_of(realm: Realm, windows_with: WindowsFactory) -> None:
    realm.get(f"{SERVICE}@{NAME}")
    shift_clock(realm.tickets, 1800)
    settings = Settings(keytab=str(realm.keytab(SERVICE)), clock_skew=-1800)
    with windows_with(settings=settings) as windows:
        with pytest.raises(AuthenticationFailed, match="refused the login") as caught:
            enter(windows)
        assert "s behind this machine's" in caught.value.action
        assert windows.host.counts.shells == 0


def test_a_host_that_does_not_prove_itself_gets_no_script(windows: Windows) -> None:
    windows.host.trouble("unproven", "HTTP", times=0)
    with pytest.raises(HostKeyError, match="did not prove by Kerberos"):
        enter(windows)
    assert windows.host.counts.commands == 0
    windows.host.forget_shells()


@pytest.mark.parametrize("trouble", ["bad-seal", "unsealed"])
def test_a_reply_that_somebody_in_between_could_have_written(
    realm: Realm, windows_with: WindowsFactory, trouble: str
) -> None:
    with windows_with(settings=Settings(keytab=str(realm.keytab(SERVICE)))) as windows:
        with enter(windows, deadlines=Deadlines(settle=0.5)) as connection:
            windows.host.trouble(trouble, "Command")
            with pytest.raises(NotSent):
                run(connection)
            assert run(connection) == b"x\r\n"
        assert windows.host.counts.shells_open == 0


def test_a_host_that_takes_no_tickets_refuses_them(realm: Realm, windows_with: WindowsFactory) -> None:
    with windows_with(settings=Settings(schemes=("Basic",))) as windows:
        with pytest.raises(AuthenticationFailed, match="by Kerberos: it offers Basic"):
            enter(windows)
        assert windows.host.counts.shells == 0


def test_a_name_with_a_windows_domain_is_none_of_kerberos(host: Windows) -> None:
    with pytest.raises(InvalidRequest, match=r"EXAMPLE\\anna cannot log in by Kerberos"):
        enter(host, user=r"EXAMPLE\anna")
    assert host.host.counts.connections == 0


def test_a_ticket_inside_spnego_is_taken_too(realm: Realm, password: str) -> None:
    import kerberos

    with WinRMHost({USER: password}, settings=Settings(keytab=str(realm.keytab(SERVICE)))) as host:
        _, context = kerberos.authGSSClientInit("HTTP@localhost", mech_oid=kerberos.GSS_MECH_OID_SPNEGO)
        kerberos.authGSSClientStep(context, "")
        token = kerberos.authGSSClientResponse(context)
        headers = {"Authorization": f"Negotiate {token}"}
        reply = requests.post(host.url, headers=headers, timeout=20)
        assert reply.status_code == 200
        answer = reply.headers["WWW-Authenticate"].removeprefix("Negotiate ")
        assert kerberos.authGSSClientStep(context, answer) == kerberos.AUTH_GSS_COMPLETE
        garbled = base64.b64encode(base64.b64decode(token)[:-9] + b"123456789").decode()
        headers = {"Authorization": f"Negotiate {garbled}"}
        assert requests.post(host.url, headers=headers, timeout=20).status_code == 401


def test_a_keytab_that_is_not_there_is_told_of(password: str, tmp_path: Path) -> None:
    with pytest.raises(NoTickets, match="There is no keytab"):
        WinRMHost({USER: password}, settings=Settings(keytab=str(tmp_path / "keytab")))


def shift_clock(tickets: Path, seconds: int) -> None:
    """What the library does when the KDC's clock differs: it reckons with the difference, from then on.

    It stands in the header of the cache of tickets (version 4, tag 1): written there, the client's
    authenticators carry a wrong time, as those of a machine whose clock is wrong.
    """
    content = tickets.read_bytes()
    assert content[:2] == b"\x05\x04"
    (length,) = struct.unpack(">H", content[2:4])
    header = struct.pack(">HHii", 1, 8, seconds, 0)
    tickets.write_bytes(content[:2] + struct.pack(">H", len(header)) + header + content[4 + length :])
