"""The engine's Python API for VDBs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlpx_remote.engine_common import NOW, Asked, Sources
from dlpx_remote.environments.registry import user_by_name
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.workflows.holding import shares_of
from dlpx_remote.workflows.parameters import VIRTUAL, Given, checked
from dlpx_remote.workflows.sources import DISABLED, ENABLED, Hook, Source, WrongState


class Vdbs(Sources):
    """VDBs: ``engine.vdbs``."""

    _kind = "vdb"
    _word = "VDB"

    def provision(
        self,
        name: str,
        snapshot: str,
        environment: str,
        *,
        user: str | None = None,
        repository: str | None = None,
        parameters: Given = Given(),  # noqa: B008 - a frozen value
        hooks: Sequence[Hook] = (),
        asked: Asked = NOW,
    ) -> str:
        """Make a VDB of a snapshot.

        Args:
            name: for the new VDB.
            snapshot: reference of a snapshot, or the name of a dSource or VDB for its newest one.
            environment: name or reference of the target environment.
            user: of the environment; None for its primary user.
            repository: name or reference; None where the plugin has found one only.
            parameters: the operator's.
            hooks: kept with the VDB.
            asked: how.
        """
        records = self._parts.records
        origin = records.ready(records.snapshot(snapshot).reference)
        plugin = records.get(origin.source).plugin
        request = self._new(
            name,
            plugin,
            environment,
            user=user,
            repository=repository,
            parameters=parameters,
            hooks=hooks,
        )
        request["origin"] = origin.reference
        title = f"provision the VDB {name} from {origin.reference} of {origin.source_name}"
        return self._ask_for_new("provision", request, title, asked, shares=shares_of(origin))

    def create_empty(
        self,
        name: str,
        plugin: str,
        environment: str,
        *,
        user: str | None = None,
        repository: str | None = None,
        parameters: Given = Given(),  # noqa: B008 - a frozen value
        hooks: Sequence[Hook] = (),
        asked: Asked = NOW,
    ) -> str:
        """Make a VDB without data, where the plugin can initialize one. Arguments: see :meth:`provision`."""
        details = self._parts.plugins.get(plugin)
        if not any(each.name == "virtual.initialize" and each.implemented for each in details.operations):
            raise InvalidRequest(
                f"The plugin {details.summary.name} cannot make an empty VDB: it has no virtual.initialize.",
                "Provision one from a snapshot instead: dlpx-remote vdb provision.",
            )
        request = self._new(
            name,
            details.summary.identifier,
            environment,
            user=user,
            repository=repository,
            parameters=parameters,
            hooks=hooks,
        )
        return self._ask_for_new("create-empty", request, f"create the empty VDB {name}", asked)

    def snapshot(self, name: str, *, hooks: Sequence[Hook] = (), asked: Asked = NOW) -> str:
        """Keep its present state."""
        return self._ask("snapshot", self._find(name), {}, hooks, asked, state=ENABLED)

    def refresh(
        self, name: str, snapshot: str | None = None, *, hooks: Sequence[Hook] = (), asked: Asked = NOW
    ) -> str:
        """Put the state of another snapshot in its place.

        Args:
            name: name or reference.
            snapshot: reference, or name of a dSource or VDB for its newest; None for the newest of the one
                that it was provisioned from.
            hooks: for this run.
            asked: how.
        """
        source, records = self._find(name), self._parts.records
        wanted = records.ready(records.snapshot(snapshot or self._parent(source)).reference)
        if wanted.source == source.reference:
            raise InvalidRequest(
                f"{wanted.reference} is a snapshot of {source.name} itself.",
                f"Roll back to it: dlpx-remote vdb rollback {source.name} --to {wanted.reference}.",
            )
        if records.get(wanted.source).plugin != source.plugin:
            raise InvalidRequest(
                f"{wanted.reference} is of another plugin than {source.name} ({source.plugin_name}).",
                "Choose a snapshot of the same plugin.",
            )
        request = {"snapshot": wanted.reference}
        return self._ask("refresh", source, request, hooks, asked, state=ENABLED, shares=shares_of(wanted))

    def rollback(
        self, name: str, snapshot: str | None = None, *, hooks: Sequence[Hook] = (), asked: Asked = NOW
    ) -> str:
        """Put an earlier state of its own in its place; ``snapshot`` None means its newest snapshot."""
        source, records = self._find(name), self._parts.records
        wanted = records.ready(records.snapshot(snapshot or source.name).reference)
        if wanted.source != source.reference:
            raise InvalidRequest(
                f"{wanted.reference} is a snapshot of {wanted.source_name}, not of {source.name}.",
                f"Refresh from it: dlpx-remote vdb refresh {source.name} --from {wanted.reference}.",
            )
        return self._ask("rollback", source, {"snapshot": wanted.reference}, hooks, asked, state=ENABLED)

    def undo(self, name: str, *, hooks: Sequence[Hook] = (), asked: Asked = NOW) -> str:
        """Undo the last refresh or rollback."""
        source = self._find(name)
        if source.previous is None:
            raise WrongState(
                f"The VDB {source.name} has been neither refreshed nor rolled back, "
                "so there is nothing to undo.",
                f"Roll back to a snapshot instead: dlpx-remote snapshot list {source.name}.",
            )
        return self._ask("undo", source, {}, hooks, asked, state=ENABLED)

    def start(self, name: str, *, hooks: Sequence[Hook] = (), asked: Asked = NOW) -> str:
        """Have it run."""
        return self._ask("start", self._find(name), {}, hooks, asked, state=ENABLED)

    def stop(self, name: str, *, hooks: Sequence[Hook] = (), asked: Asked = NOW) -> str:
        """Have it run no longer; it stays mounted."""
        return self._ask("stop", self._find(name), {}, hooks, asked, state=ENABLED)

    def enable(self, name: str, *, hooks: Sequence[Hook] = (), asked: Asked = NOW) -> str:
        """Mount it and have it usable again."""
        return self._ask("enable", self._find(name), {}, hooks, asked, state=DISABLED)

    def disable(
        self, name: str, *, force: bool = False, hooks: Sequence[Hook] = (), asked: Asked = NOW
    ) -> str:
        """Quiesce and unmount it; ``force`` goes on where the plugin or the host fails."""
        return self._ask("disable", self._find(name), {"force": force}, hooks, asked, state=ENABLED)

    def _new(
        self,
        name: str,
        plugin: str,
        environment: str,
        *,
        user: str | None,
        repository: str | None,
        parameters: Given,
        hooks: Sequence[Hook],
    ) -> dict[str, Any]:
        """The request for a new VDB."""
        loaded = self._plugin(plugin)
        where = self._environment(environment, loaded.config)
        return {
            "kind": "vdb",
            "name": name,
            "plugin": plugin,
            "repository": self._parts.inventory.repository(where, plugin, repository),
            "environment": where.reference,
            "user": user_by_name(where, user).reference,
            "parameters": checked(loaded, VIRTUAL, parameters, self._parts.kind_of),
            "hooks": self._new_hooks(hooks),
        }

    def _parent(self, source: Source) -> str:
        """Reference of what the VDB was provisioned or refreshed from, however often it was rolled back."""
        origin = source.current.origin
        while origin is not None:
            snapshot = self._parts.records.snapshot(origin)
            if snapshot.source != source.reference:
                return snapshot.source
            origin = snapshot.parent
        raise InvalidRequest(
            f"The VDB {source.name} was made empty, of no snapshot.", "Name the snapshot with --from."
        )
