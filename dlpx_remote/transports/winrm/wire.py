"""One authenticated HTTP connection to a host: a message goes out, the reply to it comes back.

pywinrm logs in, encrypts and speaks HTTP, over a line of ours (so that every wait has a deadline, the
certificate is judged in one place, and it is known how much of a request left this machine). Every way an
exchange can end is one of four: the body of the reply, :class:`Refused`, :class:`Unanswered`, or an error of
connecting. Used by one thread at a time. After anything but a reply or a fault the connection is thrown away,
and the next exchange begins with a new one.
"""

from __future__ import annotations

import http.client
import io
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests
import spnego.exceptions
import urllib3
import winrm.transport
from requests.adapters import HTTPAdapter
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from dlpx_remote.transports.base import TransportError
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.trace import Tracer
from dlpx_remote.transports.winrm import soap
from dlpx_remote.transports.winrm.errors import (
    certificate_refused,
    kerberos_missing,
    login_refused,
)
from dlpx_remote.transports.winrm.line import Line
from dlpx_remote.transports.winrm.outcomes import (
    OPERATION_TIMEOUT,
    Fault,
    OutOfTime,
    Refused,
    Strange,
    Unanswered,
)
from dlpx_remote.transports.winrm.soap import Messages, NotUnderstood, Request
from dlpx_remote.transports.winrm.target import WinrmTarget
from dlpx_remote.transports.winrm.tickets import ticket_error

if TYPE_CHECKING:
    from dlpx_remote.transports.winrm.shells import Shell

LONGEST = 120.0
"""Seconds that one exchange may take where the caller sets no deadline."""

_DEEPEST_CAUSE = 8


class Wire:
    """Exchanges messages with one host as one user.

    Args:
        target: already checked.
        context: for TLS; None for HTTP.
        password: empty where none is needed.
        tracer: told of connecting and logging in.

    Attributes:
        messages: writes the requests.
        proven: True once the host has answered as WinRM does.
        resident: shell and command of the PowerShell process that waits for a script of this wire.
    """

    def __init__(
        self, target: WinrmTarget, context: ssl.SSLContext | None, password: str, tracer: Tracer
    ) -> None:
        self._target = target
        self._password = password
        self._line = Line(target, context, tracer)
        self._protocol: Protocol | None = None
        self._adapter = _Adapter(target, self._line)
        self.messages = Messages(self._new_protocol().build_wsman_header, target.url)
        self.proven = False
        self.resident: tuple[Shell, str] | None = None

    def exchange(self, request: Request, deadline: Deadline) -> ET.Element:
        """The body of the reply to ``request``.

        Raises:
            Refused: the host answered with a fault.
            Unanswered: no answer came that can be understood; OutOfTime where the deadline passed.
            ConnectFailed: no connection, or the login was refused; the host has not seen the request.
        """
        left = Deadline(deadline.remaining(at_most=LONGEST))
        if left.expired:
            raise OutOfTime("the time was up", sent=False)
        used_before = self._protocol is not None and self._line.is_open
        try:
            return self._exchange(request, left)
        except Unanswered as error:
            # The host ended a connection that it had not used for long, just now: it has seen nothing.
            if error.sent or not used_before or left.expired:
                raise
        return self._exchange(request, left)

    def _exchange(self, request: Request, deadline: Deadline) -> ET.Element:
        with self._line.watched(deadline):
            try:
                body = soap.read_reply(self._send(request, deadline), request)
            except Refused as refused:
                self.proven = True
                if refused.fault.code is None:  # no fault of the service: the connection may be out of step
                    self.close()
                self._check_fault(refused, request)
                raise
            except NotUnderstood as error:
                self.close()
                if self._line.overdue:  # it was cut off by ourselves
                    raise OutOfTime("the time was up", sent=True) from error
                raise Strange(str(error), sent=True) from error
            except BaseException:
                self.close()
                raise
        self.proven = True
        return body

    def close(self) -> None:
        """Close the connection; the next exchange opens another. Idempotent; raises nothing."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.close_session()
        self._line.close()

    def _send(self, request: Request, deadline: Deadline) -> bytes:
        if self._protocol is None or not self._line.is_open:
            # What pywinrm remembers of a login and its keys belongs to the connection that is gone.
            self.close()
            self._line.open()
            self._adapter = _Adapter(self._target, self._line)
            self._protocol = self._new_protocol()
        protocol = self._protocol
        left = deadline.remaining(at_most=LONGEST) or 0.0  # none may be left once the line is open
        protocol.transport.read_timeout_sec = max(0.001, left)  # type: ignore[assignment]
        try:
            return protocol.send_message(request.text)
        except TransportError:  # the line was opened once more, in vain
            raise
        except WinRMOperationTimeoutError as error:
            # pywinrm keeps the envelope of this fault to itself, but not of what it was made from.
            answer = getattr(error.__context__, "response_text", None)
            fault = Fault(OPERATION_TIMEOUT, "nothing came within the operation's time-out")
            raise Refused(fault, answer) from error
        except WSManFaultError as error:
            raise Refused(_fault(error), error.response) from error
        except WinRMTransportError as error:
            raise self._status(error.code) from error
        except _Forgotten as error:
            if self._adapter.fresh:
                raise login_refused(self._target, self._adapter.challenges, self._adapter.date) from error
            raise Unanswered("the host has forgotten the login", sent=False) from error
        except InvalidCredentialsError as error:
            if self._line.overdue:
                raise OutOfTime("the time was up", sent=self._line.sent) from error
            raise login_refused(self._target, self._adapter.challenges, self._adapter.date) from error
        except Exception as error:
            raise self._failed(error) from error

    def _new_protocol(self) -> Protocol:
        target = self._target
        if target.authentication == "kerberos" and not winrm.transport.HAVE_KERBEROS:
            raise kerberos_missing(target)
        arguments: dict[str, Any] = {
            "username": target.user,
            "password": self._password,
            "cert_pem": None if target.certificate is None else str(target.certificate),
            "cert_key_pem": None if target.key is None else str(target.key),
            "ca_trust_path": None,  # the certificate is judged by the line
            "proxy": None,
        }
        protocol = Protocol(target.url, transport=target.authentication, **arguments)
        protocol.transport = _Transport(
            target.url, auth_method=target.authentication, service="HTTP", **arguments
        )
        protocol.transport.adapter = self._adapter
        return protocol

    def _check_fault(self, refused: Refused, request: Request) -> None:
        """A fault that belongs to another message says nothing about this one."""
        if refused.response is None:
            return
        try:
            soap.check_relation(ET.fromstring(refused.response), request)  # noqa: S314
        except (ET.ParseError, ValueError, NotUnderstood) as error:
            self.close()
            raise Strange(str(error), sent=True) from error

    def _status(self, status: int) -> Exception:
        """An HTTP status that is an error, without a fault."""
        words = f"it answered with the HTTP status {status}"
        if self.proven and 400 <= status < 500:  # not carried out (RFC 9110, section 15.5)
            return Refused(Fault(None, words, status))
        return Strange(words, sent=True)

    def _failed(self, error: Exception) -> Exception:
        line, target = self._line, self._target
        causes = list(_causes(error))
        if line.overdue or any(isinstance(cause, TimeoutError) for cause in causes):
            return OutOfTime("the time was up", sent=line.sent)
        for cause in causes:
            if isinstance(cause, ssl.SSLError) and target.authentication == "certificate" and not self.proven:
                return certificate_refused(target, cause.reason or cause)
        if target.authentication == "kerberos" and (refused := ticket_error(target, causes)) is not None:
            return refused
        encrypted = self._protocol is not None and self._protocol.transport.encryption is not None
        if isinstance(error, (PermissionError, spnego.exceptions.SpnegoError)) and not encrypted:
            return login_refused(target, self._adapter.challenges, self._adapter.date)
        for cause in causes:
            if isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError):
                return Strange(f"it said {str(cause)[:80]!r}", sent=line.sent)
        if isinstance(error, requests.RequestException) or line.sent is False:
            return Unanswered(_in_words(causes), sent=line.sent)
        if isinstance(error, (spnego.exceptions.SpnegoError, WinRMError)):
            return Unanswered("its answer could not be decrypted", sent=True)
        return Unanswered(f"its answer could not be understood ({type(error).__name__})", sent=True)


class _Forgotten(Exception):
    """The host asks for a login on a connection that is logged in."""


class _Transport(winrm.transport.Transport):
    """pywinrm's HTTP side over our line, and strict about encryption."""

    adapter: _Adapter

    def build_session(self) -> requests.Session:
        fresh = self.session is None
        session = super().build_session()
        if fresh:
            self._prepare(session)
        return session

    def setup_encryption(self, session: requests.Session) -> None:
        self._prepare(session)
        super().setup_encryption(session)

    def _prepare(self, session: requests.Session) -> None:
        session.trust_env = False
        for prefix in ("http://", "https://"):
            session.mount(prefix, self.adapter)

    def _get_message_response_text(self, response: requests.Response) -> bytes:
        kind = response.headers.get("Content-Type", "")
        if self.encryption is not None and response.content and not kind.startswith("multipart/"):
            # Somebody in between could have written it.
            raise WinRMError("the reply to an encrypted message is not encrypted")
        text: bytes = super()._get_message_response_text(response)
        self.adapter.fresh = False
        return text

    def _send_message_request(
        self, session: requests.Session, prepared_request: requests.PreparedRequest
    ) -> requests.Response:
        self.adapter.sealed = self.encryption is not None
        response: requests.Response = super()._send_message_request(session, prepared_request)
        return response


class _Adapter(HTTPAdapter):
    """requests over one line.

    Attributes:
        challenges: of the last 401.
        date: the host's clock at the last reply.
        sealed: the next request is encrypted for the login that this connection has.
        fresh: nothing has been answered over this login yet.
    """

    def __init__(self, target: WinrmTarget, line: Line) -> None:
        super().__init__(max_retries=0)
        self._pool = _Pool(target.host, target.effective_port, maxsize=1, block=True, line=line)
        self.challenges: list[str] = []
        self.date: str | None = None
        self.sealed = False
        self.fresh = True

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        pass

    def send(self, *arguments: Any, **named: Any) -> requests.Response:
        response = super().send(*arguments, **named)
        self.date = response.headers.get("Date")
        if response.status_code == 401:
            self.challenges = response.raw.headers.getlist("WWW-Authenticate")
            if self.sealed:  # logging in anew would repeat a message that only the old login can read
                raise _Forgotten
        return response

    def close(self) -> None:
        super().close()
        self._pool.close()


class _Lines(io.BufferedReader):
    """Says when the end comes where a line should be.

    http.client takes headers that end with the connection for whole ones: half of a 401 would be a refusal.
    """

    def readline(self, limit: int | None = -1, /) -> bytes:
        line = super().readline(limit)
        if not line:
            raise http.client.RemoteDisconnected("the connection ended within the headers")
        return line


class _Reply(http.client.HTTPResponse):
    """A response whose headers are whole."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fp = _Lines(self.fp.detach())


class _HttpConnection(urllib3.connection.HTTPConnection):
    """HTTP on a socket that the line opened."""

    response_class = _Reply

    def __init__(self, *arguments: Any, line: Line, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._line = line
        self.is_verified = True

    def connect(self) -> None:
        self.sock = self._line.take()

    def request(self, *arguments: Any, **named: Any) -> None:
        self._line.sent = False
        super().request(*arguments, **named)
        self._line.sent = True


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


def _fault(error: WSManFaultError) -> Fault:
    subcode = (error.fault_subcode or "").rpartition(":")[2]
    code = error.wsman_fault_code if error.wsman_fault_code is not None else error.wmierror_code
    return Fault(code, error.reason, error.code, subcode)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what is inside it, outermost first."""
    found: list[BaseException] = [error]
    for each in found:
        yield each
        inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
        for candidate in inner:
            if isinstance(candidate, BaseException) and all(candidate is not known for known in found):
                found.append(candidate)
        if len(found) > _DEEPEST_CAUSE:
            return


def _in_words(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or cause})"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    text = " ".join(str(causes[-1]).split()).rstrip(".")
    return text[:200] or type(causes[-1]).__name__
