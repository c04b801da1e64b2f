"""paramiko as its documentation shows it: ``SSHClient.connect`` and ``exec_command``."""

from __future__ import annotations

from pathlib import Path

import paramiko

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, Session, check_exit


class ParamikoSession(Session):
    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client

    def run(self, command: str) -> bytes:
        _, stdout, _ = self._client.exec_command(command)
        output = stdout.read()
        check_exit(stdout.channel.recv_exit_status(), command)
        return output

    def put(self, source: Path, destination: Path) -> None:
        with self._client.open_sftp() as sftp:
            sftp.put(str(source), str(destination))

    def get(self, source: Path, destination: Path) -> None:
        with self._client.open_sftp() as sftp:
            sftp.get(str(source), str(destination))

    def close(self) -> None:
        self._client.close()


class PlainParamiko(BlockingPeer):
    def open(self, host: Host) -> Session:
        client = paramiko.SSHClient()
        client.load_host_keys(host.known_hosts)
        client.connect(
            host.host,
            host.port,
            host.user,
            key_filename=host.key,
            allow_agent=False,
            look_for_keys=False,
        )
        return ParamikoSession(client)
