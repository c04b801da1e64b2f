"""The workflow of the soak test, and the workers that are killed while they run it.

What a job does to its data set are lines in the data set's file: what was done, and by which job.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import Limits
from dlpx_remote.store import Store

STEPS = 6
ONCE = (2, 4)
"""Numbers of the steps that must not be run twice."""
AT_ONCE = 8


class NotToday(RemoteError):
    """What a job that is to fail fails with."""


def tour(job: Job, request: Request) -> Any:
    """A few steps on one data set; undone in the opposite order where it fails."""
    job.expect(STEPS)
    done: list[int] = []

    def act(word: str, number: int) -> None:
        with job.on_cancel(lambda: None):
            time.sleep(request["seconds"])
            write(request, f"{job.reference} {word} {number}")
        job.log(f"{word} {number}")

    try:
        for number in range(1, STEPS + 1):
            done.append(number)
            run = job.once if number in ONCE else job.step
            run(f"step {number}", lambda number=number: act("do", number))  # type: ignore[misc]
            if number == request["fails_after"]:
                raise NotToday("It does not work today.")
        return {"steps": STEPS}
    except Exception as reason:
        job.compensating(reason)
        for number in reversed(done):
            job.step(f"undo step {number}", lambda number=number: act("undo", number))  # type: ignore[misc]
        raise


def write(request: Request, line: str) -> None:
    """Something that happens to the data set; on the disk when this returns."""
    descriptor = os.open(request["data_set"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


def work(state: str, url: str | None) -> None:
    """A worker; ends when it is killed, or when told to."""
    store = Store(Path(state), url)
    with Jobs(store, {"tour": tour}, limits=Limits(overall=AT_ONCE)) as jobs:
        jobs.work(AT_ONCE, threading.Event())
