"""Ours, as its users have it: the engine with a state of its own, and its ``run`` on an environment."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, Session, check_exit
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec


class EngineSession(Session):
    """An engine with one environment; it connects when the first command is run."""

    def __init__(self, host: Host) -> None:
        self._state = tempfile.TemporaryDirectory(prefix="engine-")
        self.engine = Engine(Path(self._state.name))
        self.engine.add_environment(specification(host))

    def run(self, command: str) -> bytes:
        result = self.engine.run("host", command)
        check_exit(result.exit_code, command)
        return result.stdout

    def close(self) -> None:
        self.engine.close()
        self._state.cleanup()


class OurEngine(BlockingPeer):
    def open(self, host: Host) -> Session:
        return EngineSession(host)


def specification(host: Host) -> EnvironmentSpec:
    """The host as an environment called ``host``."""
    return EnvironmentSpec(
        name="host",
        host=host.host,
        user=host.user,
        port=host.port,
        authentication=Authentication(key=host.key),
        fingerprint=host.fingerprint,
    )
