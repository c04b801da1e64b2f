"""The source as staging sees it: over the network, with a role that may replicate.

Nothing is installed or run on the source's host. While the standby runs, the password, where there is one,
is in a file in the engine's scratch directory on the staging host: never in the data set, which becomes
snapshots and VDBs.
"""

import json
from dataclasses import dataclass

from postgres import configuration

DEFAULT_PORT = 5432


@dataclass(frozen=True)
class Source:
    """How to reach it: libpq's keyword=value forms, and what the scripts need beside them."""

    connection_string: str
    standby_connection_string: str
    password_file: str
    secrets: dict


def source(staged_source, source_config):
    parameters = staged_source.parameters
    scratch = staged_source.staged_connection.environment.host.scratch_path
    password = parameters.password
    password_file = f"{scratch}/postgres-{staged_source.guid}.pgpass"
    fields = {
        "host": parameters.source_host or staged_source.source_connection.environment.host.name,
        "port": parameters.source_port or source_config.port or DEFAULT_PORT,
        "user": parameters.source_user,
        "dbname": "postgres",
        "sslmode": parameters.ssl_mode,
        "application_name": f"dlpx-{staged_source.guid}",
        "connect_timeout": 30,
    }
    return Source(
        configuration.connection_string(**fields),
        # Without a password of ours, libpq looks into ~/.pgpass.
        configuration.connection_string(**fields, passfile=password_file if password else None),
        password_file,
        {"PGPASSWORD": password, "PASSWORD_LINE": configuration.password_line(password)} if password else {},
    )


def facts(server, source, checkpoint=False):
    """What the source says of itself, asked from the staging host; after a checkpoint, if that is asked."""
    printed = server.run(
        "ask the source",
        "source.sh",
        secrets=source.secrets,
        SOURCE=source.connection_string,
        CHECKPOINT="yes" if checkpoint else "",
    )
    return json.loads(printed)
