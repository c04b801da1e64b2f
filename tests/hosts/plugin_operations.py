"""Runs a plugin's operations one by one on a test host, as the engine would in a job, without an engine.

Plugin operations do not care what is mounted where, so a plain directory plays the mount and a copy of it the
clone of a snapshot.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import prepare, remove
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.operations import Dispatcher, LibraryCalls
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.worker import LogLine, Workers
from dlpx_remote.workflows.discovery import wire_connection
from dlpx_remote.workflows.once import unstored
from tests.hosts.ssh_host import SshHost


@dataclass
class Operations:
    """A plugin on a host.

    Attributes:
        connection: to the host, as operations are handed it.
        log: what the plugin said, in order.
    """

    dispatcher: Dispatcher
    connection: dict[str, Any]
    log: list[LogLine] = field(default_factory=list)

    def run(self, operation: str, /, **arguments: Any) -> Any:
        """The operation's result, checked."""
        return self.dispatcher.run(operation, **arguments)

    def said(self) -> str:
        """What the plugin said since the last time."""
        text = "\n".join(line.message for line in self.log)
        self.log.clear()
        return text


@contextmanager
def operations(
    plugin: Path, host: SshHost, user: str = "engine", data_set: Path | None = None
) -> Iterator[Operations]:
    """``plugin``'s operations on ``host`` as ``user``, in one worker."""
    environment = unstored(host.spec("there", user), 1)
    account = environment.primary_user
    log: list[LogLine] = []
    with (
        Workers() as workers,
        Connections(lambda *_: (environment, account), Secrets()) as connections,
        Dispatcher(
            workers,
            load_plugin(plugin),
            LibraryCalls(connections, data_set=data_set),
            job="JOB-1",
            on_log=log.append,
        ) as dispatcher,
    ):
        connection = connections.connection_of(environment, account)
        directories = prepare(connection, None)
        try:
            yield Operations(dispatcher, wire_connection(environment, directories), log)
        finally:
            remove(connection, directories.made)


def copy(host: SshHost, source: str, target: str) -> None:
    """A copy of a directory tree as it is at one moment, as a clone of a snapshot would be.

    Whatever works below ``source`` is halted meanwhile.
    """
    host.root(
        f"""
        source={shlex.quote(source)} working=()
        for process in /proc/[0-9]*; do
            [[ $(readlink "$process/cwd") == "$source"/* ]] && working+=("${{process#/proc/}}")
        done
        [ -z "${{working-}}" ] || kill -STOP "${{working[@]}}"
        cp --archive "$source" {shlex.quote(target)}
        [ -z "${{working-}}" ] || kill -CONT "${{working[@]}}"
        """
    )


def directory(host: SshHost, path: str, owner: str = "engine") -> str:
    """An empty directory, as a mount would be; its path."""
    host.root(f"install --directory --owner {owner} --group {owner} {shlex.quote(path)}")
    return path
