"""``dlpx-remote schedule``: what workers do by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, say, table
from dlpx_remote.cli.session import open_engine

if TYPE_CHECKING:
    from dlpx_remote.engine_schedules import Schedule

commands = typer.Typer(
    help="Schedules: sync, snapshot, refresh, status checks and retention by the clock.", no_args_is_help=True
)

ScheduleArgument = Annotated[
    str, typer.Argument(metavar="SCHEDULE", help="Reference, for example SCHEDULE-3.")
]
SourceArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or reference of a dSource or VDB.")]


@commands.command("add")
def add(
    context: typer.Context,
    source: SourceArgument,
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="sync, snapshot, refresh, status or retention.")
    ],
    cron: Annotated[
        str,
        typer.Option("--cron", metavar="FIELDS", help="Minute, hour, day, month, weekday, as in crontab."),
    ],
    *,
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="The time zone that they are meant in.")
    ] = "UTC",
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", help="retention: keep the newest N snapshots.")
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days", metavar="N", help="retention: keep those that are not older than N days."
        ),
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not run it until it is enabled.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have something done again and again, while `dlpx-remote worker` runs somewhere.

    With both --keep and --keep-days a snapshot stays that either of them keeps. What something was made
    from, and the newest snapshot of all, always stay.

    \b
    Example:
      dlpx-remote schedule add orders sync --cron '0 2 * * *' --zone Europe/Berlin
      dlpx-remote schedule add orders retention --cron '30 3 * * *' --keep 14 --keep-days 30
      dlpx-remote schedule add masked status --cron '*/5 * * * *'
    """
    from dlpx_remote.engine_schedules import Retention

    retention = Retention(keep, keep_days) if keep is not None or keep_days is not None else None
    if action == "retention" and retention is None:
        retention = Retention()
    with open_engine(context) as engine:
        made = engine.schedules.add(source, action, cron, zone=zone, retention=retention)
        if disabled:
            made = engine.schedules.enable(made.reference, False)
        alone = not engine.jobs.has_worker()
    if output is Output.JSON:
        as_json(made)
        return
    say(f"{made.reference}: {made.action} of {made.source}, first on {made.next:%Y-%m-%d %H:%M} UTC.")
    if alone:
        say("No worker runs at present. Start one: dlpx-remote worker")


@commands.command("list")
def list_all(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A dSource or VDB; all unless given.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List schedules, the next one first.

    \b
    Example:
      dlpx-remote schedule list
    """
    with open_engine(context) as engine:
        found = engine.schedules.all(source)
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No schedule yet. Add one: dlpx-remote schedule add NAME ACTION --cron '0 2 * * *'")
    else:
        _print(found)


@commands.command("remove")
def remove(context: typer.Context, schedule: ScheduleArgument) -> None:
    """Forget a schedule.

    \b
    Example:
      dlpx-remote schedule remove SCHEDULE-3
    """
    with open_engine(context) as engine:
        gone = engine.schedules.remove(schedule)
    say(f"Removed {gone.reference}: {gone.action} of {gone.source}.")


@commands.command("enable")
def enable(context: typer.Context, schedule: ScheduleArgument) -> None:
    """Have a schedule run again.

    \b
    Example:
      dlpx-remote schedule enable SCHEDULE-3
    """
    with open_engine(context) as engine:
        found = engine.schedules.enable(schedule)
    say(f"{found.reference} runs next on {found.next:%Y-%m-%d %H:%M} UTC.")


@commands.command("disable")
def disable(context: typer.Context, schedule: ScheduleArgument) -> None:
    """Keep a schedule, but do not run it.

    \b
    Example:
      dlpx-remote schedule disable SCHEDULE-3
    """
    with open_engine(context) as engine:
        found = engine.schedules.enable(schedule, False)
    say(f"{found.reference} does not run until it is enabled again.")


@commands.command("run")
def run(context: typer.Context, schedule: ScheduleArgument, output: OutputOption = Output.TABLE) -> None:
    """Do now what a schedule does, by a worker; its times stay as they are.

    \b
    Example:
      dlpx-remote schedule run SCHEDULE-3
    """
    with open_engine(context) as engine:
        found = engine.schedules.get(schedule)
        said = engine.schedules.run(found.reference)
    if output is Output.JSON:
        as_json({"schedule": found, "outcome": said})
    else:
        for sentence in said or ("nothing to do",):
            say(f"{found.reference} {found.action} of {found.source}: {sentence}")


@commands.command("history")
def history(context: typer.Context, source: SourceArgument, output: OutputOption = Output.TABLE) -> None:
    """Show what status checks of a dSource or VDB found, by schedule or by hand, the newest first.

    \b
    Example:
      dlpx-remote schedule history masked
    """
    with open_engine(context) as engine:
        found = engine.schedules.statuses(source)
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No status has been checked yet.")
    else:
        table(
            ("time (UTC)", "status", "asked by", "why"),
            ((one.time, one.status, one.asked_by or "hand", one.error) for one in found),
        )


def _print(found: Sequence[Schedule]) -> None:
    table(
        ("schedule", "object", "action", "cron", "zone", "next (UTC)", "last (UTC)", "outcome", "missed"),
        (
            (
                one.reference,
                one.source,
                _action(one),
                one.cron,
                one.zone,
                one.next if one.enabled else "disabled",
                one.last or "",
                one.last_error or one.last_job or ("done" if one.last else ""),
                one.missed or "",
            )
            for one in found
        ),
    )


def _action(schedule: Schedule) -> str:
    kept = schedule.retention
    if kept is None:
        return schedule.action
    words = [f"newest {kept.count}"] if kept.count else []
    words += [f"{kept.days} days"] if kept.days else []
    return f"{schedule.action}: {' and '.join(words)}"
