"""Refresh, rollback and undo: the engine operations that put another state in a VDB's place.

The new state is built beside the old one, and the switch is the last thing. Whatever fails before leaves the
old state as it was: mounted, configured, and running if it ran.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.workflows.operating import Operation
from dlpx_remote.workflows.removal import retire
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.sources import DISABLED, ENABLED, Footing, WrongState
from dlpx_remote.workflows.virtual import bring_back, require_snapshot

Result = dict[str, Any]


def refresh(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Refresh. Request: ``source``, ``snapshot`` (references), ``hooks``."""
    with Operation(rooms, job, request["source"], request) as vdb:
        _require(vdb)
        value = vdb.value_of(request["snapshot"])
        vdb.expect(10, "pre-refresh", "configure-clone", "post-refresh")
        vdb.run_hooks("pre-refresh")
        with _Switch(vdb, Footing(vdb.next_volume(), request["snapshot"])) as switch:
            switch.unconfigure()
            vdb.clone(request["snapshot"], switch.new.volume)
            switch.mount()
            switch.configured(vdb.plugin("virtual.configure", switch.new, snapshot=value))
            vdb.run_hooks("configure-clone")
            vdb.run_hooks("post-refresh")
        switch.retire_undo_state()
    return {"vdb": vdb.source.reference, "snapshot": request["snapshot"]}


def rollback(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Rollback. Request: as for :func:`refresh`, with a snapshot of the VDB itself."""
    with Operation(rooms, job, request["source"], request) as vdb:
        _require(vdb)
        value = vdb.value_of(request["snapshot"])
        vdb.expect(10, "pre-rollback", "post-rollback")
        vdb.run_hooks("pre-rollback")
        present = vdb.source.current.source_config
        with _Switch(vdb, Footing(vdb.next_volume(), request["snapshot"], source_config=present)) as switch:
            switch.unconfigure()
            vdb.clone(request["snapshot"], switch.new.volume)
            switch.mount()
            switch.configured(vdb.plugin("virtual.reconfigure", switch.new, snapshot=value))
            vdb.run_hooks("post-rollback")
        switch.retire_undo_state()
    return {"vdb": vdb.source.reference, "snapshot": request["snapshot"]}


def undo(rooms: Rooms, job: Job, request: Request) -> Result:
    """Undo the last refresh or rollback: a rollback to the state before it, which is still there.

    The state that is left can be returned to in the same way. Request: ``source`` (reference), ``hooks``.
    """
    with Operation(rooms, job, request["source"], request) as vdb:
        _require(vdb)
        previous = vdb.source.previous
        if previous is None:
            raise WrongState(
                f"The VDB {vdb.source.name} has been neither refreshed nor rolled back, "
                "so there is nothing to undo.",
                f"Roll back to a snapshot instead: dlpx-remote snapshot list {vdb.source.name}.",
            )
        vdb.expect(8, "pre-rollback", "post-rollback")
        vdb.run_hooks("pre-rollback")
        with _Switch(vdb, previous, keep=True) as switch:
            switch.unconfigure()
            switch.mount()
            value = vdb.previous_snapshot or {}
            switch.configured(vdb.plugin("virtual.reconfigure", switch.new, snapshot=value))
            vdb.run_hooks("post-rollback")
    return {"vdb": vdb.source.reference}


class _Switch:
    """From one state to another: switches when its ``with`` block succeeds, and undoes when it fails.

    Args:
        vdb: the operation.
        new: what the VDB is to stand on.
        keep: the new state's volume was there before, and stays when the switch fails.
    """

    def __init__(self, vdb: Operation, new: Footing, *, keep: bool = False) -> None:
        self.new = new
        self._vdb = vdb
        self._old = vdb.source.current
        self._undo_state = vdb.source.previous
        self._value = vdb.snapshot
        self._keep = keep
        self._unconfigured = False
        self._mounting = False
        self._configured = False

    def __enter__(self) -> _Switch:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._guarded(self._switch)
        elif isinstance(error, Exception):
            self._back(error)

    def unconfigure(self) -> None:
        """Quiesce the present state and take it off the host."""
        vdb = self._vdb
        vdb.plugin("virtual.unconfigure")
        self._unconfigured = True
        vdb.unmount(self._old)

    def mount(self) -> None:
        """Put the new state where the plugin wants it."""
        self.new = self._vdb.specify_mounts(self.new)
        self._mounting = True
        self._vdb.mount(self.new)
        self._vdb.standing_on = self.new

    def configured(self, value: Any) -> None:
        """The plugin has made the new state usable and said what it is."""
        self.new = replace(self.new, source_config=self._vdb.kept_source_config(value))
        self._configured = True
        self._vdb.standing_on = self.new

    def retire_undo_state(self) -> None:
        """The state that could be returned to until now is not needed any more; what fails here is told."""
        if self._undo_state is not None:
            self._vdb.quietly(retire, self._vdb, self._undo_state)

    def _switch(self) -> None:
        vdb = self._vdb
        retired = vdb.source.retired
        if self._undo_state is not None and not self._keep:
            retired = (*retired, self._undo_state)
        vdb.record(
            "switch to the new state",
            current=self.new,
            previous=self._old,
            retired=retired,
            active=True,
            generation=vdb.source.generation + (0 if self._keep else 1),
        )
        vdb.job.committed(f"the new state of {vdb.source.name} is in force")

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._back(error)
            raise

    def _back(self, error: Exception) -> None:
        """Have the old state in force again and leave nothing of the new one."""
        vdb = self._vdb
        vdb.job.compensating(error)
        vdb.standing_on = None
        if self._mounting:
            if self._configured:
                vdb.quietly(vdb.plugin, "virtual.unconfigure", self.new)
            vdb.quietly(vdb.unmount, self.new, force=True)
        if not self._keep:
            vdb.quietly(vdb.delete_volume, self.new.volume)
        if not self._unconfigured and not self._was_unconfigured():
            return
        if not vdb.quietly(bring_back, vdb, self._old, self._value):
            vdb.quietly(vdb.unmount, self._old, force=True)
            vdb.quietly(vdb.record, "note that it is out of force", state=DISABLED, active=False)
            vdb.job.log(
                f"{vdb.source.name} is disabled now, with its data as they were; "
                "enable it when the cause is gone."
            )

    def _was_unconfigured(self) -> bool:
        """Whether an unconfigure that failed has ended it all the same; a plugin without status says no."""
        said: list[str] = []
        self._vdb.quietly(lambda: said.append(self._vdb.plugin("virtual.status")))
        return said == ["INACTIVE"] and self._vdb.source.active


def _require(vdb: Operation) -> None:
    vdb.require(ENABLED)
    require_snapshot(vdb)
