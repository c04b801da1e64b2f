"""``dlpx-remote status`` and ``lineage``: everything at a glance, for people and for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, branches, count, say, table
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import RemoteError

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine
    from dlpx_remote.engine_sources import Snapshot, SourceView

_LATELY = timedelta(hours=24)
_JOBS = 500


class StatusOutput(StrEnum):
    """How the status is printed."""

    TABLE = "table"
    JSON = "json"
    PROMETHEUS = "prometheus"


def status(
    context: typer.Context,
    output: Annotated[
        StatusOutput, typer.Option("--output", help="prometheus: metrics in its text format.")
    ] = StatusOutput.TABLE,
) -> None:
    """Show everything at a glance: storage, dSources, VDBs, jobs of the last day and the next schedules.

    Hosts are not asked; the status of a dSource or VDB is the one that was seen last. For Prometheus, write
    the metrics where the node exporter's textfile collector reads them.

    \b
    Example:
      dlpx-remote status
      dlpx-remote status --output prometheus > /var/lib/node_exporter/dlpx-remote.prom
    """
    with open_engine(context) as engine:
        found = _look(engine)
    match output:
        case StatusOutput.JSON:
            as_json(found)
        case StatusOutput.PROMETHEUS:
            for line in metrics(found):
                say(line)
        case _:
            _print(found)


def lineage(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show what was made from what, as a tree: dSources, their snapshots, the VDBs made from those, …

    \b
    Example:
      dlpx-remote lineage
    """
    with open_engine(context) as engine:
        sources = [*engine.dsources.all(), *engine.vdbs.all()]
        snapshots = engine.snapshots.all()
    tree = grown(sources, snapshots)
    if output is Output.JSON:
        as_json(tree)
    elif not tree:
        say("Nothing yet. Link a dSource first: dlpx-remote dsource link NAME -e ENV --source-config NAME")
    else:
        for root in tree:
            say(root["what"])
            for line in branches(root["children"], lambda node: str(node["what"])):
                say(line)


def _look(engine: Engine) -> dict[str, Any]:
    storage, trouble = None, ""
    try:
        storage = engine.storage.status()
    except RemoteError as error:
        trouble = str(error)
    since = datetime.now(UTC) - _LATELY
    jobs = engine.jobs.all(newest=_JOBS)
    return {
        "environments": [one.name for one in engine.environments()],
        "plugins": [f"{one.name} {one.build_number}" for one in engine.plugins()],
        "storage": storage,
        "storage_problem": trouble,
        "dsources": engine.dsources.all(),
        "vdbs": engine.vdbs.all(),
        "jobs": dict(Counter(str(job.state) for job in jobs if _lately(job, since))),
        "unfinished": [job for job in jobs if not job.state.ended],
        "schedules": engine.schedules.all(),
        "worker": engine.jobs.has_worker(),
    }


def _lately(job: Any, since: datetime) -> bool:
    return not job.state.ended or (job.finished or job.created) >= since


def _print(found: Mapping[str, Any]) -> None:
    storage = found["storage"]
    say(f"environments:  {', '.join(found['environments']) or 'none'}")
    say(f"plugins:       {', '.join(found['plugins']) or 'none'}")
    if storage is None:
        say(f"storage:       {found['storage_problem']}")
    else:
        used = 100 - round(100 * storage.free / max(storage.total, 1))
        say(f"storage:       {storage.kind}, {used} % used, {count(storage.volumes, 'volume')}")
        for problem in storage.problems:
            say(f"               {problem}")
    jobs = ", ".join(f"{number} {state}" for state, number in sorted(found["jobs"].items()))
    say(f"jobs:          {jobs or 'none'} in the last 24 hours")
    say(f"worker:        {'running' if found['worker'] else 'none (dlpx-remote worker)'}")
    sources: Sequence[SourceView] = [*found["dsources"], *found["vdbs"]]
    if sources:
        say()
        table(
            (
                "object",
                "kind",
                "plugin",
                "environment",
                "state",
                "status",
                "as of (UTC)",
                "snapshots",
                "from",
            ),
            (
                (
                    one.name,
                    "dSource" if one.kind == "dsource" else "VDB",
                    one.plugin,
                    one.staging_environment or one.environment,
                    one.state,
                    one.status,
                    one.status_time[:16].replace("T", " "),
                    one.snapshots,
                    one.parent or "",
                )
                for one in sources
            ),
        )
    for job in found["unfinished"]:
        say(f"{job.reference} {job.title}: {job.state}")
    for one in found["schedules"][:5]:
        if one.enabled:
            say(f"{one.reference} {one.action} of {one.source}: next on {one.next:%Y-%m-%d %H:%M} UTC")


def metrics(found: Mapping[str, Any]) -> Iterator[str]:
    """The status in the text format of Prometheus, version 0.0.4."""
    storage = found["storage"]
    if storage is not None:
        yield from _metric("pool_bytes", "Size of the pool's file system.", [({}, storage.total)])
        yield from _metric("pool_free_bytes", "What can still be written.", [({}, storage.free)])
        yield from _metric("pool_volumes", "Data sets, snapshots and clones.", [({}, storage.volumes)])
        yield from _metric("pool_problems", "Things wrong with the pool.", [({}, len(storage.problems))])
    sources = [*found["dsources"], *found["vdbs"]]
    yield from _metric(
        "source_enabled",
        "Whether a dSource or VDB is enabled.",
        [({"name": one.name, "kind": one.kind}, int(one.state == "enabled")) for one in sources],
    )
    yield from _metric(
        "source_active",
        "Whether the plugin said ACTIVE when it was asked last.",
        [
            ({"name": one.name, "kind": one.kind}, int(one.status == "ACTIVE"))
            for one in sources
            if one.status
        ],
    )
    yield from _metric(
        "source_snapshots",
        "Snapshots of a dSource or VDB.",
        [({"name": one.name, "kind": one.kind}, one.snapshots) for one in sources],
    )
    yield from _metric(
        "jobs",
        "Jobs that have not ended, or ended in the last 24 hours, by state.",
        [({"state": state}, number) for state, number in sorted(found["jobs"].items())],
    )
    yield from _metric(
        "schedule_missed_total",
        "Runs of a schedule whose time passed while no worker was there.",
        [
            ({"schedule": one.reference, "action": one.action, "name": one.source}, one.missed)
            for one in found["schedules"]
        ],
        kind="counter",
    )
    yield from _metric("worker_running", "Whether a worker is known.", [({}, int(found["worker"]))])


def _metric(
    name: str, what: str, values: Iterable[tuple[Mapping[str, str], int]], kind: str = "gauge"
) -> Iterator[str]:
    values = list(values)
    if not values:
        return
    yield f"# HELP dlpx_remote_{name} {what}"
    yield f"# TYPE dlpx_remote_{name} {kind}"
    for labels, value in values:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"dlpx_remote_{name}{{{inside}}} {value}" if inside else f"dlpx_remote_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def grown(sources: Sequence[SourceView], snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """The tree: what was made of nothing, and below each what was made from it."""
    of_source: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        of_source.setdefault(snapshot.source, []).append(snapshot)
    parents = {one.reference: one.parent for one in snapshots}
    made_from: dict[str | None, list[SourceView]] = {}
    for source in sources:
        own = frozenset(one.reference for one in of_source.get(source.reference, ()))
        made_from.setdefault(_origin(source, parents, own), []).append(source)

    def node(source: SourceView) -> dict[str, Any]:
        kind = "dSource" if source.kind == "dsource" else "VDB"
        children = [
            {
                "what": f"{one.reference}  {one.taken[:16].replace('T', ' ')} UTC",
                "children": [node(made) for made in made_from.get(one.reference, ())],
            }
            for one in of_source.get(source.reference, ())
        ]
        return {"what": f"{kind} {source.name} ({source.state})", "children": children}

    return [node(source) for source in made_from.get(None, ())]


def _origin(source: SourceView, parents: Mapping[str, str | None], own: frozenset[str]) -> str | None:
    """The snapshot of another source that it comes from; after a rollback it stands on one of its own."""
    found = source.snapshot
    while found in own:
        found = parents[found]
    return found if found in parents else None
