"""What goes wrong on demand: each kind is seen on the wire, and what it carries out is carried out."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable

import pytest
import requests
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)

from containers.winrm.responder import FAULTS, KINDS, Reply, Trouble, WinRMHost
from tests.unit.containers.winrm.conftest import USER, Client

CREATE = (
    b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    b'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    b'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>'
    b"<a:Action>http://schemas.xmlsoap.org/ws/2004/09/transfer/Create</a:Action>"
    b"<a:MessageID>uuid:1</a:MessageID>"
    b"<w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd</w:ResourceURI></s:Header>"
    b'<s:Body><rsp:Shell xmlns:rsp="http://schemas.microsoft.com/wbem/wsman/1/windows/shell"/></s:Body>'
    b"</s:Envelope>"
)


def create(host: WinRMHost, password: str, body: bytes = CREATE, timeout: float = 5) -> requests.Response:
    """A Create in plain sight."""
    headers = {"Content-Type": "application/soap+xml;charset=UTF-8"}
    return requests.post(host.url, data=body, headers=headers, auth=(USER, password), timeout=timeout)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_faults_by_name(host: WinRMHost, client: Client, name: str) -> None:
    host.trouble("fault", "Command", fault=name)
    with pytest.raises((WSManFaultError, WinRMOperationTimeoutError)) as raised:
        client.start("hostname")
    if isinstance(raised.value, WSManFaultError):
        code = raised.value.wmierror_code if FAULTS[name].as_wmi else raised.value.wsman_fault_code
        assert code == FAULTS[name].code
        assert raised.value.fault_subcode == FAULTS[name].subcode
    else:
        assert name == "operation-timeout"
    assert host.counts.commands == 0
    assert client.run("hostname")[2] == 0


def test_a_fault_by_its_number(host: WinRMHost, client: Client) -> None:
    host.trouble("fault", "Command", fault="1234")
    with pytest.raises(WSManFaultError) as raised:
        client.start("hostname")
    assert raised.value.wsman_fault_code == 1234


def test_a_trouble_waits_for_its_turn_and_ends(host: WinRMHost, client: Client) -> None:
    host.trouble("status", "Command", after=1, times=2, status=503)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(client.run("hostname")[2])
        except WinRMTransportError as error:
            outcomes.append(error.code)
    assert outcomes == [0, 503, 503, 0]
    assert host.troubles.pending == ()


@pytest.mark.parametrize(
    ("kind", "offers"), [("unknown-scheme", 'Palantir realm="WSMAN"'), ("no-scheme", None)]
)
def test_a_401_that_helps_nobody(host: WinRMHost, password: str, kind: str, offers: str | None) -> None:
    host.trouble(kind, "HTTP", times=0)
    reply = create(host, password)
    assert (reply.status_code, reply.headers.get("WWW-Authenticate")) == (401, offers)
    assert host.counts.shells == 0


def test_a_login_that_is_suddenly_refused(host: WinRMHost, client: Client) -> None:
    host.trouble("unauthorized", "Command")
    with pytest.raises(InvalidCredentialsError):
        client.start("hostname")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("empty", rb"\A\Z"),
        ("not-soap", rb"<h1>It works!</h1>"),
        ("broken-soap", rb"\A<s:Envelope (?!.*</s:Envelope>)"),
        ("wrong-message-id", rb"<a:RelatesTo>uuid:[0-9A-F-]{36}</a:RelatesTo>"),
        ("no-message-id", rb"\A(?!.*RelatesTo)"),
    ],
)
def test_replies_that_make_no_sense(host: WinRMHost, password: str, kind: str, body: bytes) -> None:
    host.trouble(kind, "Create")
    reply = create(host, password)
    assert reply.status_code == 200
    assert re.search(body, reply.content, re.DOTALL)
    assert (host.counts.shells, host.exchanges[-1].trouble) == (1, kind)


@pytest.mark.parametrize(
    ("kind", "error", "carried_out"),
    [
        ("half-body", requests.exceptions.ChunkedEncodingError, 1),
        ("half-chunk", requests.exceptions.ChunkedEncodingError, 1),
        ("cut-before", requests.exceptions.ConnectionError, 0),
        ("cut-after", requests.exceptions.ConnectionError, 1),
        ("silence-before", requests.exceptions.ReadTimeout, 0),
        ("silence-after", requests.exceptions.ReadTimeout, 1),
        ("half-then-silence", requests.exceptions.ConnectionError, 1),
    ],
)
def test_replies_that_do_not_arrive(
    host: WinRMHost, password: str, kind: str, error: type[Exception], carried_out: int
) -> None:
    host.trouble(kind, "Create")
    with pytest.raises(error):
        create(host, password, timeout=0.5)
    assert host.counts.shells == carried_out


@pytest.mark.parametrize("kind", ["slow", "trickle"])
def test_replies_that_take_their_time(host: WinRMHost, password: str, kind: str) -> None:
    host.trouble(kind, "Create", seconds=0.2)
    assert b"ResourceCreated" in create(host, password).content


def test_a_stop_in_the_middle_of_receive(host: WinRMHost, client: Client) -> None:
    host.when("x", Reply(stdout="much", chunk=2))
    host.trouble("half-then-silence", "Receive", after=1, seconds=0.2)
    command = client.start("x")
    assert client.receive(command) == (b"mu", b"", -1, False)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.receive(command)


def test_an_encrypted_reply_whose_signature_does_not_fit(host: WinRMHost, password: str) -> None:
    client = Client(host, password, "ntlm")
    host.trouble("bad-seal", "Command")
    with pytest.raises(Exception, match="MIC"):
        client.start("hostname")
    assert host.counts.commands == 1


def test_a_plain_reply_to_an_encrypted_request(host: WinRMHost, password: str) -> None:
    client = Client(host, password, "ntlm")
    host.trouble("unsealed", "Command")
    client.start("hostname")
    assert (host.exchanges[-1].encrypted, host.exchanges[-1].trouble) == (True, "unsealed")


def test_a_cut_of_all_connections_is_seen_by_the_client(host: WinRMHost, client: Client) -> None:
    host.cut_connections()
    assert client.run("hostname")[2] == 0  # urllib3 connects again
    assert host.counts.connections == 2


def test_a_clock_that_is_wrong(password: str) -> None:
    from datetime import UTC, datetime, timedelta
    from email.utils import parsedate_to_datetime

    from containers.winrm.responder import Settings

    with WinRMHost({USER: password}, settings=Settings(clock_skew=-7200)) as host:
        date = parsedate_to_datetime(create(host, password).headers["Date"])
    assert datetime.now(UTC) - date > timedelta(minutes=119)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda body: b"", 200, None),
        (lambda body: b"no XML", 500, 2150858819),
        (lambda body: b"<a/>", 500, 2150858819),
        (lambda body: body.replace(b"uuid:1", b""), 500, 2150858769),
        (lambda body: body.replace(b"transfer/Create", b"transfer/Put"), 500, 2150858753),
        (lambda body: body.replace(b"shell/cmd", b"shell/nushell"), 500, 2150858811),
        (
            lambda body: body.replace(b"</s:Header>", b'<a:X s:mustUnderstand="1"/></s:Header>'),
            500,
            2150858768,
        ),
        (lambda body: body + b" " * 153600, 413, None),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    host: WinRMHost, password: str, change: Callable[[bytes], bytes], status: int, code: int | None
) -> None:
    reply = create(host, password, change(CREATE))
    assert reply.status_code == status
    if code:
        assert f'Code="{code}"'.encode() in reply.content
    assert host.counts.shells == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(host: WinRMHost, method: str) -> None:
    assert requests.request(method, host.url, timeout=5).status_code == 405


def test_another_path_is_not_found(host: WinRMHost, password: str) -> None:
    reply = requests.post(host.url + "x", data=b"x", auth=(USER, password), timeout=5)
    assert reply.status_code == 404


def test_a_request_in_chunks_is_read(host: WinRMHost, password: str) -> None:
    connection = http.client.HTTPConnection(host.address, host.port, timeout=5)
    authorization = requests.auth._basic_auth_str(USER, password)
    connection.request(
        "POST",
        "/wsman",
        body=iter([CREATE[:100], CREATE[100:]]),
        headers={"Authorization": authorization, "Transfer-Encoding": "chunked"},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_identify_needs_no_login_and_tells_no_version(host: WinRMHost, password: str) -> None:
    body = (
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:i="http://schemas.dmtf.org/wbem/'
        b'wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>'
    )
    headers = {"WSMANIDENTIFY": "unauthenticated"}
    anyone = requests.post(host.url, data=body, headers=headers, timeout=5).content
    known = requests.post(host.url, data=body, auth=(USER, password), timeout=5).content
    assert b"OS: 0.0.0 SP: 0.0 Stack: 3.0" in anyone
    assert b"OS: 10.0.20348 SP: 0.0 Stack: 3.0" in known


def test_without_login_only_identify_is_answered(host: WinRMHost) -> None:
    reply = requests.post(host.url, data=CREATE, headers={"WSMANIDENTIFY": "unauthenticated"}, timeout=5)
    assert (reply.status_code, host.counts.shells) == (500, 0)
    assert b'Code="5"' in reply.content


def test_every_reply_is_one_write(host: WinRMHost, password: str) -> None:
    with socket.create_connection((host.address, host.port), timeout=5) as connection:
        authorization = requests.auth._basic_auth_str(USER, password)
        head = f"POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        connection.sendall(f"{head}Content-Length: {len(CREATE)}\r\n\r\n".encode() + CREATE)
        reply = connection.recv(1 << 16)
    head, _, body = reply.decode().partition("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head


def test_kinds_that_need_a_request_say_so() -> None:
    with pytest.raises(ValueError, match="needs a request that has been read"):
        Trouble("empty", "HTTP")


def test_an_unknown_kind_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="half-chunk") as raised:
        Trouble("flood")
    assert all(kind in str(raised.value) for kind in KINDS)
