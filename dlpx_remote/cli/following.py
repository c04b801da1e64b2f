"""A job that runs, as a person sees it: steps as they end, output as it comes, one line for what runs now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from dlpx_remote.cli.exits import Exit, said
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, say
from dlpx_remote.cli.progress import StatusLine
from dlpx_remote.cli.session import database_url, open_engine, settings

if TYPE_CHECKING:
    from dlpx_remote.engine import Engine
    from dlpx_remote.engine_jobs import JobDetails, JobLine, JobStep

_MARKS = {"done": "+", "failed": "!", "interrupted": "!", "skipped": "-"}


class JobProgress(StatusLine):
    """Call it with what is known of a job; it writes to stderr what is new."""

    def __init__(self) -> None:
        super().__init__()
        self._job: JobDetails | None = None
        self._told: set[int] = set()
        self._waiting_told = False

    def __call__(self, job: JobDetails, lines: Sequence[JobLine]) -> None:
        """Tell what is new."""
        with self._lock:
            self._job = job
            for line in lines:
                complain(f"    {line.line}")
            if job.waits_for and not self._waiting_told:
                self._waiting_told = True
                complain(f"{job.reference} waits: {waiting(job)}.")
            for step in job.steps:
                if step.finished is not None and step.number not in self._told:
                    self._told.add(step.number)
                    complain(step_line(step))
            self.update()

    def line(self) -> str:
        """The job, how far it is, and the step that runs."""
        job = self._job
        if job is None:
            return ""
        percent = "" if job.percent is None else f" {job.percent} %"
        now = next((step for step in reversed(job.steps) if step.finished is None), None)
        what = f": {now.title}" if now else ""
        return f"{job.reference} {job.title}, {job.state}{percent}{what}"


def waiting(job: JobDetails) -> str:
    """What a queued job waits for."""
    return ", ".join(f"{other} holds {name}" for name, other in job.waits_for) or "for its turn"


def step_line(step: JobStep) -> str:
    """A step in one line: how it ended, how long it took, what it did, and why it failed."""
    mark = _MARKS.get(step.state, ">")
    seconds = seconds_of(step.started, step.finished)
    undo = "undo: " if step.undoing else ""
    words = f"  {mark} {seconds:>9}  {undo}{step.title}"
    if step.state == "interrupted":
        words += " (cut off; not run again)"
    return f"{words}: {step.error}" if step.error else words


def seconds_of(started: datetime | None, finished: datetime | None) -> str:
    """``1.2 s``; up to now for what has not finished; empty for what has not begun."""
    if started is None:
        return ""
    return f"{((finished or datetime.now(UTC)) - started).total_seconds():.1f} s"


def run_job(
    context: typer.Context,
    ask: Callable[[Engine], str],
    *,
    detach: bool,
    output: OutputOption,
    then: Callable[[Engine, JobDetails], None] | None = None,
) -> None:
    """Ask for a job and follow it, or leave it to a worker; print what came of it.

    Args:
        context: of the command.
        ask: asks the engine for the job, detached or not as ``detach`` says, and gives back its reference.
        detach: only say its reference, and make sure that there is a worker.
        output: how to print.
        then: prints the result for people; None says how the job ended.
    """
    with open_engine(context) as engine:
        reference = ask(engine)
        if detach:
            ensure_worker(context, engine)
            if output is Output.JSON:
                as_json(engine.jobs.get(reference))
            else:
                say(f"{reference} is left to a worker. Follow it with: dlpx-remote job follow {reference}")
            return
        job = follow(engine, reference, ours=True)
        if output is Output.JSON:
            as_json(job)
        elif job.state == "succeeded":
            if then is not None:
                then(engine, job)
            else:
                say(f"{job.reference} {job.title}: done in {seconds_of(job.started, job.finished)}.")
        finish_others(engine)
    end_with(job)


def follow(engine: Engine, reference: str, *, ours: bool) -> JobDetails:
    """Until it has ended.

    Args:
        engine: the open engine.
        reference: of the job.
        ours: Ctrl-C cancels it, a second one leaves it to the next command; else Ctrl-C only ends this.
    """
    with JobProgress() as progress:
        try:
            engine.jobs.adopt(reference)
            return engine.jobs.follow(reference, progress)
        except KeyboardInterrupt:
            if not ours:
                raise
            cancel_quietly(engine, reference)
            complain(
                f"{reference} is cancelled and undoes what it did. "
                "Ctrl-C once more leaves that to the next command."
            )
            return engine.jobs.follow(reference, progress)


def cancel_quietly(engine: Engine, reference: str) -> None:
    """Ask for its end, unless it is ending already."""
    from dlpx_remote.engine_jobs import JobError

    try:
        engine.jobs.cancel(reference)
    except JobError:
        return


def finish_others(engine: Engine) -> None:
    """Wait for jobs that this process took over from one that died."""
    told: set[str] = set()

    def tell(running: list[str]) -> None:
        for reference in running:
            if reference not in told:
                told.add(reference)
                complain(f"Finishing {reference}, which a process that died had left.")

    engine.jobs.finish(tell)


def ensure_worker(context: typer.Context, engine: Engine) -> None:
    """Start a worker in the background, unless there is one."""
    from dlpx_remote.engine import default_state
    from dlpx_remote.engine_jobs import start_worker

    if not engine.jobs.has_worker():
        chosen = settings(context)
        start_worker(chosen.state or default_state(), database_url(chosen), json_log=chosen.json_log)


def end_with(job: JobDetails) -> None:
    """Say why a job did not succeed, and end with the exit code for that."""
    if job.state == "succeeded":
        return
    sys.stdout.flush()
    if job.failure is not None:
        title = f"{job.reference} {job.title}: {job.state}"
        complain(said(title, job.failure.message, job.failure.action, job.failure.output))
    raise typer.Exit(Exit.JOB_FAILED)
