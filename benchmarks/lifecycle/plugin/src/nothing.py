"""A plugin that finds nothing: what is left of an operation is the engine's own time."""

from __future__ import annotations

from generated.definitions import RepositoryDefinition, SourceConfigDefinition

from dlpx.virtualization.common import RemoteConnection
from dlpx.virtualization.platform import Plugin

plugin = Plugin()


@plugin.discovery.repository()
def find_repositories(
    source_connection: RemoteConnection,  # noqa: ARG001  the operation's signature
) -> list[RepositoryDefinition]:
    return []


@plugin.discovery.source_config()
def find_source_configs(
    source_connection: RemoteConnection,  # noqa: ARG001
    repository: RepositoryDefinition,  # noqa: ARG001
) -> list[SourceConfigDefinition]:
    return []
