"""Ways in over HTTP: Basic, NTLM and SPNEGO with message encryption, and who is turned away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError

from containers.winrm.responder import Settings, WinRMHost
from tests.secret_scan import secret
from tests.unit.containers.winrm.conftest import USER, Client


@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
def test_pywinrm_gets_in(host: WinRMHost, password: str, scheme: str) -> None:
    client = Client(host, password, scheme)
    assert client.run("whoami") == (b"winhost\\administrator\r\n", b"", 0)
    client.close()
    assert host.counts.connections == 1
    assert {exchange.encrypted for exchange in host.exchanges if exchange.action} == {scheme == "ntlm"}


@pytest.mark.parametrize(
    ("scheme", "encryption"), [("basic", "never"), ("ntlm", "always"), ("negotiate", "always")]
)
def test_pypsrp_gets_in(host: WinRMHost, password: str, scheme: str, encryption: str) -> None:
    wsman = WSMan(
        host.address,
        port=host.port,
        ssl=False,
        username=USER,
        password=password,
        auth=scheme,
        encryption=encryption,
        no_proxy=True,
    )
    with wsman, WinRS(wsman) as shell:
        process = Process(shell, "whoami")
        process.invoke()
        process.signal(SignalCode.CTRL_C)
        assert (process.stdout, process.rc) == (b"winhost\\administrator\r\n", 0)
    assert host.counts.shells_open == 0
    assert {exchange.encrypted for exchange in host.exchanges if exchange.action} == {encryption == "always"}


@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
def test_a_wrong_password_is_turned_away(host: WinRMHost, scheme: str) -> None:
    with pytest.raises(InvalidCredentialsError):
        Client(host, secret("wrong password of a WinRM user"), scheme)
    assert host.counts.shells == 0
    assert host.counts.unauthorized >= 1


def test_a_user_may_name_the_host_as_domain(host: WinRMHost, password: str) -> None:
    for name in (rf"WINHOST\{USER}", rf".\{USER}", USER.lower()):
        wsman = WSMan(host.address, port=host.port, ssl=False, username=name, password=password, auth="ntlm")
        with wsman, WinRS(wsman):
            assert host.exchanges[-1].user == USER


def test_basic_is_not_offered_over_http_where_plain_messages_are_refused(password: str) -> None:
    with WinRMHost({USER: password}, settings=Settings(unencrypted=False)) as host:
        with pytest.raises(InvalidCredentialsError):
            Client(host, password, "basic")
        assert Client(host, password, "ntlm").run("hostname")[0] == b"WINHOST\r\n"


def test_records_hold_no_credentials(host: WinRMHost, password: str) -> None:
    Client(host, password, "basic").run("hostname")
    assert {exchange.request_headers["authorization"] for exchange in host.exchanges} == {"Basic"}


def test_a_message_sealed_for_another_connection_is_refused(host: WinRMHost, password: str) -> None:
    client = Client(host, password, "ntlm")
    host.cut_connections()
    with pytest.raises(WinRMTransportError) as raised:
        client.start("hostname")  # pywinrm logs in anew, and sends what it has sealed for the old login
    assert raised.value.code == 400
    assert (host.counts.connections, host.counts.commands) == (2, 0)


def test_many_clients_at_once_are_counted_exactly(host: WinRMHost, password: str) -> None:
    def work(scheme: str) -> list[int]:
        client = Client(host, password, scheme)
        codes = [client.run("exit", "3")[2] for _ in range(10)]
        client.close()
        return codes

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(work, ["basic", "ntlm"] * 4))
    assert codes == [[3] * 10] * 8
    counts = host.counts
    assert (counts.shells, counts.shells_open, counts.commands, counts.commands_open) == (8, 0, 80, 0)
    assert counts.connections == 8
    assert (
        counts.requests == sum(counts.actions.values()) + counts.unauthorized + 4
    )  # the empty first messages
