"""A PostgreSQL source on a test host: the cluster 15/main with a small shop in it, and a load of writes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.hosts.ssh_host import LoginHost, SshHost
from tests.secret_scan import secret

REPOSITORY = {
    "binDirectory": "/usr/lib/postgresql/15/bin",
    "version": "15.18",
    "majorVersion": "15",
    "name": "PostgreSQL 15",
}
SOURCE_CONFIG = {
    "dataDirectory": "/var/lib/postgresql/15/main",
    "name": "15/main",
    "running": True,
    "port": 5432,
}

# Both tables change in the same transaction: a copy in which they differ has been torn.
_SHOP = """
CREATE TABLE entries (id bigserial PRIMARY KEY, filling text DEFAULT repeat('x', 200));
CREATE TABLE total (entries bigint);
INSERT INTO total VALUES (0);
CREATE PROCEDURE enter(times int, pause float DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..times LOOP
        INSERT INTO entries DEFAULT VALUES;
        UPDATE total SET entries = entries + 1;
        COMMIT;
        PERFORM pg_sleep(pause);
    END LOOP;
END $$;
"""


@dataclass(frozen=True)
class Source:
    """A running source.

    Attributes:
        host: where.
        password: of the roles ``replicator`` and ``clerk``, on the source and so on every copy.
    """

    host: SshHost
    password: str = field(repr=False)

    def ask(self, statement: str, database: str = "shop") -> str:
        """What the source answers to its superuser."""
        return self.host.root(
            f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 {database} <<'END'\n{statement}\nEND"
        ).strip()

    def ask_copy(self, port: int, statement: str) -> str:
        """What a copy answers to an ordinary role that logs in over TCP with its password."""
        return ask_copy(self.host, self.password, port, statement)

    def enter(self, times: int) -> None:
        """Write so many entries, each in a transaction of its own."""
        self.ask(f"CALL enter({times})")

    def entries(self) -> int:
        """How many there are at this moment."""
        return int(self.ask("SELECT count(*) FROM entries"))

    @contextmanager
    def load(self) -> Iterator[None]:
        """Entries are written all the time meanwhile."""
        self.host.root(
            "runuser -u postgres -- psql -Xq shop -c \"SET application_name = 'load'\" "
            '-c "CALL enter(1000000, 0.001)" < /dev/null > /dev/null 2>&1 &'
        )
        before = self.entries()
        while self.entries() == before:
            time.sleep(0.05)
        try:
            yield
        finally:
            self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'load'")

    def linked(self, connection: dict[str, Any], mount: str, **parameters: Any) -> dict[str, Any]:
        """The staged source, as operations are handed it."""
        return {
            "guid": f"staged{mount.replace('/', '-')}",
            "source_connection": connection,
            "staged_connection": connection,
            "parameters": {
                "stagingPath": mount,
                "sourceUser": "replicator",
                "sourceHost": "127.0.0.1",
                "password": self.password,
                **parameters,
            },
            "mount": {"environment": connection["environment"], "mount_path": mount},
        }


def ask_copy(host: LoginHost, password: str, port: int, statement: str) -> str:
    """What a copy on a host answers to the role ``clerk``."""
    return host.root(
        f"PGPASSWORD={shlex.quote(password)} psql -XAtq -v ON_ERROR_STOP=1 "
        f"-h 127.0.0.1 -p {port} -U clerk shop <<'END'\n{statement}\nEND"
    ).strip()


def make_source(host: SshHost) -> Source:
    """Fill 15/main of a test host; it takes about a second."""
    source = Source(host, f"it's \\ an:odd one {secret('password of a role')}")
    password = source.password.replace("'", "''")
    host.root("install --directory --owner postgres /srv/space")
    source.ask(
        f"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{password}';"
        f"CREATE ROLE clerk LOGIN PASSWORD '{password}'; CREATE DATABASE shop;",
        "postgres",
    )
    source.ask(_SHOP + "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk;")
    source.ask("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk;")
    source.ask("CREATE TABLESPACE space LOCATION '/srv/space';")
    source.ask("CREATE TABLE far (id int) TABLESPACE space; INSERT INTO far VALUES (7);")
    source.ask("GRANT ALL ON far TO clerk;")
    return source
