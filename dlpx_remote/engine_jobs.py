"""What else the engine's Python API has for jobs: their values and errors, the database that they share with
workers elsewhere, and a worker in the background.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.jobs.base import Busy, JobCancelled, JobError, JobFailed
from dlpx_remote.jobs.jobs import Jobs, OnChange
from dlpx_remote.jobs.model import (
    JobDetails,
    JobFailure,
    JobLine,
    JobState,
    JobStep,
    JobSummary,
    Limits,
    StepState,
)

__all__ = [
    "Busy",
    "JobCancelled",
    "JobDetails",
    "JobError",
    "JobFailed",
    "JobFailure",
    "JobLine",
    "JobState",
    "JobStep",
    "JobSummary",
    "Jobs",
    "Limits",
    "OnChange",
    "StepState",
    "database_from",
    "refuse_password",
    "start_worker",
]

DATABASE_VARIABLE = "DLPX_REMOTE_DATABASE"
"""Holds the URL of the database where no option does. Unlike an option it may hold a password."""
IDLE = 5.0
"""Seconds without work after which a worker in the background ends."""


def refuse_password(url: str) -> str:
    """``url``, as it was typed in a command line.

    Raises:
        InvalidRequest: it has a password in it, which every user of the machine can read there.
    """
    user_part = url.partition("://")[2].rpartition("@")[0]
    if ":" in user_part or "password=" in url:
        raise InvalidRequest(
            "There is a password in --database, where every user of this machine can read it.",
            f"Keep the URL in a file or variable and name that: --database-from file:PATH, env:VAR, or the "
            f"variable {DATABASE_VARIABLE}. Or leave the password out: ~/.pgpass and PGPASSFILE are read.",
        )
    return url


def database_from(
    reference: SecretReference | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The URL of the database from where ``reference`` says, or from the variable; None where neither is.

    Raises:
        SecretUnavailable: there is none at that place.
    """
    if reference is not None:
        return Secrets(None, lambda _: None).resolve(reference, "URL of the database").strip()
    return environment.get(DATABASE_VARIABLE) or None


def start_worker(state: Path, database: str | None, *, json_log: bool = False) -> int:
    """Start a worker on this machine that ends when there is nothing left to do; its process id.

    It lives on when this process ends, and asks nobody for a secret. What it says goes to the engine's log.

    Args:
        state: the state directory.
        database: URL; None for SQLite in ``state``.
        json_log: write the log as JSON.
    """
    environment = dict(os.environ)
    environment.pop(DATABASE_VARIABLE, None)
    if database is not None:
        environment[DATABASE_VARIABLE] = database
    command = (
        *(sys.executable, "-m", "dlpx_remote", "--state", str(state)),
        *("--log-format", "json" if json_log else "text"),
        *("worker", "--idle", str(IDLE)),
    )
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    return process.pid
