"""The engine's state: tables, their migrations, and transactions that several processes can share.

This room knows rows and transactions. It knows nothing of hosts, plugins or discovery; the rooms above turn
rows into values. No column holds a secret, only references to where secrets are.
"""

from __future__ import annotations

from dlpx_remote.store import (  # so that all tables are known to the metadata
    job_models,  # noqa: F401
    operator_models,  # noqa: F401
    schedule_models,  # noqa: F401
    source_models,  # noqa: F401
)
from dlpx_remote.store.database import StateError, Store
from dlpx_remote.store.ledger import Entry, Kind, Ledger, State, StillNeeded
from dlpx_remote.store.settings import Settings

__all__ = ["Entry", "Kind", "Ledger", "Settings", "State", "StateError", "StillNeeded", "Store"]
