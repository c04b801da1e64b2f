"""Files: directory trees on a host, linked directly. The host is one repository, each tree a source config.

A VDB of files is the files, mounted where they are wanted: there is nothing to start and nothing to stop.
"""

import logging
import pkgutil
import shlex
from datetime import UTC, datetime

from dlpx.virtualization import libs
from dlpx.virtualization.libs.exceptions import LibraryError
from dlpx.virtualization.platform import Mount, MountSpecification, Plugin, Status, UserError
from generated.definitions import RepositoryDefinition, SnapshotDefinition, SourceConfigDefinition

from files import discovery

plugin = Plugin()
logger = logging.getLogger(__name__)
logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[libs.PlatformHandler()])


# Discovery


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


# The linked source


@plugin.linked.pre_snapshot()
def copy_into_data_set(direct_source, repository, source_config):
    parameters = direct_source.parameters
    try:
        libs.run_sync(
            direct_source.connection,
            source_config.path,
            rsync_user=parameters.read_as,
            exclude_paths=parameters.exclude_paths,
            sym_links_to_follow=parameters.follow_links,
        )
    except LibraryError as error:
        raise UserError(
            f"{source_config.path} could not be copied from {direct_source.connection.environment.name}.",
            "See rsync's own words below. Where the environment user may not read everything, leave paths "
            "out with the parameter 'excludePaths', or name an account that may with 'readAs'.",
            error.message,
        ) from error


@plugin.linked.post_snapshot()
def describe_snapshot(direct_source, repository, source_config):
    return _snapshot(source_config.path)


@plugin.linked.source_size()
def tree_size(direct_source, repository, source_config):
    return _size(direct_source.connection, source_config.path)


# The virtual source


@plugin.virtual.mount_specification()
def mount(virtual_source, repository):
    return MountSpecification(
        [Mount(virtual_source.connection.environment, virtual_source.parameters.mount_path)]
    )


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    return _source_config(virtual_source)


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    return _source_config(virtual_source)


@plugin.virtual.initialize()
def create_empty(virtual_source, repository):
    return _source_config(virtual_source)


@plugin.virtual.status()
def status(virtual_source, repository, source_config):
    path = shlex.quote(virtual_source.parameters.mount_path)
    usable = libs.run_bash(virtual_source.connection, f"mountpoint --quiet {path} && ls {path} > /dev/null")
    return Status.INACTIVE if usable.exit_code else Status.ACTIVE


@plugin.virtual.pre_snapshot()
def write_out(virtual_source, repository, source_config):
    """What the host has not yet sent to the engine would be missing in the snapshot."""
    path = shlex.quote(virtual_source.parameters.mount_path)
    libs.run_bash(virtual_source.connection, f"sync --file-system {path}", check=True)


@plugin.virtual.post_snapshot()
def describe_virtual_snapshot(virtual_source, repository, source_config):
    return _snapshot(virtual_source.parameters.mount_path)


@plugin.virtual.source_size()
def virtual_size(virtual_source, repository, source_config):
    return _size(virtual_source.connection, virtual_source.parameters.mount_path)


# What the engine is given back


def _snapshot(path):
    return SnapshotDefinition(path=path, time=datetime.now(UTC).isoformat(timespec="milliseconds"))


def _source_config(virtual_source):
    path = virtual_source.parameters.mount_path
    return SourceConfigDefinition(
        path=path, name=virtual_source.parameters.name or path, found_by="provisioned"
    )


def _size(connection, path):
    """Bytes below a directory. What cannot be read, or goes meanwhile, is not counted."""
    script = f"du --summarize --bytes {shlex.quote(path)} 2> /dev/null | cut --fields 1"
    return int(libs.run_bash(connection, script, check=True).stdout or 0)
