"""The WS-Management messages of a shell: requests written, replies read. Pure: text in, text out.

Headers are pywinrm's; bodies follow MS-WSMV 2.2.4 and 3.1.4. Shells and commands get identifiers that the
client chose, where the host honours that (Windows 8 and Server 2012 on): so it can also end what it never
heard back about.
"""

from __future__ import annotations

import base64
import binascii
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import xmltodict

from dlpx_remote.transports.base import StreamName

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
RESOURCE = f"{SHELL}/cmd"
TERMINATE = f"{SHELL}/signal/terminate"

ENVELOPE = 153_600
"""Bytes of a message that every host takes; newer ones take 500 KiB unless they were told otherwise."""

PIECE = 105_000
"""Bytes of stdin in one Send: in base64, encrypted and with its header still below ``ENVELOPE``."""

Action = Literal["Create", "Command", "Send", "Receive", "Signal", "Delete"]
Header = Callable[..., dict[str, Any]]
"""pywinrm's ``Protocol.build_wsman_header``."""

_ACTIONS: dict[Action, str] = {
    "Create": f"{TRANSFER}/Create",
    "Delete": f"{TRANSFER}/Delete",
    "Command": f"{SHELL}/Command",
    "Send": f"{SHELL}/Send",
    "Receive": f"{SHELL}/Receive",
    "Signal": f"{SHELL}/Signal",
}


class NotUnderstood(Exception):
    """A reply that is not what was asked for; the text says in what, without a full stop."""


@dataclass(frozen=True)
class Request:
    """A message to be sent.

    Attributes:
        action: what it asks for.
        message_id: that the reply must relate to.
        text: the envelope.
    """

    action: Action
    message_id: str
    text: str


@dataclass(frozen=True)
class Received:
    """What a Receive brought.

    Attributes:
        pieces: stream and bytes, in the order of the reply.
        exit_code: None while the command runs.
    """

    pieces: tuple[tuple[StreamName, bytes], ...]
    exit_code: int | None


def new_id() -> str:
    """An identifier in the form that Windows writes."""
    return str(uuid.uuid4()).upper()


class Messages:
    """Writes requests.

    Args:
        header: makes the header of a message.
        host: ``host:port`` for the address in it.
    """

    def __init__(self, header: Header, url: str) -> None:
        self._header = header
        self._url = url

    def create(self, shell_id: str, *, seconds: float, idle_timeout: float) -> Request:
        """Create a shell that ends by itself after ``idle_timeout`` seconds without a request."""
        options = {"WINRS_NOPROFILE": "FALSE", "WINRS_CODEPAGE": "65001"}
        body = {
            "rsp:Shell": {
                "@ShellId": shell_id,
                # In the order of the schema (MS-WSMV 2.2.4.39).
                "rsp:IdleTimeOut": f"PT{idle_timeout:.3f}S",
                "rsp:InputStreams": "stdin",
                "rsp:OutputStreams": "stdout stderr",
            }
        }
        return self._request("Create", None, body, seconds, options)

    def command(self, shell_id: str, command_id: str, line: str, *, seconds: float) -> Request:
        """Start a process whose stdin is a pipe."""
        options = {"WINRS_CONSOLEMODE_STDIN": "FALSE", "WINRS_SKIP_CMD_SHELL": "FALSE"}
        body = {"rsp:CommandLine": {"@CommandId": command_id, "rsp:Command": line}}
        return self._request("Command", shell_id, body, seconds, options)

    def send(self, shell_id: str, command_id: str, data: bytes, *, end: bool, seconds: float) -> Request:
        """Give ``data`` to the process; ``end`` closes its stdin."""
        stream = {
            "@Name": "stdin",
            "@CommandId": command_id,
            "@End": "true" if end else "false",
            "#text": base64.b64encode(data).decode(),
        }
        return self._request("Send", shell_id, {"rsp:Send": {"rsp:Stream": stream}}, seconds)

    def receive(self, shell_id: str, command_id: str, *, seconds: float) -> Request:
        """Ask for what the process has written; answered after ``seconds`` at the latest."""
        stream = {"@CommandId": command_id, "#text": "stdout stderr"}
        return self._request("Receive", shell_id, {"rsp:Receive": {"rsp:DesiredStream": stream}}, seconds)

    def terminate(self, shell_id: str, command_id: str, *, seconds: float) -> Request:
        """End the process."""
        body = {"rsp:Signal": {"@CommandId": command_id, "rsp:Code": TERMINATE}}
        return self._request("Signal", shell_id, body, seconds)

    def delete(self, shell_id: str, *, seconds: float) -> Request:
        """End the shell and all that runs in it."""
        return self._request("Delete", shell_id, {}, seconds)

    def _request(
        self,
        action: Action,
        shell_id: str | None,
        body: dict[str, Any],
        seconds: float,
        options: dict[str, str] | None = None,
    ) -> Request:
        message_id = new_id()
        envelope = self._header(
            action=_ACTIONS[action], resource_uri=RESOURCE, shell_id=shell_id, message_id=message_id
        )
        header = envelope["env:Header"]
        header["a:To"] = self._url
        header["w:OperationTimeout"] = f"PT{seconds:.3f}S"
        if options:
            named = [{"@Name": name, "#text": value} for name, value in options.items()]
            header["w:OptionSet"] = {"w:Option": named}
        envelope["env:Body"] = body
        return Request(action, message_id, xmltodict.unparse({"env:Envelope": envelope}))


def read_reply(data: bytes, request: Request) -> ET.Element:
    """The body of the reply to ``request``.

    Raises:
        NotUnderstood: empty, no SOAP, cut off, or the reply to something else.
    """
    if not data.strip():
        raise NotUnderstood("it answered with an empty message")
    if b"<!" in data:  # no document type, hence no entities of its own
        raise NotUnderstood("it answered with something that is no SOAP")
    try:
        root = ET.fromstring(data)  # noqa: S314
    except ET.ParseError as error:
        raise NotUnderstood("it answered with something that is no SOAP, or only a part of it") from error
    body = root.find(f"{{{SOAP}}}Body")
    if root.tag != f"{{{SOAP}}}Envelope" or body is None:
        raise NotUnderstood("it answered with something that is no SOAP")
    check_relation(root, request)
    return body


def check_relation(root: ET.Element, request: Request) -> None:
    """Refuse the reply to another message.

    Raises:
        NotUnderstood: it relates to another message, or to none.
    """
    related = root.findtext(f"{{{SOAP}}}Header/{{{ADDRESSING}}}RelatesTo") or ""
    if related.strip().removeprefix("uuid:").upper() != request.message_id:
        raise NotUnderstood(f"its answer belongs to another message ({related.strip() or 'to none'})")


def read_shell_id(body: ET.Element) -> str:
    """Of a reply to Create.

    Raises:
        NotUnderstood: there is none.
    """
    for selector in body.iter(f"{{{WSMAN}}}Selector"):
        if selector.get("Name", "").lower() == "shellid" and selector.text:
            return selector.text.strip()
    found = body.findtext(f".//{{{SHELL}}}ShellId")
    if not found:
        raise NotUnderstood("it answered without the identifier of the shell")
    return found.strip()


def read_command_id(body: ET.Element) -> str:
    """Of a reply to Command.

    Raises:
        NotUnderstood: there is none.
    """
    found = body.findtext(f".//{{{SHELL}}}CommandId")
    if not found:
        raise NotUnderstood("it answered without the identifier of the command")
    return found.strip()


def read_received(body: ET.Element, command_id: str) -> Received:
    """Of a reply to Receive.

    Raises:
        NotUnderstood: it is none, is about another command, or holds what is no base64.
    """
    response = body.find(f"{{{SHELL}}}ReceiveResponse")
    if response is None:
        raise NotUnderstood("it answered without what was asked for")
    pieces: list[tuple[StreamName, bytes]] = []
    for stream in response.iterfind(f"{{{SHELL}}}Stream"):
        if stream.get("CommandId", command_id).upper() != command_id.upper():
            raise NotUnderstood("it answered with the output of another command")
        name: StreamName = "stderr" if stream.get("Name") == "stderr" else "stdout"
        try:
            data = base64.b64decode("".join((stream.text or "").split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotUnderstood("it answered with output that is no base64") from error
        if data:
            pieces.append((name, data))
    state = response.find(f"{{{SHELL}}}CommandState")
    if state is None or not state.get("State", "").endswith("CommandState/Done"):
        return Received(tuple(pieces), None)
    text = (state.findtext(f"{{{SHELL}}}ExitCode") or "").strip()
    try:
        exit_code = int(text)
    except ValueError as error:
        raise NotUnderstood("it said that the command ended, but not with which exit code") from error
    # Windows counts exit codes in 32 bits; PowerShell shows them with a sign.
    return Received(tuple(pieces), exit_code - 2**32 if exit_code >= 2**31 else exit_code)
