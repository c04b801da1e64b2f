"""The engine's Python API for discovery, which is a job like every operation of the engine.

One that somebody waits for runs in the calling thread, without the durable engine: that would take longer to
load than most discoveries take. One that is left to a worker runs there as all jobs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import Environment
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import Workflow
from dlpx_remote.workflows import discovering
from dlpx_remote.workflows.discovering import PartsFailed, Site, Watcher, request_for
from dlpx_remote.workflows.discovery import OnEvent
from dlpx_remote.workflows.report import DiscoveryReport

__all__ = ["Discoveries", "Site"]

_DISCOVER = "discover"
_REFRESH = "env refresh"


class Discoveries:
    """Discovery on one engine.

    Args:
        jobs: who runs it.
        site: what it works with.
        connections: the engine's own, for discoveries that somebody waits for.

    Attributes:
        workflows: what jobs can be asked for.
    """

    def __init__(self, jobs: Jobs, site: Site, connections: Connections) -> None:
        self._jobs = jobs
        self._site = site
        self._connections = connections
        work: Workflow = partial(discovering.discover, site)
        self.workflows: dict[str, Workflow] = {_DISCOVER: work, _REFRESH: work}

    def discover(
        self, environments: Sequence[str], plugins: Sequence[str], parallel: int, on_event: OnEvent | None
    ) -> DiscoveryReport:
        """See :meth:`dlpx_remote.engine.Engine.discover`."""
        chosen, request = self._chosen(environments, plugins, parallel)
        return self._run(_DISCOVER, chosen, request, on_event, self._connections)

    def ask(self, environments: Sequence[str], plugins: Sequence[str], parallel: int) -> str:
        """See :meth:`dlpx_remote.engine.Engine.leave_discovery`."""
        chosen, request = self._chosen(environments, plugins, parallel)
        what = _words(chosen)
        return self._jobs.submit(_DISCOVER, request, f"discover on {what}", object=_only(chosen), detach=True)

    def refresh(self, name: str, on_event: OnEvent | None) -> DiscoveryReport:
        """See :meth:`dlpx_remote.engine.Engine.refresh_environment`."""
        environment = self._site.registry.get(name)
        names = [one.name for one in self._site.plugins.all()]
        request = request_for([environment], names, 32, prepare=True)
        return self._run(_REFRESH, [environment], request, on_event)

    def _chosen(
        self, environments: Sequence[str], plugins: Sequence[str], parallel: int
    ) -> tuple[list[Environment], Request]:
        registry = self._site.registry
        chosen = [registry.get(name) for name in environments] or registry.all()
        if not chosen:
            raise InvalidRequest(
                "No environment has been added yet.",
                "Add one first: dlpx-remote env add NAME --host ….",
            )
        once = list({environment.reference: environment for environment in chosen}.values())
        names = [plugin.name for plugin in self._site.plugins.chosen(plugins)]
        return once, request_for(once, names, parallel)

    def _run(
        self,
        operation: str,
        chosen: Sequence[Environment],
        request: Request,
        on_event: OnEvent | None,
        connections: Connections | None = None,
    ) -> DiscoveryReport:
        verb = "refresh" if operation == _REFRESH else "discover on"
        reports: list[DiscoveryReport] = []
        watcher = Watcher(connections, on_event, reports.append)

        def work(job: Job, request: Request) -> Any:
            return discovering.discover(self._site, job, request, watcher)

        with suppress(PartsFailed):  # which the report says
            self._jobs.run_here(operation, request, f"{verb} {_words(chosen)}", work, object=_only(chosen))
        return reports[0]


def _words(chosen: Sequence[Environment]) -> str:
    return _only(chosen) or f"{len(chosen)} environments"


def _only(chosen: Sequence[Environment]) -> str:
    return chosen[0].name if len(chosen) == 1 else ""
