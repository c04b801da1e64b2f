"""The HTTP side of the host: authentication, encryption, and what goes wrong on demand.

Every reply is one write: two of them cost 40 ms each through delayed acknowledgements. Knows nothing of what
an action does.
"""

from __future__ import annotations

import contextlib
import email.utils
import ssl
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from . import encryption, faults, soap
from .authentication import Negotiation, Verdict
from .faults import Fault, Refused
from .records import Exchange
from .server import Server
from .shells import Caller
from .troubles import BEFORE, Trouble

SOAP_TYPE = "application/soap+xml;charset=UTF-8"
PATH = "/wsman"
_LARGEST_BODY = 1 << 26


@dataclass
class _Talk:
    """One request on its way through the handler."""

    headers: dict[str, str]
    body: bytes
    verdict: Verdict = field(default_factory=Verdict)
    encrypted: bool = False
    plain: bytes = b""
    action: str = ""
    trouble: Trouble | None = None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 16

    def setup(self) -> None:
        """Shake hands, where the port speaks TLS."""
        self._connection_number = self.server.number(self.request)
        if self.server.tls is not None:
            self.request = self.server.shake_hands(self.request, self.server.tls)
        super().setup()
        keytab = self.server.settings.keytab
        self._negotiation = Negotiation(
            self.server.accounts,
            self._schemes(),
            bindings=self.server.bindings,
            keytab=Path(keytab) if keytab else None,
        )

    def finish(self) -> None:
        """End TLS politely, where it can still be done."""
        super().finish()
        if isinstance(self.request, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.request.close()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: tests read the exchanges."""

    def send_error(self, code: int, *_: object) -> None:
        """What http.sys says to a request that is none; the connection ends."""
        self.close_connection = True
        self._reply(_Talk({}, b""), code, b"", "text/html")

    def _schemes(self) -> tuple[str, ...]:
        settings = self.server.settings
        if self.server.tls is None and not settings.unencrypted:
            return tuple(scheme for scheme in settings.schemes if scheme.lower() != "basic")
        return settings.schemes

    def do_GET(self) -> None:
        """WS-Management is spoken over POST only."""
        with self.server.traffic.lock:
            self.server.traffic.requests += 1
        self._reply(_Talk({}, b""), HTTPStatus.METHOD_NOT_ALLOWED, b"", "")

    do_PUT = do_HEAD = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - the library's names

    def do_POST(self) -> None:
        """One request and its reply."""
        with self.server.traffic.lock:
            self.server.traffic.requests += 1
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._read_body(headers)
        if body is None:
            return
        talk = _Talk(headers, body)
        talk.trouble = self.server.troubles.take("HTTP")
        if talk.trouble is not None and talk.trouble.kind in BEFORE:
            self._refuse(talk, talk.trouble)
        elif self.path.split("?")[0].rstrip("/").lower() != PATH:
            self._reply(talk, HTTPStatus.NOT_FOUND, b"", "")
        elif not body and not headers.get("authorization"):
            self._ask_who(talk)
        elif headers.get("wsmanidentify", "").lower() == "unauthenticated":
            talk.plain = body
            self._carry_out(talk)
        else:
            self._authenticated(talk)

    def _read_body(self, headers: dict[str, str]) -> bytes | None:
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.send_error(HTTPStatus.LENGTH_REQUIRED if not length else HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _read_chunks(self) -> bytes | None:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                self.send_error(HTTPStatus.BAD_REQUEST)
                return None
            if not size:
                while self.rfile.readline(65536).strip():
                    pass
                return bytes(body)
            body += self.rfile.read(size)
            self.rfile.readline(1024)

    # who sends it

    def _authenticated(self, talk: _Talk) -> None:
        talk.verdict = self._negotiation.attempt(
            talk.headers.get("authorization", ""), self._certificate_user()
        )
        if talk.verdict.user is None:
            self._ask_who(talk)
            return
        if encryption.is_encrypted(talk.headers.get("content-type", "")):
            context = self._negotiation.context
            if context is None:
                self._ask_who(talk)
                return
            talk.encrypted = True
            try:
                talk.plain = encryption.unseal(talk.body, context)
            except Exception:
                # Of several libraries' kinds: whatever it is, the message cannot be trusted.
                self.close_connection = True
                self._reply(talk, HTTPStatus.BAD_REQUEST, b"", "")
                return
        else:
            talk.plain = talk.body
            if talk.body and self.server.tls is None and not self.server.settings.unencrypted:
                self._ask_who(talk)
                return
        if not talk.plain:
            # The client authenticates its connection before it encrypts its first message.
            self._reply(talk, HTTPStatus.OK, b"", SOAP_TYPE)
        elif len(talk.plain) > self.server.service.quotas.envelope:
            self._reply(talk, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"", "")
        else:
            self._carry_out(talk)

    def _certificate_user(self) -> str | None:
        if not isinstance(self.request, ssl.SSLSocket):
            return None
        certificate = self.request.getpeercert()
        if not certificate:
            return None
        parts: Any = certificate.get("subject", ())
        names = {name: value for part in parts for name, value in part}
        return names.get("commonName")

    def _ask_who(self, talk: _Talk) -> None:
        if talk.verdict.token:
            offers = [talk.verdict.token]
        else:
            offers = [
                'Basic realm="WSMAN"' if scheme.lower() == "basic" else scheme
                for scheme in self._schemes()
                if scheme.lower() != "certificate"
            ]
        self._unauthorized(talk, offers)

    def _unauthorized(self, talk: _Talk, offers: list[str]) -> None:
        with self.server.traffic.lock:
            self.server.traffic.unauthorized += 1
        self._reply(
            talk, HTTPStatus.UNAUTHORIZED, b"", "", extra=[("WWW-Authenticate", offer) for offer in offers]
        )

    # what it asks

    def _carry_out(self, talk: _Talk) -> None:
        service = self.server.service
        request: soap.Request | None = None
        try:
            request = soap.parse(talk.plain)
            talk.action = request.action
            trouble = talk.trouble = self.server.troubles.take(request.action) or talk.trouble
            if trouble is not None and trouble.kind in BEFORE and trouble.kind != "fault":
                self._refuse(talk, trouble)
                return
            if trouble is not None and trouble.kind == "fault":
                raise Refused(_fault_of(trouble))
            relates_to = None
            if trouble is not None and trouble.kind in {"wrong-message-id", "no-message-id"}:
                relates_to = f"uuid:{soap.new_id()}" if trouble.kind == "wrong-message-id" else ""
            user = talk.verdict.user
            caller = Caller(user, self.client_address[0]) if user else None
            envelope = service.answer(request, caller, relates_to=relates_to)
            status = HTTPStatus.OK
        except Refused as refused:
            envelope = soap.fault(request, refused.fault, service.machine)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        self._answer(talk, status, envelope)

    # what is said

    def _answer(self, talk: _Talk, status: int, envelope: bytes) -> None:
        trouble = talk.trouble
        kind = trouble.kind if trouble else ""
        if trouble is None or kind in {"fault", "wrong-message-id", "no-message-id", "unproven"}:
            self._reply(talk, status, envelope, SOAP_TYPE)
        elif kind == "empty":
            self._reply(talk, HTTPStatus.OK, b"", SOAP_TYPE)
        elif kind == "not-soap":
            self._reply(talk, HTTPStatus.OK, b"<html><body><h1>It works!</h1></body></html>", "text/html")
        elif kind == "broken-soap":
            self._reply(talk, status, envelope[: len(envelope) // 2], SOAP_TYPE)
        elif kind == "cut-after":
            self._end(talk)
        elif kind == "silence-after":
            self._say_nothing(talk, trouble.seconds)
        elif kind == "slow":
            self.server.stopping.wait(trouble.seconds)
            self._reply(talk, status, envelope, SOAP_TYPE)
        elif kind == "half-chunk":
            self._half_chunk(talk, status, envelope)
        elif kind in {"bad-seal", "unsealed"}:
            self._reply(talk, status, envelope, SOAP_TYPE, seal=kind)
        else:
            self._in_pieces(talk, status, envelope, trouble)

    def _refuse(self, talk: _Talk, trouble: Trouble) -> None:
        """Carry out a trouble of a request that is not carried out."""
        if trouble.kind == "status":
            self._reply(talk, trouble.status, b"", "")
        elif trouble.kind == "unauthorized":
            talk.verdict = Verdict()
            self._ask_who(talk)
        elif trouble.kind == "unknown-scheme":
            self._unauthorized(talk, ['Palantir realm="WSMAN"'])
        elif trouble.kind == "no-scheme":
            self._unauthorized(talk, [])
        elif trouble.kind == "silence-before":
            self._say_nothing(talk, trouble.seconds)
        else:
            self._end(talk)

    def _in_pieces(self, talk: _Talk, status: int, envelope: bytes, trouble: Trouble) -> None:
        data = self._compose(talk, status, envelope, SOAP_TYPE)
        self._note(talk, status, envelope)
        half = len(data) - len(envelope) // 2
        if trouble.kind == "trickle":
            size = max(1, len(data) // 20)
            for start in range(0, len(data), size):
                self.wfile.write(data[start : start + size])
                self.server.stopping.wait(trouble.seconds / 20)
            return
        self.wfile.write(data[:half])
        self.close_connection = True
        if trouble.kind == "half-then-silence":
            self.server.stopping.wait(trouble.seconds or None)

    def _half_chunk(self, talk: _Talk, status: int, envelope: bytes) -> None:
        body = self._sealed(talk, envelope, "")
        content_type = encryption.MIME_TYPE if talk.encrypted else SOAP_TYPE
        head = self._head(status, [("Content-Type", content_type), ("Transfer-Encoding", "chunked")])
        self.wfile.write(head + f"{len(body):x}\r\n".encode() + body[: len(body) // 2])
        self.close_connection = True
        self._note(talk, status, envelope)

    def _say_nothing(self, talk: _Talk, seconds: float) -> None:
        self._note(talk, 0, b"")
        self.close_connection = True
        self.server.stopping.wait(seconds or None)

    def _end(self, talk: _Talk) -> None:
        self._note(talk, 0, b"")
        self.close_connection = True

    def _reply(
        self,
        talk: _Talk,
        status: int,
        body: bytes,
        content_type: str,
        *,
        extra: list[tuple[str, str]] | None = None,
        seal: str = "",
    ) -> None:
        unproven = talk.trouble is not None and talk.trouble.kind == "unproven"
        if not extra and talk.verdict.token and not unproven:
            extra = [("WWW-Authenticate", talk.verdict.token)]
        self._note(talk, int(status), body)
        self.wfile.write(self._compose(talk, status, body, content_type, extra=extra, seal=seal))

    def _compose(
        self,
        talk: _Talk,
        status: int,
        body: bytes,
        content_type: str,
        *,
        extra: list[tuple[str, str]] | None = None,
        seal: str = "",
    ) -> bytes:
        encrypted = talk.encrypted and bool(body) and seal != "unsealed"
        if encrypted:
            body = self._sealed(talk, body, seal)
            content_type = encryption.MIME_TYPE
        headers = [("Content-Type", content_type)] if content_type else []
        return self._head(status, [*headers, *(extra or []), ("Content-Length", str(len(body)))]) + body

    def _sealed(self, talk: _Talk, envelope: bytes, seal: str) -> bytes:
        context = self._negotiation.context
        if not talk.encrypted or context is None:
            return envelope
        return encryption.seal(envelope, context, spoil=seal == "bad-seal")

    def _head(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        date = email.utils.formatdate(time.time() + self.server.settings.clock_skew, usegmt=True)
        lines = [("Server", "Microsoft-HTTPAPI/2.0"), ("Date", date), *headers]
        if self.close_connection:
            lines.append(("Connection", "close"))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"HTTP/1.1 {status:d} {phrase}\r\n{text}\r\n".encode("latin-1")

    def _note(self, talk: _Talk, status: int, reply: bytes) -> None:
        headers = dict(talk.headers)
        if "authorization" in headers:
            headers["authorization"] = headers["authorization"].split(" ")[0]
        exchange = Exchange(
            connection=self._connection_number,
            action=talk.action,
            user=talk.verdict.user or "",
            scheme=talk.verdict.scheme,
            encrypted=talk.encrypted,
            request_headers=headers,
            request=talk.plain,
            status=int(status),
            reply=reply,
            trouble=talk.trouble.kind if talk.trouble else "",
        )
        with self.server.traffic.lock:
            self.server.traffic.exchanges.append(exchange)


def _fault_of(trouble: Trouble) -> Fault:
    if trouble.fault.isdigit():
        return Fault(int(trouble.fault), "w:InternalError", "A fault that was asked for. ", by_receiver=True)
    return faults.BY_NAME[trouble.fault]
