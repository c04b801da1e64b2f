"""A quick look: plugins from directories against hosts, with no state and nothing left on the hosts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import (
    Environment,
    EnvironmentSpec,
    EnvironmentUser,
    HostType,
    WindowsAccess,
)
from dlpx_remote.environments.registry import login_name, unknown_environment, user_by_reference
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.environments.validation import check_spec
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.transports.base import Deadlines, HostKeyUnknown
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.network import Link, SshNetwork
from dlpx_remote.transports.ssh.target import Hop, SshTarget
from dlpx_remote.transports.ssh.trace import Trace
from dlpx_remote.workflows.bookkeeping import Forgotten
from dlpx_remote.workflows.discovery import Candidate, Discovery, OnEvent
from dlpx_remote.workflows.report import DiscoveryReport


def look_once(
    plugins: Sequence[Path],
    hosts: Sequence[EnvironmentSpec],
    secrets: Secrets,
    *,
    on_warning: Callable[[str], None],
    parallel: int = 32,
    on_event: OnEvent | None = None,
    trace: Trace | None = None,
) -> DiscoveryReport:
    """Discover with ``plugins`` on ``hosts`` and keep nothing.

    Raises:
        PluginInvalid: a plugin has errors.
        InvalidRequest: a host cannot be as it was given, or there is nothing to do.
    """
    if not plugins:
        raise InvalidRequest(
            "There is no plugin to discover with.", "Name a plugin's directory with --plugin."
        )
    if not hosts:
        raise InvalidRequest("There is no host to discover on.", "Name one with --host user@address.")
    loaded = [load_plugin(directory) for directory in plugins]
    candidates = [Candidate(plugin.config.name, plugin) for plugin in loaded]
    with without_state(hosts, secrets, on_warning=on_warning, trace=trace) as look:
        discovery = Discovery(
            look.connections,
            lambda plugin, job: Dispatcher(look.workers, plugin, LibraryCalls(look.connections), job=job),
            look.kept,
            parallel=parallel,
            on_event=on_event,
        )
        return discovery.run(look.environments, candidates)


@dataclass(frozen=True)
class StatelessLook:
    """What plugins need to be run against hosts that no state knows.

    Attributes:
        environments: one a host, in order.
        connections: to them.
        workers: for plugins' code.
        kept: what was made on the hosts, all of it removed at the end.
    """

    environments: list[Environment]
    connections: Connections
    workers: Workers
    kept: Forgotten


@contextmanager
def without_state(
    hosts: Sequence[EnvironmentSpec],
    secrets: Secrets,
    *,
    on_warning: Callable[[str], None],
    trace: Trace | None = None,
) -> Iterator[StatelessLook]:
    """Connections and workers for a while; at the end nothing of them is left, on the hosts neither.

    Args:
        hosts: those that can be reached.
        secrets: where passwords and the like come from.
        on_warning: told what could not be removed, and what else a person ought to read.
        trace: told of every stage of connections and commands.

    Raises:
        InvalidRequest: a host cannot be as it was given.
    """
    environments = {
        environment.reference: environment
        for environment in (unstored(spec, number) for number, spec in enumerate(distinct(hosts), start=1))
    }

    def lookup(environment_reference: str, user_reference: str) -> tuple[Environment, EnvironmentUser]:
        environment = environments.get(environment_reference)
        if environment is None:
            raise unknown_environment(environment_reference, environments)
        return environment, user_by_reference(environment, user_reference)

    with tempfile.TemporaryDirectory(prefix="dlpx-remote-") as directory, Workers() as workers:
        connections = Connections(
            lookup,
            secrets,
            known_hosts=Path(directory) / "known_hosts",
            on_warning=on_warning,
            network=OnceNetwork(Deadlines(), trace),
        )
        kept = Forgotten()
        try:
            yield StatelessLook(list(environments.values()), connections, workers, kept)
        except BaseException:
            workers.close()  # threads that wait for a plugin give up at once
            raise
        finally:
            for complaint in kept.clean():
                on_warning(complaint)
            connections.close()


class OnceNetwork(SshNetwork):
    """Explains an unknown host key by what this look was started with.

    Its own file of known hosts is gone when the person reads about it.
    """

    def open(self, hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        """See :class:`SshNetwork`."""
        try:
            return super().open(hop, target, before, deadline)
        except HostKeyUnknown as error:
            pin = f"--fingerprint {error.fingerprint}, or with " if hop.last else ""
            raise HostKeyUnknown(
                error.message,
                "Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub). If it is "
                f"right, run the command again with {pin}--host-key accept-new, or remember the key: "
                f"ssh-keyscan -p {hop.port} {hop.host} >> ~/.ssh/known_hosts",
                host=error.host,
                user=error.user,
                fingerprint=error.fingerprint,
            ) from error


def distinct(hosts: Sequence[EnvironmentSpec]) -> list[EnvironmentSpec]:
    """The hosts, those that would have the same name with user and port in it."""
    names = [spec.name for spec in hosts]
    return [
        replace(spec, name=f"{spec.user or ''}@{spec.host}:{spec.port or 22}".lstrip("@"))
        if names.count(spec.name) > 1
        else spec
        for spec in hosts
    ]


def unstored(spec: EnvironmentSpec, number: int) -> Environment:
    """An environment that is in no state; its references are good for this look only."""
    check_spec(replace(spec, name="host"))  # whatever the name, nobody has to type it
    kind = spec.host_type.value
    user = EnvironmentUser(f"HOST_USER-{number}", login_name(spec), spec.authentication, primary=True)
    return Environment(
        reference=f"{kind}_HOST_ENVIRONMENT-{number}",
        host_reference=f"{kind}_HOST-{number}",
        name=spec.name,
        host=spec.host,
        port=spec.port,
        host_type=spec.host_type,
        users=(user,),
        jump=spec.jump,
        windows=(spec.windows or WindowsAccess()) if spec.host_type is HostType.WINDOWS else None,
        host_key=spec.host_key,
        fingerprint=spec.fingerprint,
        directory=spec.directory,
    )
