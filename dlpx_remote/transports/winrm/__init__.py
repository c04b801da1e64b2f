"""WinRM: :func:`connect` opens a connection to one account on one Windows host.

Nothing here knows of environments, plugins or jobs. The names are imported when they are asked for: who works
with Unix hosts only need not load pywinrm and requests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpx_remote.transports.winrm.connection import WinrmConnection, connect
    from dlpx_remote.transports.winrm.target import Authentication, Scheme, WinrmTarget

_HOMES = {
    "WinrmConnection": "connection",
    "connect": "connection",
    "Authentication": "target",
    "Scheme": "target",
    "WinrmTarget": "target",
}

__all__ = ["Authentication", "Scheme", "WinrmConnection", "WinrmTarget", "connect"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
