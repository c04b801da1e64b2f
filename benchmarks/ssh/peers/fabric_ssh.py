"""Fabric as it comes: ``Connection.run``, output hidden, host keys checked."""

from __future__ import annotations

from pathlib import Path

import paramiko
from fabric import Config, Connection

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, Session, check_exit


class FabricSession(Session):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, command: str) -> bytes:
        result = self._connection.run(command, hide=True, in_stream=False)
        check_exit(result.exited, command)
        return bytes(result.stdout, "utf-8")

    def put(self, source: Path, destination: Path) -> None:
        self._connection.put(str(source), str(destination))

    def get(self, source: Path, destination: Path) -> None:
        self._connection.get(str(source), str(destination))

    def close(self) -> None:
        self._connection.close()


class FabricSsh(BlockingPeer):
    def open(self, host: Host) -> Session:
        connection = Connection(
            host.host,
            user=host.user,
            port=host.port,
            config=Config(lazy=True),
            connect_kwargs={"key_filename": host.key, "allow_agent": False, "look_for_keys": False},
        )
        connection.client.load_host_keys(host.known_hosts)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        connection.open()
        return FabricSession(connection)
