"""The process that plugin code runs in.

``Workers`` starts a fork server once and has it fork one process per plugin and job; ``Worker`` is the
engine's end of one of them. What runs on the other side is in ``inside``. Nothing here knows hosts,
connections or credentials: a plugin's library calls are handed to a ``LibraryHandler``.

The names are imported when they are asked for, because the processes on the other side import this package
too and must not carry the engine with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpx_remote.plugins.worker.errors import (
        OperationAborted,
        OperationMissing,
        OperationTimeout,
        PluginError,
        PluginFailed,
        PluginUserError,
        TooLarge,
        WorkerDied,
        WorkersUnavailable,
        WrongResult,
    )
    from dlpx_remote.plugins.worker.inspection import ImplementedOperation, Inspection
    from dlpx_remote.plugins.worker.library import LibraryCall, LibraryHandler, LibraryRefusal, LibraryReply
    from dlpx_remote.plugins.worker.limits import Limits
    from dlpx_remote.plugins.worker.logs import LogCallback, LogLine
    from dlpx_remote.plugins.worker.worker import Worker
    from dlpx_remote.plugins.worker.workers import Workers

_HOMES = {
    "errors": (
        "OperationAborted",
        "OperationMissing",
        "OperationTimeout",
        "PluginError",
        "PluginFailed",
        "PluginUserError",
        "TooLarge",
        "WorkerDied",
        "WorkersUnavailable",
        "WrongResult",
    ),
    "inspection": ("ImplementedOperation", "Inspection"),
    "library": ("LibraryCall", "LibraryHandler", "LibraryRefusal", "LibraryReply"),
    "limits": ("Limits",),
    "logs": ("LogCallback", "LogLine"),
    "worker": ("Worker",),
    "workers": ("Workers",),
}

__all__ = [
    "ImplementedOperation",
    "Inspection",
    "LibraryCall",
    "LibraryHandler",
    "LibraryRefusal",
    "LibraryReply",
    "Limits",
    "LogCallback",
    "LogLine",
    "OperationAborted",
    "OperationMissing",
    "OperationTimeout",
    "PluginError",
    "PluginFailed",
    "PluginUserError",
    "TooLarge",
    "Worker",
    "WorkerDied",
    "Workers",
    "WorkersUnavailable",
    "WrongResult",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
