"""SOAP and WS-Management envelopes as MS-WSMV lays them out: requests read, replies and faults written.

Knows nothing of shells, HTTP or users. Replies are written in the exact form of a Windows host (prefixes,
order of elements), so that a client which reads them with regular expressions is tested fairly too.
"""

from __future__ import annotations

import base64
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from .faults import BAD_XML, HEADER_MISSING, NOT_UNDERSTOOD, Fault, Refused

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
WSMV = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
CONFIG = "http://schemas.microsoft.com/wbem/wsman/1/config"
CMD_RESOURCE = f"{SHELL}/cmd"
ANONYMOUS = f"{ADDRESSING}/role/anonymous"

ACTIONS = {
    f"{TRANSFER}/Create": "Create",
    f"{TRANSFER}/Delete": "Delete",
    f"{TRANSFER}/Get": "Get",
    f"{SHELL}/Command": "Command",
    f"{SHELL}/Send": "Send",
    f"{SHELL}/Receive": "Receive",
    f"{SHELL}/Signal": "Signal",
}
"""The actions that are answered, and their short names."""

DEFAULT_ENVELOPE = 153600
DEFAULT_TIMEOUT = 60.0

_FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
_ADDRESSING_FAULT_ACTION = f"{ADDRESSING}/fault"
_UNDERSTOOD = {
    f"{{{namespace}}}{name}"
    for namespace, names in {
        ADDRESSING: ("Action", "MessageID", "To", "ReplyTo", "FaultTo", "From"),
        WSMAN: ("ResourceURI", "SelectorSet", "OptionSet", "OperationTimeout", "MaxEnvelopeSize", "Locale"),
        WSMV: ("DataLocale", "SessionId", "OperationID", "SequenceId", "ActivityId", "CompressionType"),
    }.items()
    for name in names
}


@dataclass(frozen=True)
class Request:
    """A request as the service sees it.

    Attributes:
        action: short name of the action (``Create`` …), ``Identify``, or the whole address of another one.
        message_id: as sent, such as ``uuid:…``.
        resource: the resource URI.
        shell_id: the ``ShellId`` selector, in our own form; empty for none.
        options: of the ``OptionSet``, names in upper case.
        timeout: seconds of ``OperationTimeout``.
        envelope: bytes that a reply may have (``MaxEnvelopeSize``).
        to: the address that the client used.
        body: the ``s:Body`` element.
    """

    action: str
    message_id: str
    resource: str
    shell_id: str
    options: Mapping[str, str]
    timeout: float
    envelope: int
    to: str
    body: ET.Element = field(repr=False)

    def find(self, name: str) -> ET.Element | None:
        """The first element of the body with this name in the shell's namespace."""
        return self.body.find(f".//{{{SHELL}}}{name}")

    def text(self, name: str) -> str:
        """Text of that element; empty where it is missing or empty."""
        element = self.find(name)
        return "" if element is None else (element.text or "")


def parse(data: bytes) -> Request:
    """Read a request.

    Raises:
        Refused: not well-formed, not SOAP 1.2, or a header is missing that every request must have.
    """
    try:
        envelope = ET.fromstring(data)
    except ET.ParseError as error:
        raise Refused(BAD_XML) from error
    body = envelope.find(f"{{{SOAP}}}Body")
    if envelope.tag != f"{{{SOAP}}}Envelope" or body is None:
        raise Refused(BAD_XML)
    if body.find(f"{{{IDENTITY}}}Identify") is not None:
        return Request("Identify", "", "", "", {}, DEFAULT_TIMEOUT, DEFAULT_ENVELOPE, "", body)
    header = envelope.find(f"{{{SOAP}}}Header")
    if header is None:
        raise Refused(HEADER_MISSING)
    for element in header:
        if element.get(f"{{{SOAP}}}mustUnderstand") in {"1", "true"} and element.tag not in _UNDERSTOOD:
            raise Refused(NOT_UNDERSTOOD)

    def text(namespace: str, name: str) -> str:
        return (header.findtext(f"{{{namespace}}}{name}") or "").strip()

    action, message_id = text(ADDRESSING, "Action"), text(ADDRESSING, "MessageID")
    if not action or not message_id:
        raise Refused(HEADER_MISSING)
    selectors = {
        selector.get("Name", "").lower(): (selector.text or "").strip()
        for selector in header.iterfind(f"{{{WSMAN}}}SelectorSet/{{{WSMAN}}}Selector")
    }
    options = {
        option.get("Name", "").upper(): option.text or ""
        for option in header.iterfind(f"{{{WSMAN}}}OptionSet/{{{WSMAN}}}Option")
    }
    size = text(WSMAN, "MaxEnvelopeSize")
    return Request(
        action=ACTIONS.get(action, action),
        message_id=message_id,
        resource=text(WSMAN, "ResourceURI"),
        shell_id=identifier(selectors.get("shellid", "")),
        options=options,
        timeout=seconds(text(WSMAN, "OperationTimeout"), DEFAULT_TIMEOUT),
        envelope=int(size) if size.isdigit() else DEFAULT_ENVELOPE,
        to=text(ADDRESSING, "To"),
        body=body,
    )


_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d*)?)S)?)?"
)


def seconds(duration: str, default: float) -> float:
    """Seconds of an XML Schema duration such as ``PT20.000S``; ``default`` for what is none."""
    match = _DURATION.fullmatch(duration)
    if match is None or not duration.strip("PT"):
        return default
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def identifier(text: str) -> str:
    """An identifier in our own form: the specification's examples have ``uuid:`` before them."""
    return text.strip().upper().removeprefix("UUID:")


def proposed(text: str) -> str:
    """The identifier that a client wants for something new; a fresh one where it wants none, or no GUID."""
    try:
        return str(uuid.UUID(identifier(text))).upper()
    except ValueError:
        return new_id()


def new_id() -> str:
    """A fresh identifier in the form that Windows writes."""
    return str(uuid.uuid4()).upper()


def reply(request: Request, body: str, *, relates_to: str | None = None) -> bytes:
    """The envelope of a success.

    Args:
        request: what is answered.
        body: content of ``s:Body``.
        relates_to: instead of the request's message id.
    """
    address = next((uri for uri, name in ACTIONS.items() if name == request.action), request.action)
    namespaces = _namespaces(
        x=TRANSFER if request.action in {"Create", "Command", "Send", "Signal", "Get"} else "",
        w=WSMAN,
        rsp="" if request.action in {"Delete", "Get"} else SHELL,
        p=WSMV,
    )
    return _envelope(
        namespaces,
        f"{address}Response",
        relates_to if relates_to is not None else request.message_id,
        body,
    )


def fault(request: Request | None, what: Fault, machine: str, *, relates_to: str | None = None) -> bytes:
    """The envelope of a fault.

    Args:
        request: what is answered; None where it could not be read.
        what: the fault.
        machine: name of this host, as clients see it.
        relates_to: instead of the request's message id.
    """
    language = 'xml:lang="en-US"'
    subcode = f"<s:Subcode><s:Value>{what.subcode}</s:Value></s:Subcode>" if what.subcode else ""
    value = "s:Receiver" if what.by_receiver else "s:Sender"
    if what.code == NOT_UNDERSTOOD.code:
        value = "s:MustUnderstand"
    parts = [f"<w:FaultDetail>{what.detail_uri}</w:FaultDetail>"] if what.detail else []
    if what.code is not None and what.as_wmi:
        parts.append(_wmi_error(what))
    elif what.code is not None:
        text = escape(what.message or what.reason)
        if what.by_provider:
            path = r"%systemroot%\system32\winrscmd.dll"
            text = f'<f:ProviderFault provider="Shell cmd plugin" path="{path}">{text}</f:ProviderFault>'
        parts.append(
            '<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" '
            f'Code="{what.code}" Machine={quoteattr(machine)}><f:Message>{text}</f:Message></f:WSManFault>'
        )
    detail = f"<s:Detail>{''.join(parts)}</s:Detail>" if parts else ""
    body = (
        f"<s:Fault><s:Code><s:Value>{value}</s:Value>{subcode}</s:Code>"
        f"<s:Reason><s:Text {language}>{escape(what.reason)}</s:Text></s:Reason>{detail}</s:Fault>"
    )
    return _envelope(
        _namespaces(
            x=TRANSFER,
            e="http://schemas.xmlsoap.org/ws/2004/08/eventing",
            n="http://schemas.xmlsoap.org/ws/2004/09/enumeration",
            w=WSMAN,
            p=WSMV,
        ),
        _ADDRESSING_FAULT_ACTION if what.subcode.startswith("a:") or not what.subcode else _FAULT_ACTION,
        relates_to if relates_to is not None else (request.message_id if request else ""),
        body,
    )


def _wmi_error(what: Fault) -> str:
    """The detail that newer Windows gives instead of ``f:WSManFault``."""

    def entry(name: str, kind: str, value: object = None) -> str:
        if value is None:
            return f'<p:{name} xsi:type="cim:{kind}" xsi:nil="true"/>'
        return f'<p:{name} xsi:type="cim:{kind}">{escape(str(value))}</p:{name}>'

    text, number, small = "cimString", "cimUnsignedInt", "cimUnsignedShort"
    message = what.message or what.reason
    entries = (
        entry("CIMStatusCode", number, 27),
        entry("CIMStatusCodeDescription", text),
        entry("ErrorSource", text),
        entry("ErrorSourceFormat", small, 0),
        entry("ErrorType", small, 0),
        entry("Message", text, message),
        entry("MessageID", text, f"HRESULT 0x{what.code:08x}"),
        entry("OtherErrorSourceFormat", text),
        entry("OtherErrorType", text),
        entry("OwningEntity", text),
        entry("PerceivedSeverity", small, 0),
        entry("ProbableCause", small, 0),
        entry("ProbableCauseDescription", text),
        entry("error_Category", number, 30),
        entry("error_Code", number, what.code),
        entry("error_Type", text, "HRESULT"),
        entry("error_WindowsErrorMessage", text, message),
    )
    return (
        '<p:MSFT_WmiError b:IsCIM_Error="true" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:b="http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd" '
        'xmlns:p="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError" '
        'xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xsi:type="p:MSFT_WmiError_Type">'
        f"{''.join(entries)}</p:MSFT_WmiError>"
    )


def _namespaces(**others: str) -> str:
    pairs = {"s": SOAP, "a": ADDRESSING, **others}
    return " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in pairs.items() if uri)


def _envelope(namespaces: str, action: str, relates_to: str, body: str) -> bytes:
    relation = f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo>" if relates_to else ""
    return (
        f'<s:Envelope xml:lang="en-US" {namespaces}><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{new_id()}</a:MessageID><a:To>{ANONYMOUS}</a:To>{relation}</s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def identify_body(version: str) -> str:
    """Body of an Identify reply; ``version`` such as ``OS: 10.0.20348 SP: 0.0 Stack: 3.0``."""
    return (
        f'<wsmid:IdentifyResponse xmlns:wsmid="{IDENTITY}"><wsmid:ProtocolVersion>{WSMAN}'
        "</wsmid:ProtocolVersion><wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>"
        f"<wsmid:ProductVersion>{escape(version)}</wsmid:ProductVersion></wsmid:IdentifyResponse>"
    )


def identified(version: str) -> bytes:
    """The whole envelope of an Identify reply: it has neither an action nor a message id."""
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{SOAP}"><s:Header/>'
        f"<s:Body>{identify_body(version)}</s:Body></s:Envelope>"
    ).encode()


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;"})


@dataclass(frozen=True)
class ShellFacts:
    """What a Create reply tells of the shell, and what was asked for it."""

    shell_id: str
    owner: str
    client: str
    idle_timeout: float
    input_streams: str
    output_streams: str
    directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def created_body(facts: ShellFacts, address: str) -> str:
    """Body of a Create reply."""
    shell_id = facts.shell_id
    place = (
        f"<rsp:WorkingDirectory>{escape(facts.directory)}</rsp:WorkingDirectory>" if facts.directory else ""
    )
    variables = "".join(
        f'<rsp:Variable Name="{_quoted(name)}">{_quoted(value)}</rsp:Variable>'
        for name, value in facts.environment.items()
    )
    environment = f"<rsp:Environment>{variables}</rsp:Environment>" if variables else ""
    return (
        f"<x:ResourceCreated><a:Address>{escape(address)}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{CMD_RESOURCE}</w:ResourceURI><w:SelectorSet>"
        f'<w:Selector Name="ShellId">{shell_id}</w:Selector></w:SelectorSet></a:ReferenceParameters>'
        f'</x:ResourceCreated><rsp:Shell xmlns:rsp="{SHELL}"><rsp:ShellId>{shell_id}</rsp:ShellId>'
        f"<rsp:ResourceUri>{CMD_RESOURCE}</rsp:ResourceUri><rsp:Owner>{escape(facts.owner)}</rsp:Owner>"
        f"<rsp:ClientIP>{escape(facts.client)}</rsp:ClientIP>{environment}{place}"
        f"<rsp:IdleTimeOut>PT{facts.idle_timeout:.3f}S</rsp:IdleTimeOut>"
        f"<rsp:InputStreams>{escape(facts.input_streams)}</rsp:InputStreams>"
        f"<rsp:OutputStreams>{escape(facts.output_streams)}</rsp:OutputStreams>"
        "<rsp:ShellRunTime>P0DT0H0M0S</rsp:ShellRunTime>"
        "<rsp:ShellInactivity>P0DT0H0M0S</rsp:ShellInactivity></rsp:Shell>"
    )


def command_body(command_id: str) -> str:
    """Body of a Command reply."""
    return f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>"


def received_body(command_id: str, pieces: Iterable[tuple[str, bytes]], exit_code: int | None) -> str:
    """Body of a Receive reply.

    Args:
        command_id: of the command.
        pieces: stream and bytes, in their order.
        exit_code: None while the command runs.
    """
    streams = [
        f'<rsp:Stream Name="{name}" CommandId="{command_id}">{base64.b64encode(data).decode()}</rsp:Stream>'
        for name, data in pieces
    ]
    if exit_code is None:
        state = f'State="{SHELL}/CommandState/Running"></rsp:CommandState>'
    else:
        streams += [
            f'<rsp:Stream Name="{name}" CommandId="{command_id}" End="true"></rsp:Stream>'
            for name in ("stdout", "stderr")
        ]
        state = (
            f'State="{SHELL}/CommandState/Done"><rsp:ExitCode>{exit_code}</rsp:ExitCode></rsp:CommandState>'
        )
    return (
        f"<rsp:ReceiveResponse>{''.join(streams)}"
        f'<rsp:CommandState CommandId="{command_id}" {state}</rsp:ReceiveResponse>'
    )


def config_body(values: Mapping[str, Mapping[str, int | str]]) -> str:
    """Body of the reply to a Get of the configuration: sections with their entries; "" for none around."""
    parts = []
    for section, entries in values.items():
        content = "".join(f"<cfg:{name}>{value}</cfg:{name}>" for name, value in entries.items())
        parts.append(f"<cfg:{section}>{content}</cfg:{section}>" if section else content)
    return f'<cfg:Config xmlns:cfg="{CONFIG}">{"".join(parts)}</cfg:Config>'
