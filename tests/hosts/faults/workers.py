"""Plays the points of a sweep in several processes: one for each core, each with a server of its own.

Points go out in batches; what became of them comes back when the batch is judged. A worker ends when the
process that started it does.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from tests.hosts.faults.points import Outcome, Point
from tests.hosts.faults.sweep import Host, Stage, play_all

BATCH = 500
"""Points; at the end of a batch nothing may be left of any of them."""

_GRACE = 60.0


def play_in_processes(
    hosts: Sequence[Host], directory: Path, deadline: float, points: Iterable[Point], batch: int = BATCH
) -> Iterator[list[Outcome]]:
    """Outcomes, a batch at a time as they come.

    Args:
        hosts: one for each process.
        directory: each process gets one below it.
        deadline: see :class:`Stage`.

    Raises:
        AssertionError: a process ended, or something is left that cannot be told to be one point's.
    """
    start = multiprocessing.get_context("spawn")
    batches = _batches(points, batch)
    workers: dict[Connection, SpawnProcess] = {}
    try:
        for number, host in enumerate(hosts):
            if (first := next(batches, None)) is None:
                break
            place = directory / f"worker-{number}"
            place.mkdir()
            ours, theirs = start.Pipe()
            worker = start.Process(target=_work, args=(theirs, host, place, deadline), daemon=True)
            worker.start()
            theirs.close()
            workers[ours] = worker
            ours.send(first)
        busy = set(workers)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                try:
                    answer: list[Outcome] | str = connection.recv()
                except EOFError:
                    raise AssertionError("a process of the sweep ended without a word") from None
                if isinstance(answer, str):
                    raise AssertionError(answer)
                if (more := next(batches, None)) is None:
                    busy.discard(connection)
                else:
                    connection.send(more)
                yield answer
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.join(_GRACE)
            worker.kill()


def _batches(points: Iterable[Point], size: int) -> Iterator[list[Point]]:
    remaining = iter(points)
    while batch := [point for _, point in zip(range(size), remaining, strict=False)]:
        yield batch


def _work(connection: Connection, host: Host, directory: Path, deadline: float) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it decides
    logging.getLogger("dlpx_remote").addHandler(logging.NullHandler())
    died: list[str] = []
    threading.excepthook = lambda hook: died.append(
        "".join(traceback.format_exception(hook.exc_type, hook.exc_value, hook.exc_traceback))
    )
    with contextlib.suppress(EOFError, OSError):
        stage = Stage(host, directory, deadline)
        while True:
            points = connection.recv()
            try:
                outcomes: list[Outcome] | str = play_all(stage, points)
            except BaseException:
                outcomes = traceback.format_exc()
            if died:
                outcomes = f"threads died of exceptions:\n{''.join(died)}"
            connection.send(outcomes)
