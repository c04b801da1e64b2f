"""The way to each environment: who is configured, with which secrets, and what people are warned of.

A caller names an environment and a user by their references only; addresses, keys and secrets come from what
is configured. The connections themselves are the transport's pool's (:mod:`dlpx_remote.transports.ssh.pool`),
shared by everything that runs on one account of one host. Safe for use from several threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dlpx_remote.environments.model import (
    Environment,
    EnvironmentUser,
    Expected,
    HostType,
    SecretReference,
    WindowsAccess,
)
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.environments.windows import winrm_target
from dlpx_remote.transports.base import Connection, Deadlines
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.transports.ssh.network import Network, SshNetwork
from dlpx_remote.transports.ssh.pool import IDLE, Pool, PooledConnection
from dlpx_remote.transports.ssh.pool_book import ConnectionsClosed
from dlpx_remote.transports.ssh.target import SshTarget
from dlpx_remote.transports.ssh.trace import Trace
from dlpx_remote.transports.winrm.pool import WinrmPool
from dlpx_remote.transports.winrm.target import WinrmTarget

if TYPE_CHECKING:
    from dlpx_remote.transports.winrm.connection import WinrmConnection

_LOG = logging.getLogger(__name__)

TRUSTED = 1.0
"""Seconds for which what is configured is taken as it was read last: other processes may change it."""

Lookup = Callable[[str, str], tuple[Environment, EnvironmentUser]]
"""Environment and user by their references; raises NotFound."""

Find = Callable[[str, str | None], tuple[Environment, EnvironmentUser]]
"""Environment and user as a person names them, the primary user for None; raises NotFound."""

__all__ = ["Connections", "ConnectionsClosed", "Lookup", "secrets_of"]


@dataclass
class _Known:
    """The way to one user of one environment, as it was configured when it was looked up."""

    environment: Environment
    user: EnvironmentUser
    connection: PooledConnection | WinrmConnection
    until: float


class Connections:
    """Opens connections when they are first needed and closes all of them at the end.

    Args:
        lookup: finds environment and user by their references.
        secrets: finds passwords and passphrases when a host asks for them.
        known_hosts: the file that ``accept-new`` writes to; None writes nowhere.
        on_warning: takes one sentence about a host that is not checked; None means the log.
        deadlines: of each connection.
        idle: seconds without use after which a connection is closed; None keeps it open.
        network: how to connect; None means SSH with ``deadlines`` and ``trace``.
        trace: told of every stage of every connection and command.
    """

    def __init__(
        self,
        lookup: Lookup,
        secrets: Secrets,
        *,
        known_hosts: Path | None = None,
        on_warning: Callable[[str], None] | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  # a frozen value
        idle: float | None = IDLE,
        network: Network | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._lookup = lookup
        self._secrets = secrets
        self._known_hosts = known_hosts
        self._warn = on_warning or _LOG.warning
        self._pool = Pool(network or SshNetwork(deadlines, trace), deadlines=deadlines, idle=idle)
        self._windows = WinrmPool(deadlines, trace, idle)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}
        self._named: dict[tuple[str, str | None], _Known] = {}
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"<Connections over {self._pool!r} and {self._windows!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        """The open connection of that user on that environment.

        Raises:
            NotFound: one of the references is not known.
            SecretUnavailable: a secret is not where its reference says.
            TransportError: the host cannot be reached, or does not let the user in.
        """
        return self._open(self._way(environment_reference, user_reference), environment_reference)

    def connection_named(
        self, find: Find, environment: str, user: str | None
    ) -> tuple[Environment, Connection]:
        """The same for names that a person gave; ``find`` is asked when they have not been used just now."""
        known = self._named.get((environment, user))
        if known is None or known.until <= time.monotonic():
            found = find(environment, user)
            known = self._recall(*found)
            with self._lock:
                self._named[environment, user] = known
        return known.environment, self._open(known, environment)

    def connection_of(self, environment: Environment, user: EnvironmentUser) -> Connection:
        """The same for who has just looked them up.

        Raises:
            What :meth:`connection` raises, but for NotFound.
        """
        return self._open(self._recall(environment, user), environment.reference)

    def discard(self, environment_reference: str) -> None:
        """Close what is open to one environment, and to no other; the next use connects anew."""
        with self._lock:
            self._named.clear()
            mine = [key for key in self._known if key[0] == environment_reference]
            left = {self._known.pop(key).connection for key in mine}
            left -= {known.connection for known in self._known.values()}
        self._discard(left)

    def look_again(self) -> None:
        """Something that is configured was changed: trust nothing that was read before."""
        with self._lock:
            self._named.clear()
            for known in self._known.values():
                known.until = 0.0

    def close(self) -> None:
        """Close every connection. Idempotent; raises nothing."""
        self._pool.close()
        self._windows.close()

    def ask_beforehand(self, environments: Iterable[Environment]) -> None:
        """Before many things run at once: ask the person now for every secret that has to be asked for.

        And load what connects, or many threads would wait for it at once.
        """
        for environment in environments:
            if environment.host_type is HostType.WINDOWS:
                import dlpx_remote.transports.winrm.connection
            else:
                import dlpx_remote.transports.ssh.connection  # noqa: F401
            user = environment.primary_user
            for reference, purpose in secrets_of(environment, user):
                if self._secrets.asks(reference):
                    self._secrets.resolve(reference, purpose)

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        """How that user becomes another one on that environment.

        Raises:
            NotFound: one of the references is not known.
        """
        known = self._way(environment_reference, user_reference)
        return self.privilege_of(known.environment, known.user)

    def privilege_of(self, environment: Environment, user: EnvironmentUser) -> Privilege:
        """The same for who has just looked them up."""
        purpose = f"password of {user.name} for {environment.privilege} on {environment.name}"
        password = self._secret(environment.privilege_password_from, purpose)
        return replace(Privilege.parse(environment.privilege), password=password)

    def target(self, environment: Environment, user: EnvironmentUser) -> SshTarget:
        """What the transport needs to know to reach ``user`` on the Unix host of ``environment``."""
        authentication = user.authentication
        nothing_given = not (
            authentication.agent
            or authentication.key
            or authentication.key_from
            or authentication.password_from is not None
        )
        return SshTarget(
            host=environment.host,
            user=user.name,
            port=environment.port,
            jump=environment.jump,
            key=authentication.key,
            key_text=self._secret(authentication.key_from, _purpose("key", environment, user), "keyPair"),
            agent=authentication.agent,
            password=self._secret(authentication.password_from, _purpose("password", environment, user)),
            passphrase=self._secret(
                authentication.passphrase_from, _purpose("passphrase", environment, user)
            ),
            host_key_policy=environment.host_key,
            fingerprint=environment.fingerprint,
            known_hosts=self._known_hosts,
            default_keys=nothing_given,
        )

    def windows_target(self, environment: Environment, user: EnvironmentUser) -> WinrmTarget:
        """What the transport needs to know to reach ``user`` on the Windows host of ``environment``."""
        purpose = _purpose("password", environment, user)
        password = self._secret(user.authentication.password_from, purpose)
        return winrm_target(environment, user, password)

    def _way(self, environment_reference: str, user_reference: str) -> _Known:
        known = self._known.get((environment_reference, user_reference))
        if known is None or known.until <= time.monotonic():
            known = self._recall(*self._lookup(environment_reference, user_reference))
        return known

    def _recall(self, environment: Environment, user: EnvironmentUser) -> _Known:
        """Note the way to them; one that leads elsewhere than before closes what was open there."""
        key = (environment.reference, user.reference)
        connection: PooledConnection | WinrmConnection
        if environment.host_type is HostType.WINDOWS:
            connection = self._windows.connection(self.windows_target(environment, user))
        else:
            connection = self._pool.connection(self.target(environment, user))
        self._warn_of(environment)
        known = _Known(environment, user, connection, time.monotonic() + TRUSTED)
        with self._lock:
            former = self._known.get(key)
            self._known[key] = known
            left = former is not None and all(
                each.connection is not former.connection for each in self._known.values()
            )
        if former is not None and left:
            self._discard([former.connection])
        return known

    def _discard(self, connections: Iterable[PooledConnection | WinrmConnection]) -> None:
        unix = [each for each in connections if isinstance(each, PooledConnection)]
        self._windows.discard(each for each in connections if not isinstance(each, PooledConnection))
        self._pool.discard(unix)

    def _open(self, known: _Known, reference: str) -> Connection:
        if known.connection.open():
            _LOG.info("connected to %s for the environment %s", known.connection.address, reference)
        return known.connection

    def _warn_of(self, environment: Environment) -> None:
        words = _danger(environment)
        if not words:
            return
        with self._lock:
            if environment.reference in self._warned:
                return
            self._warned.add(environment.reference)
        self._warn(words)

    def _secret(
        self, reference: SecretReference | None, purpose: str, expected: Expected = "password"
    ) -> Callable[[], str] | None:
        if reference is None:
            return None
        return _Secret(self._secrets, reference, purpose, expected)


def _danger(environment: Environment) -> str:
    """What a person is warned of before anything is sent; empty for nothing."""
    name, host = environment.name, environment.host
    windows = environment.host_type is HostType.WINDOWS
    access = environment.windows or WindowsAccess()
    if windows and access.scheme == "http":
        if access.login == "basic":
            return (
                f"Everything that is sent to {name}, the password too, can be read by everybody on the "
                "network: it is Basic over HTTP. Use HTTPS or NTLM."
            )
        return ""
    if environment.host_key != "off" or environment.fingerprint is not None:
        return ""
    what, instead = (
        ("certificate", "a CA file or a fingerprint")
        if windows
        else ("host key", "accept-new or a fingerprint")
    )
    return (
        f"The {what} of {name} is not checked: whoever answers at {host} gets your password and scripts. "
        f"Use {instead}."
    )


@dataclass(frozen=True)
class _Secret:
    """Gives a secret when it is called; equal to another that would look in the same place."""

    secrets: Secrets = field(repr=False)
    reference: SecretReference
    purpose: str = field(compare=False)
    expected: Expected
    asked_for: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A person may answer differently for each purpose.
        object.__setattr__(self, "asked_for", self.purpose if self.reference.kind == "prompt" else "")

    def __call__(self) -> str:
        return self.secrets.resolve(self.reference, self.purpose, self.expected)

    def __str__(self) -> str:
        return str(self.reference)


def secrets_of(environment: Environment, user: EnvironmentUser) -> list[tuple[SecretReference, str]]:
    """The references of one user, each with what it is for."""
    authentication = user.authentication
    pairs = (
        (authentication.passphrase_from, _purpose("passphrase", environment, user)),
        (authentication.password_from, _purpose("password", environment, user)),
    )
    return [(reference, purpose) for reference, purpose in pairs if reference is not None]


def _purpose(what: str, environment: Environment, user: EnvironmentUser) -> str:
    if what == "key":
        return f"private key of {user.name} on {environment.name}"
    if what == "passphrase":
        return f"passphrase of the key {user.authentication.key or user.authentication.key_from}"
    return f"password of {user.name} on {environment.name}"
