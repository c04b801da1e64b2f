"""``dlpx-remote snapshot``: what was kept of dSources and VDBs."""

from __future__ import annotations

from typing import Annotated

import typer

from dlpx_remote.cli.asking import ForceOption, JobOptions, carry_out
from dlpx_remote.cli.bundles import unfolded
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain
from dlpx_remote.cli.session import open_engine
from dlpx_remote.cli.source_output import print_snapshots

commands = typer.Typer(help="Snapshots: see what was kept, and delete it.", no_args_is_help=True)

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Reference, for example SNAPSHOT-3.")
]


@commands.command("list")
def list_all(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A dSource or VDB; all unless given.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List snapshots, oldest first.

    \b
    Example:
      dlpx-remote snapshot list
      dlpx-remote snapshot list orders --output json
    """
    with open_engine(context) as engine:
        found = engine.snapshots.all(source)
    if output is Output.JSON:
        as_json(found)
    else:
        print_snapshots(found)


@commands.command("show")
def show(context: typer.Context, snapshot: SnapshotArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one snapshot and what was made from it. The name of a dSource or VDB means its newest.

    \b
    Example:
      dlpx-remote snapshot show SNAPSHOT-3
    """
    with open_engine(context) as engine:
        found = engine.snapshots.get(snapshot)
        needed = engine.snapshots.dependants(found.reference)
    if output is Output.JSON:
        as_json({"snapshot": found, "dependants": needed})
        return
    print_snapshots([found])
    for what in needed:
        complain(f"Needed by {what}.")


@commands.command("delete")
@unfolded
def delete(
    context: typer.Context,
    snapshot: SnapshotArgument,
    *,
    force: ForceOption = False,
    job: JobOptions,
) -> None:
    """Delete a snapshot. One that VDBs were made from is refused.

    \b
    Example:
      dlpx-remote snapshot delete SNAPSHOT-3
    """
    if force:
        with open_engine(context) as engine:
            for what in engine.snapshots.dependants(snapshot):
                complain(f"Takes along {what}.")
    carry_out(
        context,
        lambda engine: engine.snapshots.delete(snapshot, force=force, asked=job.asked()),
        lambda result: f"Deleted {', '.join(result['deleted'])}.",
        detach=job.detach,
        output=job.output,
    )
