"""pyinfra's SSH connector, in a process that gevent has patched, as its command line has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.pool import Pool
from pyinfra.api import Config, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import (
    BlockingPeer,
    MeasurementWrong,
    Session,
    clocked,
    processor_share,
    resident_bytes,
)

_T = TypeVar("_T")


class PyinfraSession(Session):
    def __init__(self, host: Any) -> None:
        self._host = host

    def run(self, command: str) -> bytes:
        good, output = self._host.run_shell_command(StringCommand(command))
        if not good:
            raise MeasurementWrong(f"{command!r} failed")
        return bytes(output.stdout, "utf-8")

    def put(self, source: Path, destination: Path) -> None:
        if not self._host.put_file(str(source), str(destination)):
            raise MeasurementWrong("put_file failed")

    def get(self, source: Path, destination: Path) -> None:
        if not self._host.get_file(str(source), str(destination)):
            raise MeasurementWrong("get_file failed")

    def close(self) -> None:
        client = self._host.connector.client
        self._host.disconnect()
        if client is not None:
            client.close()


class PyinfraSsh(BlockingPeer):
    def open(self, host: Host) -> Session:
        (session,) = _connect([host])
        return session

    def map(self, work: Callable[[Any], _T], items: Sequence[Any], width: int) -> list[_T]:
        return list(Pool(width).map(work, items))

    def fleet(self, hosts: Sequence[Host]) -> dict[str, float]:
        self._open_and_run(hosts[0]).close()
        before = resident_bytes()
        sessions: list[Session] = []
        seconds = clocked(lambda: sessions.extend(_connect_and_run(hosts)))
        memory = (resident_bytes() - before) / len(hosts)
        for session in sessions:
            session.close()
        return {"seconds": seconds, "bytes": memory}

    def idle(self, hosts: Sequence[Host], seconds: float) -> dict[str, float]:
        sessions = _connect_and_run(hosts)
        share = processor_share(lambda: gevent.sleep(seconds))
        for session in sessions:
            session.close()
        return {"share": share}


def _connect(hosts: Sequence[Host]) -> list[PyinfraSession]:
    first = hosts[0]
    inventory = Inventory(
        (
            [host.host for host in hosts],
            {
                "ssh_user": first.user,
                "ssh_port": first.port,
                "ssh_key": first.key,
                "ssh_known_hosts_file": first.known_hosts,
                "ssh_strict_host_key_checking": "yes",
                "ssh_config_file": "/dev/null",
            },
        )
    )
    # As many at once as the library itself would take.
    state = State(inventory, Config())
    connect_all(state)
    return [PyinfraSession(host) for host in inventory]


def _connect_and_run(hosts: Sequence[Host]) -> list[PyinfraSession]:
    sessions = _connect(hosts)
    Pool(len(sessions)).map(lambda session: session.run("true"), sessions)
    return sessions
