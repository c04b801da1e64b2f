"""Exit codes, and how an error is said. The codes are part of the interface; the documentation lists them."""

from __future__ import annotations

import traceback
from enum import IntEnum

from dlpx_remote.cli.output import complain
from dlpx_remote.errors import InvalidRequest, RemoteError


class Exit(IntEnum):
    """What the command's exit code tells a script.

    ``run`` passes the script's own code through. Our own errors lie from 220 to 230, seldom used by scripts.
    """

    DONE = 0
    PART_FAILED = 1
    WRONG_USE = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    NOT_SENT = 220
    TIMED_OUT = 221
    OUTCOME_UNKNOWN = 222
    NO_SHELL = 223
    JOB_FAILED = 224
    BUSY = 225
    OTHER_ERROR = 229
    DEFECT = 230


def exit_for(error: RemoteError) -> Exit:
    """The exit code that stands for ``error``."""
    if isinstance(error, InvalidRequest):
        return Exit.WRONG_USE  # mostly before the engine was needed, which is slow to load
    from dlpx_remote import engine, engine_jobs

    match error:
        case engine_jobs.JobFailed():
            return Exit.JOB_FAILED
        case engine_jobs.Busy():
            return Exit.BUSY
        case engine.InvalidCommand():
            return Exit.WRONG_USE
        case engine.PluginInvalid():
            return Exit.PART_FAILED
        case engine.NotSent():
            return Exit.NOT_SENT
        case engine.CommandEnded():
            return Exit.TIMED_OUT
        case engine.OutcomeUnknown() | engine.OutputLost():
            return Exit.OUTCOME_UNKNOWN
        case engine.ShellUnavailable() | engine.HomeDirectoryMissing():
            return Exit.NO_SHELL
        case _:
            return Exit.OTHER_ERROR


def report_error(error: RemoteError, verbose: bool) -> Exit:
    """Say what happened and what to do, with the stack trace when ``verbose``."""
    if verbose:
        complain("".join(traceback.format_exception(error)))
    complain(said("Error", error.message, error.action, error.output))
    return exit_for(error)


def report_defect(error: Exception, verbose: bool) -> Exit:
    """Say that something happened which nobody foresaw."""
    if verbose:
        complain("".join(traceback.format_exception(error)))
    action = "This is a defect of dlpx-remote, not of your input."
    if not verbose:
        action += " Run it again as dlpx-remote --verbose … to see the stack trace, and report it."
    complain(said("Error", f"Unexpected {type(error).__name__}: {error}", action))
    return Exit.DEFECT


def said(title: str, message: str, action: str = "", output: str = "") -> str:
    """The three parts of an error as a block of lines; empty parts are left out."""
    lines = [f"{title}: {message.rstrip()}"]
    if action.strip():
        lines.append("  Action: " + "\n    ".join(action.strip().splitlines()))
    if output.strip():
        lines.append("  Output:")
        lines += [f"    {line}" for line in output.rstrip().splitlines()]
    return "\n".join(lines)
