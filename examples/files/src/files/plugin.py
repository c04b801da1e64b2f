"""Files: directory trees on a host. The host is one repository; each tree is a source config."""

import logging
import pkgutil

from dlpx.virtualization import libs
from dlpx.virtualization.platform import Plugin, UserError
from generated.definitions import RepositoryDefinition, SourceConfigDefinition

from files import discovery

plugin = Plugin()
logger = logging.getLogger(__name__)


@plugin.discovery.repository()
def find_configuration(source_connection):
    found = _look(source_connection, "configuration.sh")
    if found.wrong_lines:
        raise UserError(
            f"{found.configuration} has lines that are neither 'search DIRECTORY' nor 'tree PATTERN'.",
            "Correct them on the host.",
            "\n".join(found.wrong_lines),
        )
    return [RepositoryDefinition(name="Directory trees", configured_by=found.configuration or "defaults")]


@plugin.discovery.source_config()
def find_trees(source_connection, repository):
    found = _look(source_connection, "configuration.sh", "trees.sh")
    user = source_connection.user.name
    for directory in found.unreadable:
        logger.info("%s cannot be read by %s; trees below it are not found", directory, user)
    return [
        SourceConfigDefinition(
            path=tree.path,
            name=tree.name or tree.path,
            found_by=tree.found_by,
            note=f"{user} cannot read this directory." if tree.path in found.unreadable else None,
        )
        for tree in found.trees
    ]


def _look(connection, *scripts):
    """Runs scripts of this plugin as one; raises with its exit code and output when it fails."""
    texts = [pkgutil.get_data(__name__, f"scripts/{script}").decode() for script in scripts]
    result = libs.run_bash(connection, "\n".join([*texts, "exit 0"]), check=True)
    return discovery.parse(result.stdout)
