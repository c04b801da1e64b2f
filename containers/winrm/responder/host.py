"""A whole host in the running process: a context manager around server, service, accounts and troubles."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import tickets
from .authentication import Accounts
from .handler import PATH, Handler
from .programs import Answer, Decoder, Rule, Rules, plain_payload
from .records import Counts, Exchange
from .server import Server, Settings, Traffic
from .shells import Quotas, Service
from .tls import Identity, context
from .troubles import Trouble, Troubles

if TYPE_CHECKING:
    from collections.abc import Callable

    from .programs import Invocation


class WinRMHost:
    """A host on a port or two of this machine, for a ``with`` block.

    Args:
        users: password by user name (without a domain).
        rules: what commands do, asked in this order, before the default rules.
        decoder: how the client's stdin is read; see :mod:`.programs`.
        quotas: limits.
        settings: how the host presents itself over HTTP.
        tls: the server's certificate, for HTTPS; None for HTTP.
        client_authority: PEM of the authority whose client certificates are taken; None for none.
        plain_too: with ``tls``, answer over HTTP on another port too.
        address, port, plain_port: to listen on; port 0 for a free one. After the start, the ports in use.
        machine: its name in faults.
        version: of Windows, for Identify.
        real_powershell: run PowerShell commands that no rule answers with ``pwsh``, where it is on PATH.

    Raises:
        NoTickets: the settings name a keytab, and it or the library for it is missing.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        rules: Sequence[Rule] = (),
        decoder: Decoder = plain_payload,
        quotas: Quotas | None = None,
        settings: Settings | None = None,
        tls: Identity | None = None,
        client_authority: bytes | None = None,
        plain_too: bool = False,
        address: str = "127.0.0.1",
        port: int = 0,
        plain_port: int = 0,
        machine: str = "WINHOST",
        version: str = "10.0.20348",
        real_powershell: bool = True,
    ) -> None:
        self._settings = settings or Settings()
        if self._settings.keytab:
            tickets.check(Path(self._settings.keytab))
        self.accounts = Accounts(users, machine)
        self.troubles = Troubles()
        self.rules = Rules(rules, decoder)
        self.service = Service(
            self.rules, quotas, machine=machine, version=version, real_powershell=real_powershell
        )
        self.address = address
        self._traffic = Traffic(exchanges=deque(maxlen=self._settings.records))
        self._tls = tls
        self._servers = [self._listen(port, tls, client_authority)]
        if tls is not None and plain_too:
            self._servers.append(self._listen(plain_port, None, None))
        self.port = int(self._servers[0].server_address[1])
        self.plain_port = int(self._servers[-1].server_address[1])
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), name="winrm host", daemon=True)
            for server in self._servers
        ]

    def _listen(self, port: int, tls: Identity | None, client_authority: bytes | None) -> Server:
        bindings = None
        if tls is not None and self._settings.strict_bindings:
            from spnego.channel_bindings import GssChannelBindings

            digest = hashlib.sha256(tls.der).digest()  # RFC 5929, section 4
            bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
        return Server(
            (self.address, port),
            Handler,
            service=self.service,
            accounts=self.accounts,
            troubles=self.troubles,
            settings=self._settings,
            traffic=self._traffic,
            tls=context(tls, client_authority) if tls is not None else None,
            bindings=bindings,
        )

    @property
    def url(self) -> str:
        """What a client connects to; HTTPS where the host has a certificate."""
        return f"{'https' if self._tls else 'http'}://{self.address}:{self.port}{PATH}"

    @property
    def plain_url(self) -> str:
        """The same over HTTP, where the host answers there."""
        return f"http://{self.address}:{self.plain_port}{PATH}"

    def __enter__(self) -> WinRMHost:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.forget_shells()
        for server in self._servers:
            server.stop()
        for thread in self._threads:
            thread.join()
        self.accounts.close()

    # what it does

    def when(
        self,
        pattern: str | Callable[[Invocation], bool],
        answer: Answer,
        *,
        times: int | None = None,
        reads_stdin: bool | None = None,
    ) -> None:
        """Add a rule, to be asked first; the arguments are those of :class:`~.programs.Rule`."""
        self.rules.add(Rule(pattern, answer, times, reads_stdin))

    def trouble(
        self,
        kind: str,
        action: str = "*",
        *,
        after: int = 0,
        times: int = 1,
        fault: str = "busy",
        status: int = 500,
        seconds: float = 0.0,
    ) -> None:
        """Let something go wrong; the arguments are those of :class:`~.troubles.Trouble`."""
        self.troubles.add(Trouble(kind, action, after, times, fault, status, seconds))

    def forget_shells(self) -> None:
        """Lose all shells, as a restart of the WinRM service does."""
        self.service.forget_shells()

    def cut_connections(self) -> None:
        """End all TCP connections that are open."""
        for server in self._servers:
            server.cut_connections()

    # what it has seen

    @property
    def counts(self) -> Counts:
        """Counts since the start."""
        traffic, service = self._traffic, self.service
        with traffic.lock:
            return Counts(
                connections=traffic.connections,
                connections_open=traffic.connections_open,
                requests=traffic.requests,
                unauthorized=traffic.unauthorized,
                actions=dict(service.tally.actions),
                shells=service.tally.shells,
                shells_open=service.shells_open,
                commands=service.tally.commands,
                commands_open=service.commands_open,
                commands_running=service.commands_running,
            )

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The last conversations, the first first."""
        with self._traffic.lock:
            return tuple(self._traffic.exchanges)
