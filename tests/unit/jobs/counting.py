"""A workflow that counts how often its actions run, and waits where a test wants it to."""

from __future__ import annotations

import threading
from typing import Any

from dlpx_remote.jobs.base import Job, Request

_LONG = 60.0


class Counting:
    """Three steps, of which the second must not be run twice, and how often each action ran."""

    def __init__(self) -> None:
        self.ran = {"one": 0, "two": 0, "three": 0, "undo": 0}
        self.at = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, job: Job, request: Request) -> Any:
        try:
            job.step("one", lambda: self._count("one"))
            self.at.set()
            assert self.go.wait(_LONG)
            job.once("two", lambda: self._count("two"))
            return job.step("three", lambda: self._count("three"))
        except Exception as reason:
            job.compensating(reason)
            job.step("undo", lambda: self._count("undo"))
            raise

    def _count(self, title: str) -> str:
        self.ran[title] += 1
        return title
