"""HTTPS: certificates good and bad, channel bindings, ways in by certificate, and ports of something else."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from pypsrp.shell import Process, WinRS
from pypsrp.wsman import WSMan
from winrm.exceptions import InvalidCredentialsError

from containers.winrm.responder import Authority, Settings, Stranger, WinRMHost
from containers.winrm.responder.strangers import Kind
from tests.unit.containers.winrm.conftest import USER, Client


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def trusted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File with the authority's certificate."""
    return str(authority.write(tmp_path_factory.mktemp("authority") / "ca.pem"))


@pytest.mark.parametrize("scheme", ["ssl", "ntlm"])
def test_a_good_certificate_lets_clients_connect(
    authority: Authority, trusted: str, password: str, scheme: str
) -> None:
    with WinRMHost({USER: password}, tls=authority.server()) as host:
        client = Client(host, password, scheme, ca_trust_path=trusted)
        assert client.run("hostname")[0] == b"WINHOST\r\n"
        client.close()
        assert host.counts.connections == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", "certificate has expired"),
        ("not yet", "certificate is not yet valid"),
        ("name", "IP address mismatch"),
        ("authority", "unable to get local issuer certificate|self-signed certificate in certificate chain"),
    ],
)
def test_a_bad_certificate_is_refused(
    authority: Authority, trusted: str, password: str, fault: str, words: str
) -> None:
    identity = {
        "expired": lambda: authority.server(expired=True),
        "not yet": lambda: authority.server(not_yet=True),
        "name": lambda: authority.server(["192.0.2.7", "windows.example"]),
        "authority": lambda: Authority("Another authority").server(),
    }[fault]()
    with WinRMHost({USER: password}, tls=identity) as host:
        with pytest.raises(requests.exceptions.SSLError, match=words):
            Client(host, password, "ssl", ca_trust_path=trusted)
        assert (host.counts.requests, host.counts.shells) == (0, 0)


def test_a_client_certificate_lets_its_user_in(authority: Authority, trusted: str, tmp_path: Path) -> None:
    certificate, key = authority.client(USER).write(tmp_path, "client")
    with WinRMHost({USER: ""}, tls=authority.server(), client_authority=authority.certificate) as host:
        client = Client(
            host,
            "",
            "certificate",
            ca_trust_path=trusted,
            cert_pem=str(certificate),
            cert_key_pem=str(key),
        )
        assert client.run("whoami")[0] == b"winhost\\administrator\r\n"
        assert host.exchanges[-1].scheme == "Certificate"


def test_a_client_certificate_of_nobody_is_turned_away(
    authority: Authority, trusted: str, tmp_path: Path
) -> None:
    certificate, key = authority.client("Nobody").write(tmp_path, "client")
    files = {"ca_trust_path": trusted, "cert_pem": str(certificate), "cert_key_pem": str(key)}
    with (
        WinRMHost({USER: ""}, tls=authority.server(), client_authority=authority.certificate) as host,
        pytest.raises(InvalidCredentialsError),
    ):
        Client(host, "", "certificate", **files)


def test_strict_channel_bindings_turn_away_who_presents_none(
    authority: Authority, trusted: str, password: str
) -> None:
    settings = Settings(strict_bindings=True)
    with WinRMHost({USER: password}, tls=authority.server(), settings=settings) as host:
        assert Client(host, password, "ntlm", ca_trust_path=trusted).run("hostname")[2] == 0
        with pytest.raises(InvalidCredentialsError):
            Client(host, password, "ntlm", ca_trust_path=trusted, send_cbt=False)


def test_pypsrp_gets_in_over_https_by_spnego(authority: Authority, trusted: str, password: str) -> None:
    with WinRMHost({USER: password}, tls=authority.server(), settings=Settings(strict_bindings=True)) as host:
        ca: Any = trusted  # a path is taken too, says its documentation
        wsman = WSMan(
            host.address,
            port=host.port,
            username=USER,
            password=password,
            cert_validation=ca,
            no_proxy=True,
        )
        with wsman, WinRS(wsman) as shell:
            process = Process(shell, "hostname")
            process.invoke()
            assert process.stdout == b"WINHOST\r\n"


def test_both_ports_are_one_host(authority: Authority, trusted: str, password: str) -> None:
    with WinRMHost({USER: password}, tls=authority.server(), plain_too=True) as host:
        secure = Client(host, password, "ssl", ca_trust_path=trusted)
        plain = Client(host, password, url=host.plain_url)
        plain.shell = secure.shell
        assert plain.run("hostname")[2] == 0
        assert (host.counts.connections, host.counts.shells_open) == (2, 2)


def test_connections_over_tls_can_be_cut(authority: Authority, trusted: str, password: str) -> None:
    with WinRMHost({USER: password}, tls=authority.server()) as host:
        client = Client(host, password, "ssl", ca_trust_path=trusted)
        host.cut_connections()
        assert client.run("hostname")[2] == 0  # urllib3 connects again
        assert host.counts.connections == 2


def test_a_host_ends_while_clients_say_nothing(authority: Authority, password: str) -> None:
    before = set(threading.enumerate())
    with WinRMHost({USER: password}, tls=authority.server(), plain_too=True) as host:
        silent = [socket.create_connection((host.address, port)) for port in (host.port, host.plain_port)]
        while host.counts.connections_open < 2:
            time.sleep(0.001)
    for connection in silent:
        assert connection.recv(1) == b""
        connection.close()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(5)
    assert not any(thread.is_alive() for thread in left)


def test_http_on_the_port_of_https_ends_the_connection(authority: Authority, password: str) -> None:
    with WinRMHost({USER: password}, tls=authority.server()) as host:
        with pytest.raises(requests.exceptions.ConnectionError):
            Client(host, password, url=host.url.replace("https", "http"))
        assert host.counts.requests == 0


def test_certificates_have_the_names_that_clients_pin(authority: Authority) -> None:
    identity = authority.server()
    assert len(identity.thumbprint) == 40
    assert identity.thumbprint == identity.thumbprint.upper()
    assert len(identity.fingerprint) == 64


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("ssh", requests.exceptions.ConnectionError),
        ("garbage", requests.exceptions.ConnectionError),
        ("closing", requests.exceptions.ConnectionError),
        ("closed", requests.exceptions.ConnectionError),
        ("silent", requests.exceptions.ReadTimeout),
    ],
)
def test_ports_of_something_else_are_no_winrm(kind: Kind, error: type[Exception]) -> None:
    with Stranger(kind) as stranger, pytest.raises(error):
        requests.post(f"http://127.0.0.1:{stranger.port}/wsman", data=b"x", timeout=1)


def test_a_web_server_answers_without_winrm() -> None:
    with Stranger("web") as stranger:
        reply = requests.post(f"http://127.0.0.1:{stranger.port}/wsman", data=b"x", timeout=5)
    assert reply.status_code == 404
