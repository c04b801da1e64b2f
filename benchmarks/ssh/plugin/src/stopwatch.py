"""A plugin that times its own calls: what a command costs where plugin code waits for it."""

from __future__ import annotations

import statistics
import time

from generated.definitions import RepositoryDefinition, SourceConfigDefinition

from dlpx.virtualization import libs
from dlpx.virtualization.common import RemoteConnection
from dlpx.virtualization.platform import Plugin

WARM_UP = 5
COMMANDS = 50

plugin = Plugin()


@plugin.discovery.repository()
def find_repositories(source_connection: RemoteConnection) -> list[RepositoryDefinition]:
    for _ in range(WARM_UP):
        libs.run_bash(source_connection, "true", check=True)
    seconds = []
    for _ in range(COMMANDS):
        start = time.perf_counter()
        libs.run_bash(source_connection, "true", check=True)
        seconds.append(time.perf_counter() - start)
    return [RepositoryDefinition(name="true", seconds=statistics.median(seconds))]


@plugin.discovery.source_config()
def find_source_configs(
    source_connection: RemoteConnection,  # noqa: ARG001  the operation's signature
    repository: RepositoryDefinition,  # noqa: ARG001
) -> list[SourceConfigDefinition]:
    return []
