"""``dlpx-remote job …`` and ``dlpx-remote worker``: what jobs there are, following and ending them, running
those that were left to workers."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.following import (
    end_with,
    finish_others,
    follow,
    seconds_of,
    step_line,
    waiting,
)
from dlpx_remote.cli.job_tree import line_of, tree_of
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, branches, complain, say, table
from dlpx_remote.cli.session import open_engine

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine
    from dlpx_remote.engine_jobs import JobDetails, JobLine

commands = typer.Typer(no_args_is_help=True, help="Jobs: what the engine does and did.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="JOB-12, or 12.")]


class State(StrEnum):
    """States of jobs."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPENSATING = "compensating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"


@commands.command("list")
def list_jobs(
    context: typer.Context,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only jobs in this state. Repeatable.")
    ] = None,
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many of the newest.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the newest jobs, the newest last.

    \b
    Example:
      dlpx-remote job list
      dlpx-remote job list --state failed --newest 10
    """
    from dlpx_remote.engine_jobs import JobState

    with open_engine(context) as engine:
        jobs = engine.jobs.all([JobState(wanted.value) for wanted in state or ()], newest)
    if output is Output.JSON:
        as_json(jobs)
        return
    rows = [
        (
            job.reference,
            job.operation,
            job.object,
            f"{job.state}, cancelling" if job.cancelling else job.state,
            "" if job.percent is None else f"{job.percent} %",
            job.created,
            seconds_of(job.started, job.finished),
        )
        for job in jobs
    ]
    if rows:
        table(("job", "operation", "object", "state", "done", "asked for (UTC)", "took"), rows)
    else:
        say("There are no jobs." if not state else "There are no such jobs.")


@commands.command("show")
def show(
    context: typer.Context,
    job: JobArgument,
    tree: Annotated[
        bool,
        typer.Option("--tree", help="Steps and plugin operations as a tree, with what each printed."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a job: its state, its steps with their times, and why it failed.

    \b
    Example:
      dlpx-remote job show JOB-12
      dlpx-remote job show JOB-12 --tree
    """
    with open_engine(context) as engine:
        found = engine.jobs.get(job)
        grown = tree_of(found, _all_lines(engine, job)) if tree else None
    if grown is not None:
        if output is Output.JSON:
            as_json(grown)
            return
        say(line_of(grown))
        for line in branches(grown["children"], line_of):
            say(line)
    elif output is Output.JSON:
        as_json(found)
    else:
        _print(found)


@commands.command("logs")
def logs(context: typer.Context, job: JobArgument, output: OutputOption = Output.TABLE) -> None:
    """Print the output that was kept of a job.

    \b
    Example:
      dlpx-remote job logs JOB-12
    """
    with open_engine(context) as engine:
        all_lines = _all_lines(engine, job)
    if output is Output.JSON:
        as_json(all_lines)
        return
    for line in all_lines:
        say(line.line)


def _all_lines(engine: Engine, job: str) -> list[JobLine]:
    found: list[JobLine] = []
    while lines := engine.jobs.lines(job, found[-1].number if found else 0):
        found += lines
    return found


@commands.command("follow")
def follow_job(context: typer.Context, job: JobArgument, output: OutputOption = Output.TABLE) -> None:
    """Follow a job to its end. The exit code tells how it ended; Ctrl-C leaves the job alone.

    \b
    Example:
      dlpx-remote job follow JOB-12
    """
    with open_engine(context) as engine:
        _finish(engine, follow(engine, engine.jobs.get(job).reference, ours=False), output)


@commands.command("cancel")
def cancel(
    context: typer.Context,
    job: JobArgument,
    detach: Annotated[
        bool, typer.Option("--detach", help="Only ask for its end; do not wait for it.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a job. What runs is told to end, and the job undoes what it did.

    \b
    Example:
      dlpx-remote job cancel JOB-12
    """
    with open_engine(context) as engine:
        asked = engine.jobs.cancel(job)
        if detach:
            if output is Output.JSON:
                as_json(asked)
            else:
                say(f"{asked.reference} is told to end; it is {asked.state} now.")
            return
        ended = follow(engine, asked.reference, ours=False)
        finish_others(engine)
    if output is Output.JSON:
        as_json(ended)
    elif ended.state == "cancelled":
        say(f"{ended.reference} {ended.title}: cancelled.")
    if ended.state != "cancelled":
        if ended.state == "succeeded":
            complain(f"{ended.reference} had succeeded before it could be ended.")
        end_with(ended)


@commands.command("prune")
def prune(
    context: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="What ended longer ago goes: 90d, 12w."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many jobs would go.")] = False,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="TIME", help="Have workers do so every day; 'off' ends it."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget jobs that ended long ago, with their steps and output. What they made stays.

    Jobs that have not ended stay too. Without an option it says for how long jobs are kept.

    \b
    Example:
      dlpx-remote job prune --older-than 90d
      dlpx-remote job prune --older-than 90d --dry-run
      dlpx-remote job prune --keep 90d
    """
    with open_engine(context) as engine:
        if keep is not None:
            engine.jobs.keep(None if keep == "off" else _time(keep, "--keep"))
        going = None
        if older_than is not None:
            going = engine.jobs.prune(_time(older_than, "--older-than"), dry_run=dry_run)
        kept = engine.jobs.kept
    if output is Output.JSON:
        as_json({"forgotten": 0 if dry_run else going, "would_go": going, "kept_days": kept and kept.days})
        return
    if going is not None:
        say(f"{going} jobs would go." if dry_run else f"Forgot {going} jobs.")
    if keep is not None or older_than is None:
        how = "for ever" if kept is None else f"for {kept.days} days"
        say(f"Jobs are kept {how}{'' if kept is None else ', while a worker runs to forget older ones'}.")


def _time(text: str, option: str) -> timedelta:
    from dlpx_remote.errors import InvalidRequest

    match = re.fullmatch(r"([1-9][0-9]{0,4})([dw])", text.strip())
    if match is None:
        raise InvalidRequest(f"{option} {text}: that is no time.", "Write 90d for days, or 12w for weeks.")
    return timedelta(days=int(match[1]) * (7 if match[2] == "w" else 1))


def worker(
    context: typer.Context,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Jobs to run at the same time.")] = 4,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", min=0, metavar="SECONDS", help="End when there was nothing to do for so long."
        ),
    ] = None,
) -> None:
    """Run jobs that were left to workers (--detach), and those of processes that died.

    They also run schedules and the staging workers of dSources, and bring up again what was active on a host
    that was rebooted.

    Any number of workers may share one database; on other machines than this one that needs PostgreSQL.
    Ctrl-C or TERM finishes what runs and ends; a second one leaves it to other workers.

    \b
    Example:
      dlpx-remote worker
      dlpx-remote --database postgresql://dlpx@db.example.com/dlpx worker --parallel 8
    """
    stop = threading.Event()
    known: set[str] = set()

    with open_engine(context) as engine:

        def tell(running: list[str]) -> None:
            for reference in running:
                if reference not in known:
                    known.add(reference)
                    say(f"{reference} {engine.jobs.get(reference).title}")
            for reference in sorted(known.difference(running)):
                job = engine.jobs.get(reference)
                if job.state.ended:
                    say(f"{reference} {job.title}: {job.state}")
                known.discard(reference)

        with (
            _stopped_by_signals(stop),
            _telling(engine),
            _clock(engine, stop if idle is None else None),
        ):
            engine.jobs.work(parallel, stop, idle=idle, on_turn=tell)
        tell([])


@contextmanager
def _clock(engine: Engine, stop: threading.Event | None) -> Iterator[None]:
    """Schedules, staging workers and reboots of hosts are looked after by workers that are here to stay."""
    if stop is None:
        yield
        return
    clock = threading.Thread(target=engine.schedules.work, args=(stop, say), name="clock")
    clock.start()
    try:
        yield
    finally:
        stop.set()
        clock.join()


@contextmanager
def _telling(engine: Engine) -> Iterator[None]:
    """The webhook is told of events meanwhile, and of the last ones at the end."""
    stop = threading.Event()
    telling = threading.Thread(target=engine.events.work, args=(stop, say), name="events")
    telling.start()
    try:
        yield
    finally:
        stop.set()
        telling.join()


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first INT or TERM sets ``stop``, a second one interrupts."""

    def end(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        complain(f"Ending ({signal.Signals(number).name}): what runs is finished first.")

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(engine: Engine, job: JobDetails, output: Output) -> None:
    if output is Output.JSON:
        as_json(job)
    elif job.state == "succeeded":
        say(f"{job.reference} {job.title}: done in {seconds_of(job.started, job.finished)}.")
    finish_others(engine)
    end_with(job)


def _print(job: JobDetails) -> None:
    say(f"{job.reference} {job.title}")
    state = f"{job.state}, cancelling" if job.cancelling else str(job.state)
    if job.percent is not None:
        state += f", {job.percent} %"
    say(f"  state:      {state}")
    say(f"  operation:  {job.operation} {job.object}".rstrip())
    say(f"  asked for:  {job.created:%Y-%m-%d %H:%M:%S} UTC")
    if job.started:
        say(f"  took:       {seconds_of(job.started, job.finished)}")
    if job.state == "queued":
        say(f"  waits:      {waiting(job)}")
    if job.executor and not job.state.ended:
        say(f"  runs in:    {job.executor}")
    if job.attempt > 1:
        say("  taken over: yes")
    if job.holds:
        say(f"  holds:      {', '.join(job.holds)}")
    if job.steps:
        say("  steps:")
    for step in job.steps:
        say(f"  {step_line(step)}")
    if job.failure is not None:
        say(f"  error:      {job.failure.message}")
        if job.failure.action:
            say(f"  action:     {job.failure.action}")
        for line in job.failure.output.splitlines():
            say(f"    {line}")
