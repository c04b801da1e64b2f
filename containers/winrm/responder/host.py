"""A whole host in the running process: a context manager around server, service, accounts and troubles."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .authentication import Accounts
from .handler import PATH, Handler
from .programs import Answer, Decoder, Rule, Rules, plain_payload
from .records import Counts, Exchange
from .server import Server, Settings
from .shells import Quotas, Service
from .troubles import Trouble, Troubles

if TYPE_CHECKING:
    from collections.abc import Callable

    from .programs import Invocation


class WinRMHost:
    """A host on a port of this machine, for a ``with`` block.

    Args:
        users: password by user name (without a domain).
        rules: what commands do, asked in this order, before the default rules.
        decoder: how the client's stdin is read; see :mod:`.programs`.
        quotas: limits.
        settings: how the host presents itself over HTTP.
        tls: for HTTPS; None for HTTP.
        address, port: to listen on; port 0 for a free one.
        machine: its name in faults.
        version: of Windows, for Identify.
        real_powershell: run PowerShell commands that no rule answers with ``pwsh``, where it is on PATH.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        rules: Sequence[Rule] = (),
        decoder: Decoder = plain_payload,
        quotas: Quotas | None = None,
        settings: Settings | None = None,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        machine: str = "WINHOST",
        version: str = "10.0.20348",
        real_powershell: bool = True,
    ) -> None:
        self.accounts = Accounts(users, machine)
        self.troubles = Troubles()
        self.rules = Rules(rules, decoder)
        self.service = Service(
            self.rules, quotas, machine=machine, version=version, real_powershell=real_powershell
        )
        self.address = address
        self._server = Server(
            (address, port),
            Handler,
            service=self.service,
            accounts=self.accounts,
            troubles=self.troubles,
            settings=settings or Settings(),
            tls=tls,
        )
        self.port = int(self._server.server_address[1])
        self._tls = tls is not None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name=f"winrm host {self.port}", daemon=True
        )

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"{'https' if self._tls else 'http'}://{self.address}:{self.port}{PATH}"

    def __enter__(self) -> WinRMHost:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.forget_shells()
        self._server.stop()
        self._thread.join()
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
        self._server.cut_connections()

    # what it has seen

    @property
    def counts(self) -> Counts:
        """Counts since the start."""
        traffic, service = self._server.traffic, self.service
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
        with self._server.traffic.lock:
            return tuple(self._server.traffic.exchanges)
