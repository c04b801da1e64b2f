"""parallel-ssh: ``SSHClient`` for one host, ``ParallelSSHClient`` for many. It checks no host keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.pool import Pool
from pssh.clients import ParallelSSHClient, SSHClient

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import (
    BlockingPeer,
    Session,
    check_exit,
    clocked,
    processor_share,
    resident_bytes,
)

FLEET_WIDTH = 100
"""The library's own default."""

_T = TypeVar("_T")


class ParallelSshSession(Session):
    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, command: str) -> bytes:
        output = self.client.run_command(command)
        self.client.wait_finished(output)
        content = output.buffers.stdout.rw_buffer.read() or b""
        check_exit(output.exit_code, command)
        return bytes(content)

    def put(self, source: Path, destination: Path) -> None:
        self.client.copy_file(str(source), str(destination))

    def get(self, source: Path, destination: Path) -> None:
        self.client.copy_remote_file(str(source), str(destination))

    def close(self) -> None:
        self.client.disconnect()


class ParallelSsh(BlockingPeer):
    def open(self, host: Host) -> ParallelSshSession:
        return ParallelSshSession(
            SSHClient(
                host.host,
                port=host.port,
                user=host.user,
                pkey=host.key,
                allow_agent=False,
                identity_auth=False,
                num_retries=1,
            )
        )

    def map(self, work: Callable[[Any], _T], items: Sequence[Any], width: int) -> list[_T]:
        return list(Pool(width).map(work, items))

    def in_flight(self, host: Host, commands: int, width: int) -> dict[str, float]:
        # Its sessions cannot open two channels at the same moment. Its documentation starts commands one
        # after another without waiting, and then waits for all.
        session = self.open(host)

        def batch() -> None:
            outputs = [session.client.run_command("true") for _ in range(width)]
            for output in outputs:
                session.client.wait_finished(output)
                check_exit(output.exit_code, "true")

        def all_of_them() -> None:
            for _ in range(commands // width):
                batch()

        try:
            batch()
            return {"seconds": clocked(all_of_them)}
        finally:
            session.close()

    def fleet(self, hosts: Sequence[Host]) -> dict[str, float]:
        self._open_and_run(hosts[0]).close()
        before = resident_bytes()
        client = _many(hosts)
        seconds = clocked(lambda: _run_on_all(client))
        return {"seconds": seconds, "bytes": (resident_bytes() - before) / len(hosts)}

    def idle(self, hosts: Sequence[Host], seconds: float) -> dict[str, float]:
        client = _many(hosts)
        _run_on_all(client)
        return {"share": processor_share(lambda: gevent.sleep(seconds))}


def _many(hosts: Sequence[Host]) -> Any:
    first = hosts[0]
    return ParallelSSHClient(
        [host.host for host in hosts],
        port=first.port,
        user=first.user,
        pkey=first.key,
        allow_agent=False,
        identity_auth=False,
        num_retries=1,
        pool_size=FLEET_WIDTH,
    )


def _run_on_all(client: Any) -> None:
    outputs = client.run_command("true")
    client.join(outputs)
    for output in outputs:
        check_exit(output.exit_code, "true")
