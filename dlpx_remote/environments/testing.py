"""``env test``: trying, step by step, what works on an environment, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Callable

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import DirectoryUnusable, prepare
from dlpx_remote.environments.model import Environment, EnvironmentUser, HostFacts, HostType, TestStep
from dlpx_remote.environments.privileges import try_privileges
from dlpx_remote.environments.secrets import SecretUnavailable
from dlpx_remote.environments.trial import Steps, Trial, tried
from dlpx_remote.environments.windows_testing import try_windows
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    Connection,
    CredentialUnusable,
    HomeDirectoryMissing,
    LoginLost,
    SessionRefused,
    ShellFacts,
    ShellUnavailable,
)
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.transports.ssh.ssh_config import ALGORITHMS
from dlpx_remote.transports.ssh.target import Hop, SshTarget, hops

_COMMAND_TIMEOUT = 30.0

STEPS = (
    "ssh configuration",
    "name resolves",
    "port answers",
    "host key",
    "login",
    "shell",
    "home",
    "privileges",
    "rsync",
    "expect",
    "jq",
    "NFS client",
    "toolkit directory",
    "scratch directory",
)
"""In the order in which they are tried."""

_TOOLS = {
    "rsync": ("rsync", "libs.run_sync needs it", "Install the package rsync."),
    "expect": ("expect", "libs.run_expect needs it", "Install the package expect."),
    "jq": ("jq", "some plugins need it", "Install the package jq."),
    "NFS client": (
        "mount.nfs",
        "mounting needs it",
        "Install the NFS client: nfs-common on Debian and Ubuntu, nfs-utils on Red Hat and SUSE.",
    ),
}


def try_environment(
    connections: Connections,
    environment: Environment,
    user: EnvironmentUser,
    on_step: Callable[[TestStep], None] | None = None,
) -> Trial:
    """Try everything that the engine may need of ``user`` on ``environment``.

    Args:
        connections: opens the way in; has nothing open yet, so that everything is tried anew.
        environment: where.
        user: as whom.
        on_step: called with each step when it ends.

    Returns:
        Every step. A step that needs an earlier one that failed is ``skipped``; a missing tool is a
        ``warning``, for only some operations need it.
    """
    if environment.host_type is HostType.WINDOWS:
        return try_windows(connections, environment, user, on_step)

    def steps(trial: Steps) -> None:
        _reach(trial, _configuration(trial, connections.target(environment, user)))
        connection = _log_in(trial, connections, environment, user)
        facts = _shell_and_home(trial, connection)
        _privileges(trial, connection, connections.privilege_of(environment, user))
        _tools(trial, facts)
        _directories(trial, connection, environment)

    return tried(STEPS, on_step, steps)


def _configuration(trial: Steps, target: SshTarget) -> list[Hop]:
    """What ``ssh_config`` makes of the target, and what of it is not honoured."""
    name = "ssh configuration"
    with trial.failing(name, InvalidRequest):
        chain = hops(target)
    ignored = {option: hop.name for hop in chain for option in hop.not_honoured}
    listed = ", ".join(f"{option} for {host}" for option, host in ignored.items())
    if set(ignored) <= ALGORITHMS:
        detail = " → ".join(hop.address for hop in chain)
        trial.end(name, "ok", f"{detail}; not honoured: {listed}" if listed else detail)
    else:
        trial.end(
            name,
            "warning",
            f"not honoured: {listed}",
            "What ssh does with these options, the engine does not; see docs/environments.md.",
        )
    return chain


def _reach(trial: Steps, chain: list[Hop]) -> None:
    *jumps, address = chain
    way = f"the jump host {jumps[-1].name}" if jumps else "its ProxyCommand" if address.proxy_command else ""
    if way:
        trial.end("name resolves", "skipped", f"left to {way}")
        trial.end("port answers", "skipped", f"left to {way}")
        return
    trial.reach(address.host, address.port, "the SSH server")


def _log_in(
    trial: Steps, connections: Connections, environment: Environment, user: EnvironmentUser
) -> Connection:
    try:
        connection = connections.connection(environment.reference, user.reference)
    except (AuthenticationFailed, CredentialUnusable, LoginLost) as error:
        trial.end("host key", "ok", _how_checked(environment))
        raise trial.failed("login", error) from None
    except ConnectFailed as error:  # the host key itself, or whatever else kept it from being shown
        raise trial.failed("host key", error) from None
    except (ShellUnavailable, HomeDirectoryMissing) as error:
        trial.end("host key", "ok", _how_checked(environment))
        trial.end("login", "ok", f"as {user.name}")
        if isinstance(error, HomeDirectoryMissing):
            trial.end("shell", "ok")
        step = "home" if isinstance(error, HomeDirectoryMissing) else "shell"
        raise trial.failed(step, error) from None
    except RemoteError as error:  # a secret that is not where its reference says
        trial.end("host key", "ok", _how_checked(environment))
        raise trial.failed("login", error) from None
    if environment.host_key == "off" and environment.fingerprint is None:
        trial.end("host key", "warning", "not checked", "Use --host-key accept-new, or give --fingerprint.")
    else:
        trial.end("host key", "ok", _how_checked(environment))
    trial.end("login", "ok", f"as {user.name}")
    return connection


def _how_checked(environment: Environment) -> str:
    if environment.fingerprint is not None:
        return "the pinned one"
    return {"strict": "known", "accept-new": "known or new", "off": "not checked"}[environment.host_key]


def _shell_and_home(trial: Steps, connection: Connection) -> ShellFacts:
    try:
        with trial.failing("shell", ShellUnavailable, SessionRefused):
            facts = connection.facts()
            trial.facts = HostFacts.of(facts)
            result = connection.run('printf %s "$BASH_VERSION"', timeout=_COMMAND_TIMEOUT)
    except HomeDirectoryMissing as error:
        trial.end("shell", "ok")
        raise trial.failed("home", error) from None
    except RemoteError as error:
        raise trial.failed("shell", error) from None
    version = result.stdout_text.strip()
    trial.end(
        "shell", "ok", f"bash {version}" + (f"; the login shell is {facts.shell}" if facts.shell else "")
    )
    trial.end("home", "ok", facts.home)
    return facts


def _privileges(trial: Steps, connection: Connection, privilege: Privilege) -> None:
    name = "privileges"
    try:
        verdict = try_privileges(connection, privilege)
    except SecretUnavailable as error:
        trial.end(name, "failed", error.message, error.action)
    except RemoteError as error:
        raise trial.failed(name, error) from None
    else:
        trial.end(name, verdict.outcome, verdict.detail, verdict.action)


def _tools(trial: Steps, facts: ShellFacts) -> None:
    for step, (tool, reason, action) in _TOOLS.items():
        path = facts.tools.get(tool)
        if path:
            trial.end(step, "ok", path)
        else:
            trial.end(step, "warning", f"not found; {reason}", action)


def _directories(trial: Steps, connection: Connection, environment: Environment) -> None:
    try:
        directories = prepare(connection, environment.directory)
    except DirectoryUnusable as error:
        trial.end("toolkit directory", "failed", error.message, error.action)
        trial.end("scratch directory", "skipped")
        return
    except RemoteError as error:
        raise trial.failed("toolkit directory", error) from None
    trial.made = directories.made
    trial.end("toolkit directory", "ok", directories.toolkit)
    trial.end("scratch directory", "ok", directories.scratch)
