"""A VDB: a copy of staging, or of another VDB, opened for writing on a port of its own."""

from dlpx.virtualization.platform import UserError

from postgres import configuration, state
from postgres.server import Server

LOOPBACK = ["127.0.0.1/32", "::1/128"]


def server(virtual_source, repository):
    return Server(
        virtual_source.connection,
        repository.bin_directory,
        virtual_source.parameters.mount_path,
        virtual_source.guid,
        repository.major_version,
        virtual_source.parameters.port,
    )


def data_directory(virtual_source):
    return f"{virtual_source.parameters.mount_path}/data"


def open_copy(virtual_source, repository, snapshot):
    """Opens what the snapshot brought. A copy of staging ends its recovery on a timeline of its own."""
    major_version = snapshot.version.partition(".")[0]
    if major_version != repository.major_version:
        raise UserError(
            f"The snapshot is of PostgreSQL {snapshot.version}; {repository.major_version} cannot open it.",
            f"Choose an installation (repository) of PostgreSQL {major_version}.",
        )
    _start(virtual_source, repository, "be opened", "stop.sh", "open.sh")
    state.note(server(virtual_source, repository))  # what the copy brought speaks of its origin


def start(virtual_source, repository):
    _start(virtual_source, repository, "be started")


def create(virtual_source, repository):
    """Makes a new, empty cluster; its superuser is called postgres and has no password yet."""
    _start(virtual_source, repository, "be created", "create.sh")
    state.note(server(virtual_source, repository))


def _start(virtual_source, repository, doing, *scripts):
    parameters = virtual_source.parameters
    settings = {
        "listen_addresses": parameters.listen_addresses or "localhost",
        "cluster_name": parameters.instance_name,
        **(parameters.settings or {}),
        # Recovery finds all it needs in the copy. Until it has ended, nobody is let in.
        "restore_command": "false",
        "hot_standby": False,
    }
    server(virtual_source, repository).run(
        doing,
        *(*scripts, "configure.sh", "start.sh"),
        SETTINGS=configuration.settings_file(settings),
        ACCESS=configuration.access_file(parameters.clients or LOOPBACK),
    )
