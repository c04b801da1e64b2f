"""Which boot of a host was seen last, and what is to come up again after another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from dlpx_remote.store import Store
from dlpx_remote.store.models import EnvironmentRow
from dlpx_remote.store.schedule_models import BootRow
from dlpx_remote.transports.base import Connection

_READ = "cat /proc/sys/kernel/random/boot_id"
_TIMEOUT = 20.0


@dataclass(frozen=True)
class Boot:
    """What is known of a host's boots.

    Attributes:
        boot: the one that was seen last.
        noticed: when the reboot was noticed whose consequences are being mended; None when all is up.
        pending: references of what is to come up, each with the job that tries it, or None.
    """

    boot: str
    noticed: datetime | None
    pending: dict[str, str | None]


class BootRecords:
    """The boots in the state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, environment: str) -> Boot | None:
        """By reference of the environment; None before the host was looked at."""
        with self._store.read() as session:
            row = session.scalars(
                select(BootRow).join(EnvironmentRow).where(EnvironmentRow.reference == environment)
            ).first()
            return None if row is None else Boot(row.boot, row.noticed, dict(row.pending))

    def put(self, environment: str, boot: Boot) -> None:
        """Keep it; an environment that is gone is no error."""
        with self._store.write() as session:
            number = session.scalars(
                select(EnvironmentRow.id).where(EnvironmentRow.reference == environment)
            ).first()
            if number is None:
                return
            row = session.get(BootRow, number)
            if row is None:
                row = BootRow(environment_id=number)
                session.add(row)
            row.boot, row.noticed, row.pending = boot.boot, boot.noticed, dict(boot.pending)


def boot_of(connection: Connection) -> str | None:
    """What tells one boot of the host from another; None where the host has no such thing."""
    found = connection.run(_READ, timeout=_TIMEOUT)
    return found.stdout_text.strip() or None if found.exit_code == 0 else None
