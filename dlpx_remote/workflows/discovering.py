"""Discovery as a job: one step, which may be run again, as discovering changes nothing and ends in the same.

What is kept of it with the job is a summary; what was found is in the inventory.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import Environment
from dlpx_remote.environments.registry import Registry
from dlpx_remote.errors import NotFound, RemoteError
from dlpx_remote.jobs.base import Job, JobCancelled, Request
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.transports.abort import Abort
from dlpx_remote.workflows.bookkeeping import Kept
from dlpx_remote.workflows.discovery import Discovery, OnEvent, PluginSession
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.report import DiscoveryEvent, DiscoveryReport

_TOLD = 3  # failures that are in the message; the others are in the job's output
_LOGGED = ("finished", "failed", "skipped")


class PartsFailed(RemoteError):
    """Something of a discovery failed; the rest of it is done."""


@dataclass(frozen=True)
class Site:
    """What a discovery works with.

    Attributes:
        registry: environments.
        plugins: those that were added.
        inventory: what is known.
        workers: the processes for plugin code.
        connections: opens connections that are the discovery's own.
    """

    registry: Registry
    plugins: Plugins
    inventory: Inventory
    workers: Workers
    connections: Callable[[], Connections]


@dataclass(frozen=True)
class Watcher:
    """Who waits for a discovery in this process.

    Attributes:
        connections: used in place of the discovery's own, and closed only when it is interrupted.
        on_event: told of progress, from one thread at a time.
        on_report: given the report at the end.
    """

    connections: Connections | None = None
    on_event: OnEvent | None = None
    on_report: Callable[[DiscoveryReport], None] = lambda _report: None


NOBODY = Watcher()


def request_for(
    environments: Sequence[Environment], plugins: Sequence[str], parallel: int, *, prepare: bool = False
) -> Request:
    """What the job is asked for.

    Args:
        environments: where.
        plugins: names.
        parallel: environments and plugins at the same time.
        prepare: fail where the facts of a host cannot be collected.
    """
    return {
        "environments": [one.reference for one in environments],
        "plugins": list(plugins),
        "parallel": parallel,
        "prepare": prepare,
    }


def discover(site: Site, job: Job, request: Request, watcher: Watcher = NOBODY) -> dict[str, Any]:
    """Discover; a summary.

    Raises:
        PartsFailed: on an environment or with a plugin it failed, and the rest is done.
        JobCancelled: its end was asked for.
    """
    title = f"discover on {_count(len(request['environments']), 'environment')}"
    summary = job.step(title, lambda: _discover(site, job, request, watcher))
    failed = summary["failed"]
    if failed:
        told = "; ".join(f"{one['where']}: {one['message']}" for one in failed[:_TOLD])
        more = f"; and {len(failed) - _TOLD} more" if len(failed) > _TOLD else ""
        raise PartsFailed(
            f"{len(failed)} of {_count(summary['parts'], 'part')} failed: {told}{more}",
            f"See the others: dlpx-remote job logs {job.reference}",
        )
    return summary


def _discover(site: Site, job: Job, request: Request, watcher: Watcher) -> dict[str, Any]:
    environments = list(_still_known(site.registry, request["environments"]))
    candidates = site.plugins.candidates(request["plugins"]) if request["plugins"] else []
    connections = watcher.connections or site.connections()
    abort, ended = Abort(), threading.Event()

    def tell(event: DiscoveryEvent) -> None:
        if event.stage in _LOGGED:
            where = f"{event.plugin} on {event.environment}" if event.plugin else event.environment
            job.log(f"{where}: {event.stage} {event.detail}".rstrip())
        if watcher.on_event is not None:
            watcher.on_event(event)

    @contextmanager
    def open_session(plugin: Plugin, name: str) -> Iterator[PluginSession]:
        with Dispatcher(site.workers, plugin, LibraryCalls(connections), job=name) as session:
            yield _Ending(session, abort)

    discovery = Discovery(
        connections,
        open_session,
        Kept(site.registry, site.inventory),
        parallel=request["parallel"],
        on_event=tell,
        job=job.reference,
    )

    def end() -> None:
        ended.set()
        discovery.stop()
        abort.ask()
        if watcher.connections is None:
            connections.close()

    try:
        with job.on_cancel(end):
            for environment in environments if request["prepare"] else ():
                discovery.prepare(environment)
            report = discovery.run(environments, candidates)
    except Exception:
        if not ended.is_set():
            raise
    except BaseException:  # an interrupt: threads that wait for a host or a plugin give up at once
        connections.close()
        site.workers.close()
        raise
    finally:
        if watcher.connections is None:
            connections.close()
    if ended.is_set():
        raise JobCancelled(f"{job.reference} was cancelled; what it had found by then is kept.")
    watcher.on_report(report)
    return _summary(report)


@dataclass(frozen=True)
class _Ending:
    """Runs a plugin's operations, and ends them when that is asked for."""

    session: Dispatcher
    abort: Abort

    def run(self, operation_name: str, /, **arguments: Any) -> Any:
        """See :class:`PluginSession`."""
        return self.session.run(operation_name, abort=self.abort, **arguments)


def _still_known(registry: Registry, references: Sequence[str]) -> Iterator[Environment]:
    for reference in references:
        try:
            yield registry.get(reference)
        except NotFound:
            continue  # it was removed meanwhile


def _summary(report: DiscoveryReport) -> dict[str, Any]:
    repositories = [one for result in report.results for one in result.repositories]
    configs = [config for one in repositories for config in one.source_configs]
    return {
        "parts": len(report.results),
        "repositories": len(repositories),
        "source_configs": len(configs),
        "changes": dict(Counter(str(one.change) for one in (*repositories, *configs))),
        "skipped": sum(bool(result.skipped) for result in report.results),
        "failed": [
            {"where": f"{result.plugin} on {result.environment}", "message": result.failure.message}
            for result in report.results
            if result.failure is not None
        ],
    }


def _count(number: int, one: str) -> str:
    return f"{number} {one if number == 1 else one + 's'}"
