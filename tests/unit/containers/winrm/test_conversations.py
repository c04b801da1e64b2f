"""Envelopes on the wire: the form of the specification's section 4.7 in, the form of real hosts out.

What a real host writes is stated here as the order of elements, as found in recordings (see the README of
``containers/winrm``).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import requests

from containers.winrm.responder import Reply, WinRMHost
from tests.unit.containers.winrm.conftest import USER

SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
PREFIXES = {
    "http://www.w3.org/2003/05/soap-envelope": "s",
    "http://schemas.xmlsoap.org/ws/2004/08/addressing": "a",
    "http://schemas.xmlsoap.org/ws/2004/09/transfer": "x",
    "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd": "w",
    SHELL: "rsp",
}


def envelope(action: str, body: str, shell: str = "") -> bytes:
    """A request as the specification prints them: values on lines of their own."""
    selectors = (
        f'<wsman:SelectorSet><wsman:Selector Name="ShellID">\n  uuid:{shell.lower()}\n</wsman:Selector>'
        "</wsman:SelectorSet>"
    )
    return f"""<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
  xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing"
  xmlns:wsman="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:rsp="{SHELL}">
  <s:Header>
    <wsa:To>
      http://localhost:80/wsman
    </wsa:To>
    <wsman:ResourceURI s:mustUnderstand="true">
      {SHELL}/cmd
    </wsman:ResourceURI>
    <wsa:Action s:mustUnderstand="true">
      {action}
    </wsa:Action>
    <wsman:MaxEnvelopeSize s:mustUnderstand="true">
      153600
    </wsman:MaxEnvelopeSize>
    <wsa:MessageID>
      uuid:4ED2993C-4339-4E99-81FC-C2FD3812781A
    </wsa:MessageID>
    {selectors if shell else ""}
    <wsman:OperationTimeout>PT60.000S</wsman:OperationTimeout>
  </s:Header>
  <s:Body>{body}</s:Body>
</s:Envelope>""".encode()


def ask(host: WinRMHost, password: str, request: bytes) -> ET.Element:
    """The reply's envelope."""
    reply = requests.post(host.url, data=request, auth=(USER, password), timeout=5)
    assert reply.headers["Content-Type"] == "application/soap+xml;charset=UTF-8"
    assert reply.headers["Server"] == "Microsoft-HTTPAPI/2.0"
    return ET.fromstring(reply.content)


def names(element: ET.Element) -> list[str]:
    """Names of all elements below the body, in order, with the usual prefixes."""
    body = element.find("{http://www.w3.org/2003/05/soap-envelope}Body")
    assert body is not None
    found = []
    for child in body.iter():
        namespace, _, name = child.tag[1:].partition("}")
        found.append(f"{PREFIXES.get(namespace, namespace)}:{name}")
    return found[1:]


def text(element: ET.Element, name: str, namespace: str = SHELL) -> str:
    """Text of the first element with this name."""
    return element.findtext(f".//{{{namespace}}}{name}") or ""


def test_a_conversation_in_the_form_of_the_specification(host: WinRMHost, password: str) -> None:
    host.when(r"^del \*\.txt /p$", Reply(stdout="Delete (Y/N)?", exit_code=1))
    created = ask(
        host,
        password,
        envelope(
            "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create",
            "<rsp:Shell><rsp:Environment><rsp:Variable Name='test'>1</rsp:Variable></rsp:Environment>"
            "<rsp:WorkingDirectory>c:\\windows</rsp:WorkingDirectory><rsp:Lifetime>PT1000.000S</rsp:Lifetime>"
            "<rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams>"
            "</rsp:Shell>",
        ),
    )
    assert names(created) == [
        "x:ResourceCreated",
        "a:Address",
        "a:ReferenceParameters",
        "w:ResourceURI",
        "w:SelectorSet",
        "w:Selector",
        "rsp:Shell",
        "rsp:ShellId",
        "rsp:ResourceUri",
        "rsp:Owner",
        "rsp:ClientIP",
        "rsp:Environment",
        "rsp:Variable",
        "rsp:WorkingDirectory",
        "rsp:IdleTimeOut",
        "rsp:InputStreams",
        "rsp:OutputStreams",
        "rsp:ShellRunTime",
        "rsp:ShellInactivity",
    ]
    addressing = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
    assert text(created, "RelatesTo", addressing) == "uuid:4ED2993C-4339-4E99-81FC-C2FD3812781A"
    assert text(created, "Address", addressing) == "http://localhost:80/wsman"
    shell = text(created, "ShellId")

    started = ask(
        host,
        password,
        envelope(
            f"{SHELL}/Command",
            "<rsp:CommandLine><rsp:Command>del</rsp:Command><rsp:Arguments>*.txt</rsp:Arguments>"
            "<rsp:Arguments>/p</rsp:Arguments></rsp:CommandLine>",
            shell,
        ),
    )
    assert names(started) == ["rsp:CommandResponse", "rsp:CommandId"]
    command = text(started, "CommandId")

    received = ask(
        host,
        password,
        envelope(
            f"{SHELL}/Receive",
            f'<rsp:Receive SequenceId="0"><rsp:DesiredStream CommandId="uuid:{command}">stdout stderr'
            "</rsp:DesiredStream></rsp:Receive>",
            shell,
        ),
    )
    assert names(received) == [
        "rsp:ReceiveResponse",
        "rsp:Stream",
        "rsp:Stream",
        "rsp:Stream",
        "rsp:CommandState",
        "rsp:ExitCode",
    ]
    streams = [(item.get("Name"), item.get("End")) for item in received.iter(f"{{{SHELL}}}Stream")]
    assert streams == [("stdout", None), ("stdout", "true"), ("stderr", "true")]

    code = f"<rsp:Code>\n  {SHELL}/signal/terminate\n</rsp:Code>"
    signalled = ask(
        host,
        password,
        envelope(f"{SHELL}/Signal", f'<rsp:Signal CommandId="{command}">{code}</rsp:Signal>', shell),
    )
    assert names(signalled) == ["rsp:SignalResponse"]

    deleted = ask(
        host, password, envelope("http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete", "", shell)
    )
    assert names(deleted) == []
    assert (host.counts.shells_open, host.counts.commands_open) == (0, 0)


def test_a_client_may_choose_identifiers(host: WinRMHost, password: str) -> None:
    shell, command = "0A2F2E3C-0000-4000-8000-000000000001", "0A2F2E3C-0000-4000-8000-000000000002"
    created = ask(
        host,
        password,
        envelope("http://schemas.xmlsoap.org/ws/2004/09/transfer/Create", f'<rsp:Shell ShellId="{shell}"/>'),
    )
    assert text(created, "ShellId") == shell
    line = f'<rsp:CommandLine CommandId="{command}"><rsp:Command>hostname</rsp:Command></rsp:CommandLine>'
    assert text(ask(host, password, envelope(f"{SHELL}/Command", line, shell)), "CommandId") == command


def test_the_configuration_tells_the_quotas(host: WinRMHost, password: str) -> None:
    request = envelope("http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", "")
    config = ask(
        host,
        password,
        request.replace(f"{SHELL}/cmd".encode(), b"http://schemas.microsoft.com/wbem/wsman/1/config"),
    )
    namespace = "http://schemas.microsoft.com/wbem/wsman/1/config"
    assert text(config, "MaxEnvelopeSizekb", namespace) == "150"
    assert text(config, "MaxShellsPerUser", namespace) == "30"
