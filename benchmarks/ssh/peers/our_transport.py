"""Ours, from below: the SSH transport itself, without the engine above it."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, Session, check_exit
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.ssh import SshTarget, connect

_MOST = 1 << 30


class TransportSession(Session):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, command: str) -> bytes:
        result = self._connection.run(command, max_output=_MOST)
        check_exit(result.exit_code, command)
        return result.stdout

    def put(self, source: Path, destination: Path) -> None:
        self._connection.put(source, str(destination))

    def get(self, source: Path, destination: Path) -> None:
        self._connection.get(str(source), destination)

    def close(self) -> None:
        self._connection.close()


class OurTransport(BlockingPeer):
    def open(self, host: Host) -> Session:
        target = SshTarget(
            host=host.host,
            user=host.user,
            port=host.port,
            key=host.key,
            known_hosts=Path(host.known_hosts),
            ssh_config=Path(os.devnull),
            default_keys=False,
        )
        return TransportSession(connect(target))
