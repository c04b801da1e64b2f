"""PostgreSQL, linked by staging: every operation in a few lines. How it is done is in the modules beside.

Installations are repositories, clusters (data directories) are source configs. Staging is a standby of the
source; a VDB is a copy of it that has been opened for writing.
"""

import logging
import pkgutil

from dlpx.virtualization import libs
from dlpx.virtualization.platform import Mount, MountSpecification, Plugin, Status
from generated.definitions import RepositoryDefinition, SnapshotDefinition, SourceConfigDefinition

from postgres import discovery, failures, staging, state, virtual

plugin = Plugin()
logger = logging.getLogger(__name__)
logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[libs.PlatformHandler()])


# Discovery


@plugin.discovery.repository()
def find_installations(source_connection):
    return [
        RepositoryDefinition(
            bin_directory=installation.bin_directory,
            version=installation.version,
            major_version=installation.major_version,
            name=f"PostgreSQL {installation.version} ({installation.bin_directory})",
        )
        for installation in discovery.parse_installations(_look(source_connection, "installations.sh"))
    ]


@plugin.discovery.source_config()
def find_clusters(source_connection, repository):
    clusters = discovery.parse_clusters(_look(source_connection, "clusters.sh"))
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
        if cluster.belongs_to(repository.bin_directory, repository.major_version) and not cluster.staging
    ]


def _look(connection, script):
    """What a script of discovery prints. What could not be found out is a failure, never nothing found."""
    text = pkgutil.get_data(__name__, f"scripts/{script}").decode()
    result = libs.run_bash(connection, text)
    if result.exit_code:
        host = connection.environment.name
        raise failures.explain(f"could not be looked for on {host}", result.stderr, connection.user.name)
    for line in result.stderr.splitlines():
        logger.warning("%s", line)
    return result.stdout


# The linked source


@plugin.linked.mount_specification()
def mount_staging(staged_source, repository):
    mount = Mount(staged_source.staged_connection.environment, staged_source.parameters.staging_path)
    return MountSpecification([mount])


@plugin.linked.pre_snapshot()
def bring_staging_to_the_present(staged_source, repository, source_config, snapshot_parameters):
    staging.synchronize(staged_source, repository, source_config, snapshot_parameters)


@plugin.linked.post_snapshot()
def describe_snapshot(staged_source, repository, source_config, snapshot_parameters):
    staging.resume(staged_source, repository, source_config)
    label = snapshot_parameters.label if snapshot_parameters else None
    return _snapshot(staging.server(staged_source, repository, source_config), label)


@plugin.linked.start_staging()
def start_staging(staged_source, repository, source_config):
    staging.start(staged_source, repository, source_config)


@plugin.linked.stop_staging()
def stop_staging(staged_source, repository, source_config):
    staging.stop(staged_source, repository, source_config)


@plugin.linked.status()
def staging_status(staged_source, repository, source_config):
    return _status(staging.server(staged_source, repository, source_config).answers(in_recovery=True))


@plugin.linked.worker()
def watch_staging(staged_source, repository, source_config):
    staging.watch(staged_source, repository, source_config)


@plugin.linked.source_size()
def staging_size(staged_source, repository, source_config):
    return staging.server(staged_source, repository, source_config).size()


# The virtual source


@plugin.virtual.mount_specification()
def mount_virtual(virtual_source, repository):
    return MountSpecification(
        [Mount(virtual_source.connection.environment, virtual_source.parameters.mount_path)]
    )


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    virtual.open_copy(virtual_source, repository, snapshot)
    return _source_config(virtual_source)


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    virtual.open_copy(virtual_source, repository, snapshot)
    return _source_config(virtual_source)


@plugin.virtual.unconfigure()
def unconfigure(virtual_source, repository, source_config):
    virtual.server(virtual_source, repository).stop()


@plugin.virtual.initialize()
def create_empty(virtual_source, repository):
    virtual.create(virtual_source, repository)
    return _source_config(virtual_source)


@plugin.virtual.start()
def start(virtual_source, repository, source_config):
    virtual.start(virtual_source, repository)


@plugin.virtual.stop()
def stop(virtual_source, repository, source_config):
    virtual.server(virtual_source, repository).stop()


@plugin.virtual.status()
def status(virtual_source, repository, source_config):
    return _status(virtual.server(virtual_source, repository).answers(in_recovery=False))


@plugin.virtual.pre_snapshot()
def prepare_snapshot(virtual_source, repository, source_config):
    state.note(virtual.server(virtual_source, repository))


@plugin.virtual.post_snapshot()
def describe_virtual_snapshot(virtual_source, repository, source_config):
    return _snapshot(virtual.server(virtual_source, repository))


@plugin.virtual.cleanup()
def cleanup(virtual_source, repository, source_config):
    virtual.server(virtual_source, repository).stop()


@plugin.virtual.source_size()
def virtual_size(virtual_source, repository, source_config):
    return virtual.server(virtual_source, repository).size()


# What the engine is given back


def _status(answers):
    return Status.ACTIVE if answers else Status.INACTIVE


def _snapshot(server, label=None):
    noted = state.read(server)
    return SnapshotDefinition(
        lsn=noted["lsn"],
        time=noted["time"],
        timeline=noted["timeline"],
        system_identifier=noted["system_identifier"],
        version=noted["version"],
        label=label,
    )


def _source_config(virtual_source):
    parameters = virtual_source.parameters
    return SourceConfigDefinition(
        data_directory=virtual.data_directory(virtual_source),
        name=parameters.instance_name,
        running=True,
        port=parameters.port,
        owner=virtual_source.connection.user.name,
    )
