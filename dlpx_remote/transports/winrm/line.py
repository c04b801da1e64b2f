"""One TCP connection to a host, with TLS where asked for, and the deadline under which it is used.

Everything that may take time ends by the deadline, however slowly the other side dribbles: when it passes,
the socket is shut down under whoever waits on it. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports import sockets
from dlpx_remote.transports.base import CredentialUnusable, HostKeyChanged
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.trace import Tracer
from dlpx_remote.transports.winrm.errors import Stage, connect_error
from dlpx_remote.transports.winrm.target import WinrmTarget, normal_thumbprint


def tls_context(target: WinrmTarget) -> ssl.SSLContext:
    """How the host's certificate is judged, and which one of our own is shown.

    Raises:
        InvalidRequest: the CA file cannot be used.
        CredentialUnusable: the client's certificate or key cannot be.
    """
    if target.ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(target.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidRequest(
                f"The CA file {target.ca_file} cannot be used: {reason}.",
                "Give a readable file of certificates in PEM.",
            ) from error
    else:
        context = ssl.create_default_context()
    if not target.verify or target.thumbprint is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.authentication == "certificate" and target.certificate is not None:
        context.post_handshake_auth = True
        try:
            # An encrypted key would ask at the terminal: an empty passphrase fails instead.
            context.load_cert_chain(target.certificate, target.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CredentialUnusable(
                f"The client's certificate {target.certificate} with the key {target.key} cannot be used: "
                f"{reason}.",
                "Give both in PEM, the key without a passphrase, and readable only for you.",
                **target.where,
            ) from error
    return context


class Line:
    """A connection that can be opened again.

    Args:
        target: where to.
        context: for TLS; None for none.
        tracer: told of every stage.

    Attributes:
        sent: True once the whole of the last request was handed over.
        opened: how often it was.
    """

    def __init__(self, target: WinrmTarget, context: ssl.SSLContext | None, tracer: Tracer) -> None:
        self._target = target
        self._context = context
        self._tracer = tracer
        self._socket: socket.socket | None = None
        self._taken = False
        self._deadline = Deadline(None)
        self._seconds = 0.0
        self.overdue = False
        self.sent = False
        self.opened = 0

    @property
    def is_open(self) -> bool:
        """There is a connection, and the other side has neither closed it nor said something unasked."""
        if self._socket is None:
            return False
        watch = select.poll()  # select knows no descriptor above 1023: each of them would be taken for closed
        try:
            watch.register(self._socket, select.POLLIN)
            return not watch.poll(0)
        except (OSError, ValueError):
            return False

    def take(self) -> socket.socket:
        """The socket for a new HTTP connection: the one that is open and unused, else a new one.

        Raises:
            ConnectFailed: with the subclass that says where it stopped.
        """
        connection = self.open() if self._socket is None or self._taken else self._socket
        self._taken = True
        return connection

    def open(self) -> socket.socket:
        """Connect, within the deadline of :meth:`watched`.

        Raises:
            ConnectFailed: with the subclass that says where it stopped.
        """
        self.close()
        target, address = self._target, self._target.address
        stage: Stage = "resolve"
        try:
            with self._tracer.stage("resolve", address) as detail:
                addresses = sockets.resolve(target.host, target.effective_port, self._deadline)
                detail.text = ", ".join(str(found[4][0]) for found in addresses)
            stage = "connect"
            with self._tracer.stage("connect", address) as detail:
                plain = sockets.connect(addresses, self._deadline)
                detail.text = str(plain.getpeername()[0])
            self._socket = opened = plain
            self._require_time()
            if self._context is not None:
                stage = "handshake"
                with self._tracer.stage("handshake", address) as detail:
                    opened = secured = self._secure(plain, self._context)
                    detail.text = str(secured.version())
                with self._tracer.stage("host key", address) as detail:
                    detail.text = self._judge(secured)
        except Exception as error:
            self.close()
            timed_out = TimeoutError() if self.overdue else error
            raise connect_error(timed_out, target, stage, self._seconds) from error
        except BaseException:
            self.close()
            raise
        self.opened += 1
        return opened

    def _require_time(self) -> None:
        """The watch may have ended before there was a socket for it to shut down."""
        if self.overdue:
            raise TimeoutError

    def _secure(self, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        left = self._deadline.remaining()
        plain.settimeout(None if left is None else max(0.001, left))  # 0 would be: do not wait
        secured = context.wrap_socket(plain, server_hostname=self._target.host, do_handshake_on_connect=False)
        self._socket = secured
        self._require_time()
        secured.do_handshake()
        return secured

    def _judge(self, secured: ssl.SSLSocket) -> str:
        shown = secured.getpeercert(binary_form=True) or b""
        if self._target.thumbprint is None:
            return "not checked" if not self._target.verify else "issued by an authority that is trusted"
        pinned = normal_thumbprint(self._target.thumbprint)
        # SHA-1 because Windows shows thumbprints in it; a second certificate of the same is out of reach.
        sha1 = hashlib.sha1(shown, usedforsecurity=False).hexdigest()
        found = sha1 if len(pinned) == 40 else hashlib.sha256(shown).hexdigest()
        if found != pinned:
            raise HostKeyChanged(
                f"{self._target.host} showed another certificate than the pinned one: its thumbprint is "
                f"{found.upper()}.",
                "Where the host got a new certificate, pin that one; else somebody is in between.",
                host=self._target.host,
                user=self._target.user,
                fingerprint=found.upper(),
            )
        return "the pinned one"

    @contextlib.contextmanager
    def watched(self, deadline: Deadline) -> Iterator[None]:
        """Inside the block nothing on this line lasts longer than ``deadline``."""
        self._deadline, self.overdue, self.sent = deadline, False, False
        left = deadline.remaining()
        self._seconds = left or 0.0
        timer = None
        if left is not None:
            timer = threading.Timer(left, self._cut_off)
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _cut_off(self) -> None:
        self.overdue = True
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which would wait for its lock.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. Idempotent; raises nothing."""
        connection, self._socket, self._taken = self._socket, None, False
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
