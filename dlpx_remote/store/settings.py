"""What an operator has configured for the whole engine: the pool, the NFS server.

A setting is plain JSON under a name. Each carries a digest, because the engine makes and deletes things where
a setting says: one that was damaged on the disk is refused, not followed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dlpx_remote.store.database import StateError, Store
from dlpx_remote.store.digests import digest
from dlpx_remote.store.models import SettingRow


class Settings:
    """Named values that hold for the whole engine.

    Args:
        store: the opened state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting.

        Raises:
            StateError: the row is damaged.
        """
        with self._store.read() as session:
            rows = self._checked(session, name)
        return rows.get(name, default)

    def all(self) -> dict[str, Any]:
        """Every setting, by name.

        Raises:
            StateError: a row is damaged.
        """
        with self._store.read() as session:
            return self._checked(session)

    def set(self, name: str, value: Any) -> None:
        """Keep a value, in place of an earlier one.

        Args:
            name: of the setting, such as ``storage.pool``.
            value: anything that JSON can say; no secret.
        """
        with self._store.write() as session:
            row = session.get(SettingRow, name)
            if row is None:
                row = SettingRow(name=name)
                session.add(row)
            row.value = value
            row.digest = digest(name, value)
            row.changed = datetime.now(UTC)

    def remove(self, name: str) -> None:
        """Forget a setting; one that is not there is no error."""
        with self._store.write() as session:
            session.execute(delete(SettingRow).where(SettingRow.name == name))

    def _checked(self, session: Session, wanted: str | None = None) -> dict[str, Any]:
        name = wanted or "?"
        statement = select(SettingRow).order_by(SettingRow.name)
        if wanted is not None:
            statement = statement.where(SettingRow.name == wanted)
        try:
            rows = session.scalars(statement).all()
            for row in rows:
                name = row.name
                if digest(row.name, row.value) != row.digest:
                    raise ValueError("its digest is another")
        except (ValueError, TypeError) as error:
            raise StateError(
                f"The setting {name} in {self._store.place} is damaged ({error}).",
                "Restore the state from a backup, or configure it again; nothing was done with it.",
            ) from error
        return {row.name: row.value for row in rows}
