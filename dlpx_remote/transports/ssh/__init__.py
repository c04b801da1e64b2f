"""SSH: :func:`connect` opens a connection to one account on one host.

Nothing here knows of environments, plugins or jobs. The names are imported when they are asked for: who only
describes a target need not load paramiko.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpx_remote.transports.ssh.connection import SshConnection, connect
    from dlpx_remote.transports.ssh.figures import Figures, HostFigures, StageFigures
    from dlpx_remote.transports.ssh.target import HostKeyPolicy, SshTarget
    from dlpx_remote.transports.ssh.trace import Trace, TraceEvent

_HOMES = {
    "SshConnection": "connection",
    "connect": "connection",
    "Figures": "figures",
    "HostFigures": "figures",
    "HostKeyPolicy": "target",
    "StageFigures": "figures",
    "SshTarget": "target",
    "Trace": "trace",
    "TraceEvent": "trace",
}

__all__ = [
    "Figures",
    "HostFigures",
    "HostKeyPolicy",
    "SshConnection",
    "SshTarget",
    "StageFigures",
    "Trace",
    "TraceEvent",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
