"""The engine operations that are jobs, by the words that ask for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.model import Workflow
from dlpx_remote.workflows import linked, removal, switching, virtual
from dlpx_remote.workflows.rooms import Rooms

OPERATIONS: dict[str, Callable[[Rooms, Job, Request], Any]] = {
    "dsource link": linked.link,
    "dsource sync": linked.sync,
    "dsource enable": linked.enable,
    "dsource restart": linked.restart,
    "dsource disable": linked.disable,
    "dsource delete": removal.delete_dsource,
    "dsource worker": linked.worker,
    "vdb provision": virtual.provision,
    "vdb create-empty": virtual.create_empty,
    "vdb snapshot": virtual.snapshot,
    "vdb refresh": switching.refresh,
    "vdb rollback": switching.rollback,
    "vdb undo": switching.undo,
    "vdb start": virtual.start,
    "vdb stop": virtual.stop,
    "vdb enable": virtual.enable,
    "vdb disable": virtual.disable,
    "vdb delete": removal.delete_vdb,
    "snapshot delete": removal.delete_snapshot,
}
"""Each takes its rooms, its job and its request."""


def workflows(rooms: Callable[[], Rooms]) -> dict[str, Workflow]:
    """:data:`OPERATIONS` as jobs run them; ``rooms`` is called when one begins."""

    def bound(operation: Callable[[Rooms, Job, Request], Any], job: Job, request: Request) -> Any:
        return operation(rooms(), job, request)

    return {name: partial(bound, operation) for name, operation in OPERATIONS.items()}
