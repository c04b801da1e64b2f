"""What the engine adds to the work: around a plugin operation, and around a step of a job."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import NoReturn

OPERATIONS = 20
"""In one round, each in a worker of its own."""
STEPS = 100
"""Of the one job of a round."""

_PLUGIN = Path(__file__).parent / "plugin"
_CONNECTION = {
    "environment": {
        "name": "nowhere",
        "reference": "UNIX_HOST_ENVIRONMENT-1",
        "host": {"name": "nowhere", "reference": "UNIX_HOST-1", "binary_path": "/", "scratch_path": "/"},
    },
    "user": {"name": "nobody", "reference": "HOST_USER-1"},
}


def empty_operation() -> float:
    """Milliseconds from asking for an operation to its checked result and the end of its worker; the median.

    The fork server runs already, as it does from an engine's second operation on.
    """
    from dlpx_remote.environments.connections import Connections
    from dlpx_remote.environments.secrets import Secrets
    from dlpx_remote.operations.dispatcher import Dispatcher
    from dlpx_remote.operations.library import LibraryCalls
    from dlpx_remote.plugins.plugin import load_plugin
    from dlpx_remote.plugins.worker import Workers

    plugin = load_plugin(_PLUGIN)
    connections = Connections(_no_environment, Secrets())
    taken: list[float] = []
    with Workers() as workers:
        for number in range(OPERATIONS + 1):
            began = time.perf_counter()
            with Dispatcher(
                workers, plugin, LibraryCalls(connections), job=f"benchmark-{number}"
            ) as dispatcher:
                if dispatcher.run("discovery.repository", source_connection=_CONNECTION) != []:
                    raise RuntimeError("The plugin found something.")
            taken.append(time.perf_counter() - began)
    connections.close()
    return statistics.median(taken[1:]) * 1000


def _no_environment(reference: str) -> NoReturn:
    raise LookupError(f"The plugin asked for {reference}, and it is to do nothing.")


def journaled_step() -> float:
    """Milliseconds that a step costs which does nothing, in a job of many, on SQLite; the mean."""
    from dlpx_remote.jobs.base import Job, Request
    from dlpx_remote.jobs.jobs import Jobs
    from dlpx_remote.store import Store

    def many_steps(job: Job, _request: Request) -> float:
        began = time.perf_counter()
        for number in range(STEPS):
            job.step(f"step {number}", lambda: None)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        store = Store(Path(directory) / "state")
        with Jobs(store, {"many steps": many_steps}) as jobs:
            seconds: float = jobs.run("many steps", {}, "many steps")
        store.close()
    return seconds / STEPS * 1000
