"""Ours, as its users have it: the engine with a state of its own, and its ``run`` on an environment."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import BlockingPeer, MeasurementWrong, Session, check_exit
from benchmarks.ssh.peers.dead import dead_hosts
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from tests.hosts.engine_plugin import write_plugin


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

    def discovery(self, hosts: Sequence[Host]) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="engine-") as name:
            state = Path(name)
            (state / "data" / "one").mkdir(parents=True)
            with Engine(state / "state") as engine, dead_hosts(hosts[0], state) as dead:
                engine.add_plugin(write_plugin(state / "plugin", state / "data"))
                named = {f"host{number}": host for number, host in enumerate(hosts)} | dead
                for called, host in named.items():
                    # A directory of its own each: it is one machine with one home.
                    spec = specification(host, called)
                    engine.add_environment(replace(spec, directory=str(state / "made" / called)))
                began = time.perf_counter()
                report = engine.discover()
                seconds = time.perf_counter() - began
        failed = {one.environment: one.failure.kind for one in report.results if one.failure is not None}
        if failed != {kind: kind for kind in dead}:
            raise MeasurementWrong(f"The failures are not those expected: {failed}")
        return {"seconds": seconds}


def specification(host: Host, name: str = "host") -> EnvironmentSpec:
    """The host as an environment called ``name``."""
    return EnvironmentSpec(
        name=name,
        host=host.host,
        user=host.user,
        port=host.port,
        authentication=Authentication(key=host.key),
        fingerprint=host.fingerprint,
    )
