"""Ours, from above: plugin code in its worker, that calls ``libs.run_bash`` and looks at its own clock."""

from __future__ import annotations

from pathlib import Path

import benchmarks.ssh
from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import MeasurementWrong, Peer
from benchmarks.ssh.peers.our_engine import EngineSession

PLUGIN = Path(benchmarks.ssh.__file__).parent / "plugin"


class OurPlugin(Peer):
    """One measure only: a worker has no connection of its own that the others could be asked of."""

    def sequential(self, host: Host, commands: int, warm_up: int) -> dict[str, float]:  # noqa: ARG002
        # How many of each is written in the plugin: discovery has no parameters.
        session = EngineSession(host)
        try:
            session.run("true")
            session.engine.add_plugin(PLUGIN)
            (found,) = session.engine.discover(["host"]).results
        finally:
            session.close()
        if found.failure is not None:
            raise MeasurementWrong(f"{found.failure.message} {found.failure.output}")
        (repository,) = found.repositories
        return {"seconds": float(repository.parameters["seconds"])}
