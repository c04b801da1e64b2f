"""``env test`` of a Windows environment: the same promise, other steps."""

from __future__ import annotations

from collections.abc import Callable

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import DirectoryUnusable
from dlpx_remote.environments.model import Environment, EnvironmentUser, HostFacts, TestStep
from dlpx_remote.environments.trial import Steps, Trial, tried
from dlpx_remote.environments.windows_directories import prepare
from dlpx_remote.errors import RemoteError
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    Connection,
    CredentialUnusable,
    LoginLost,
)
from dlpx_remote.transports.winrm.target import WinrmTarget

STEPS = ("name resolves", "port answers", "certificate", "login", "PowerShell", "scratch directory")
"""In the order in which they are tried."""


def try_windows(
    connections: Connections,
    environment: Environment,
    user: EnvironmentUser,
    on_step: Callable[[TestStep], None] | None = None,
) -> Trial:
    """Try everything that the engine may need of ``user`` on a Windows environment.

    Args:
        connections: opens the way in; has nothing open yet, so that everything is tried anew.
        environment: where.
        user: as whom.
        on_step: called with each step when it ends.
    """

    def steps(trial: Steps) -> None:
        target = connections.windows_target(environment, user)
        trial.reach(target.host, target.effective_port, "WinRM")
        connection = _log_in(trial, connections, environment, user, target)
        _powershell(trial, connection)
        _directory(trial, connection, environment)

    return tried(STEPS, on_step, steps)


def _log_in(
    trial: Steps,
    connections: Connections,
    environment: Environment,
    user: EnvironmentUser,
    target: WinrmTarget,
) -> Connection:
    try:
        connection = connections.connection(environment.reference, user.reference)
    except RemoteError as error:
        refused = isinstance(error, AuthenticationFailed | CredentialUnusable | LoginLost)
        if isinstance(error, ConnectFailed) and not refused and target.scheme == "https":
            # The certificate itself, or what kept it from being shown.
            raise trial.failed("certificate", error) from None
        _certificate(trial, target)
        raise trial.failed("login", error) from None
    _certificate(trial, target)
    how = {"ntlm": "NTLM", "basic": "Basic", "kerberos": "Kerberos", "certificate": "certificate"}
    trial.end("login", "ok", f"as {user.name} by {how[target.authentication]}")
    return connection


def _certificate(trial: Steps, target: WinrmTarget) -> None:
    name = "certificate"
    if target.scheme == "http" and target.authentication == "basic":
        trial.end(name, "warning", "none: everybody on the network can read everything", "Use HTTPS or NTLM.")
    elif target.scheme == "http":
        trial.end(name, "ok", "none over HTTP; the login encrypts the messages")
    elif target.thumbprint is not None:
        trial.end(name, "ok", "the pinned one")
    elif not target.verify:
        trial.end(name, "warning", "not checked", "Give --ca-file or --fingerprint.")
    else:
        trial.end(name, "ok", "issued by an authority that is trusted")


def _powershell(trial: Steps, connection: Connection) -> None:
    with trial.failing("PowerShell", RemoteError):
        facts = connection.facts()
    trial.facts = HostFacts.of(facts)
    trial.end("PowerShell", "ok", f"{facts.shell} on {facts.operating_system}, as {facts.user}")


def _directory(trial: Steps, connection: Connection, environment: Environment) -> None:
    with trial.failing("scratch directory", DirectoryUnusable, RemoteError):
        directories = prepare(connection, environment.directory)
    trial.made = directories.made
    trial.end("scratch directory", "ok", directories.scratch)
