"""PostgreSQL: installations are repositories, clusters (data directories) are source configs."""

import logging
import pkgutil

from dlpx.virtualization import libs
from dlpx.virtualization.platform import Plugin
from generated.definitions import RepositoryDefinition, SourceConfigDefinition

from postgres import discovery

plugin = Plugin()
logger = logging.getLogger(__name__)


@plugin.discovery.repository()
def find_installations(source_connection):
    return [
        RepositoryDefinition(
            bin_directory=installation.bin_directory,
            version=installation.version,
            major_version=installation.major_version,
            name=f"PostgreSQL {installation.version} ({installation.bin_directory})",
        )
        for installation in discovery.parse_installations(_run(source_connection, "installations.sh"))
    ]


@plugin.discovery.source_config()
def find_clusters(source_connection, repository):
    clusters = discovery.parse_clusters(_run(source_connection, "clusters.sh"))
    user = source_connection.user.name
    for cluster in clusters:
        if not cluster.version and not cluster.program:
            logger.warning("%s cannot be read by %s, and is left out", cluster.data_directory, user)
    return [
        SourceConfigDefinition(
            data_directory=cluster.data_directory,
            name=cluster.name or cluster.data_directory,
            running=cluster.running,
            port=cluster.port,
            owner=cluster.owner or None,
            config_file=cluster.config_file or None,
            note=discovery.note(cluster, user),
        )
        for cluster in clusters
        if cluster.belongs_to(repository.bin_directory, repository.major_version)
    ]


def _run(connection, script):
    """What a script of this plugin prints; raises with its exit code and output when it fails."""
    text = pkgutil.get_data(__name__, f"scripts/{script}").decode()
    return libs.run_bash(connection, text, check=True).stdout
