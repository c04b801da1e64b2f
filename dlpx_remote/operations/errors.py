"""The errors of plugin operations, under one roof for those who call them."""

from dlpx_remote.plugins.worker.errors import (
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

__all__ = [
    "OperationMissing",
    "OperationTimeout",
    "PluginError",
    "PluginFailed",
    "PluginUserError",
    "TooLarge",
    "WorkerDied",
    "WorkersUnavailable",
    "WrongResult",
]
