"""Open connections, one for each environment and user, shared by everything that runs on them.

A caller names an environment and a user by their references only; addresses, keys and secrets come from what
is configured. Safe for use from several threads: two that ask for one connection at once get the same, and a
host that is slow to answer holds up nobody else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from dlpx_remote.environments.model import Environment, EnvironmentUser, HostType, SecretReference
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import RemoteError
from dlpx_remote.transports.base import AuthenticationFailed, Connection, Deadlines
from dlpx_remote.transports.ssh.target import SshTarget, hops

_LOG = logging.getLogger(__name__)
_HANDSHAKES = 4
"""At once to one server: OpenSSH drops new ones at random from ten unauthenticated ones on (MaxStartups)."""

Lookup = Callable[[str, str], tuple[Environment, EnvironmentUser]]
"""Environment and user by their references; raises NotFound."""

Connect = Callable[[SshTarget], Connection]


class TransportMissing(RemoteError):
    """There is no way yet to reach this kind of host."""


class ConnectionsClosed(RemoteError):
    """A connection was asked for after the engine was closed."""


class Connections:
    """Opens connections when they are first needed and closes all of them at the end.

    Args:
        lookup: finds environment and user by their references.
        secrets: finds passwords and passphrases when a host asks for them.
        known_hosts: the file that ``accept-new`` writes to; None writes nowhere.
        on_warning: takes one sentence about a host that is not checked; None means the log.
        deadlines: of each connection.
        open_connection: how to connect; None means SSH with ``deadlines``.
    """

    def __init__(
        self,
        lookup: Lookup,
        secrets: Secrets,
        *,
        known_hosts: Path | None = None,
        on_warning: Callable[[str], None] | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008  # a frozen value
        open_connection: Connect | None = None,
    ) -> None:
        self._lookup = lookup
        self._secrets = secrets
        self._known_hosts = known_hosts
        self._warn = on_warning or _LOG.warning
        self._connect = open_connection or partial(_connect, deadlines=deadlines)
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._gates: dict[tuple[str, int], threading.Semaphore] = {}
        self._warned: set[str] = set()
        self._closed = False

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
            TransportMissing: there is no transport for that kind of host.
            SecretUnavailable: a secret is not where its reference says.
            TransportError: the host cannot be reached, or does not let the user in.
        """
        environment, user = self._lookup(environment_reference, user_reference)
        with self._lock:
            if self._closed:
                raise ConnectionsClosed("The engine has been closed; no host can be reached any more.")
            slot = self._slots.setdefault((environment.reference, user.reference), _Slot())
        seen = slot.failures
        with slot.lock:
            if slot.refused is not None:
                raise slot.refused  # another try with the same credentials could lock the account
            if slot.connection is not None and not slot.connection.is_open:
                slot.close()  # lost since; nothing was sent on it that could be sent twice
            if slot.connection is None:
                if slot.failure is not None and slot.failures != seen:
                    raise slot.failure  # the attempt that this thread waited for; the next would take as long
                try:
                    slot.connection = self._open(slot, environment, user)
                except RemoteError as error:
                    slot.failure, slot.failures = error, slot.failures + 1
                    raise
            return slot.connection

    def discard(self, environment_reference: str) -> None:
        """Close what is open to one environment; the next use connects anew."""
        with self._lock:
            keys = [key for key in self._slots if key[0] == environment_reference]
            slots = [self._slots.pop(key) for key in keys]
        for slot in slots:
            slot.close()

    def close(self) -> None:
        """Close every connection. Idempotent; raises nothing."""
        with self._lock:
            self._closed = True
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            slot.close()

    def ask_beforehand(self, environments: Iterable[Environment]) -> None:
        """Before many things run at once: ask the person now for every secret that has to be asked for.

        And load what connects, or many threads would wait for it at once.
        """
        import dlpx_remote.transports.ssh  # noqa: F401

        for environment in environments:
            user = environment.primary_user
            for reference, purpose in secrets_of(environment, user):
                if reference.kind == "prompt":
                    self._secrets.resolve(reference, purpose)

    def target(self, environment: Environment, user: EnvironmentUser) -> SshTarget:
        """What the transport needs to know to reach ``user`` on ``environment``."""
        if environment.host_type is HostType.WINDOWS:
            raise TransportMissing(
                f"{environment.name} is a Windows environment, and Windows hosts cannot be reached yet: "
                "the WinRM transport is still to come.",
                "Unix environments work.",
            )
        authentication = user.authentication
        nothing_given = not (
            authentication.agent or authentication.key or authentication.password_from is not None
        )
        return SshTarget(
            host=environment.host,
            user=user.name,
            port=environment.port,
            jump=environment.jump,
            key=authentication.key,
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

    def _open(self, slot: _Slot, environment: Environment, user: EnvironmentUser) -> Connection:
        target = self.target(environment, user)
        self._warn_of(environment)
        try:
            with self._gate(target):
                connection = self._connect(target)
        except AuthenticationFailed as error:
            slot.refused = error
            raise
        with self._lock:
            closed = self._closed
        if closed:  # while this one was being opened
            connection.close()
            raise ConnectionsClosed("The engine was closed while it connected.")
        _LOG.info("connected to %s for the environment %s", connection.address, environment.name)
        return connection

    def _gate(self, target: SshTarget) -> threading.Semaphore:
        """Lets few handshakes at once through to one server, be it the host or a jump host before many."""
        first = hops(target)[0]
        with self._lock:
            return self._gates.setdefault((first.host, first.port), threading.Semaphore(_HANDSHAKES))

    def _warn_of(self, environment: Environment) -> None:
        if environment.host_key != "off" or environment.fingerprint is not None:
            return
        with self._lock:
            if environment.reference in self._warned:
                return
            self._warned.add(environment.reference)
        self._warn(
            f"The host key of {environment.name} is not checked: whoever answers at {environment.host} gets "
            "your password and scripts. Use accept-new or a fingerprint."
        )

    def _secret(self, reference: SecretReference | None, purpose: str) -> Callable[[], str] | None:
        if reference is None:
            return None
        return lambda: self._secrets.resolve(reference, purpose)


def _connect(target: SshTarget, deadlines: Deadlines) -> Connection:
    from dlpx_remote.transports.ssh import connect  # the first connection pays for loading it

    return connect(target, deadlines=deadlines)


class _Slot:
    """The place of one connection; its lock is held while it is being opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None
        self.refused: AuthenticationFailed | None = None
        self.failure: RemoteError | None = None
        self.failures = 0

    def close(self) -> None:
        # Not under the lock: closing must not wait for a host that does not answer.
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def secrets_of(environment: Environment, user: EnvironmentUser) -> list[tuple[SecretReference, str]]:
    """The references of one user, each with what it is for."""
    authentication = user.authentication
    pairs = (
        (authentication.passphrase_from, _purpose("passphrase", environment, user)),
        (authentication.password_from, _purpose("password", environment, user)),
    )
    return [(reference, purpose) for reference, purpose in pairs if reference is not None]


def _purpose(what: str, environment: Environment, user: EnvironmentUser) -> str:
    if what == "passphrase":
        return f"passphrase of the key {user.authentication.key}"
    return f"password of {user.name} on {environment.name}"
