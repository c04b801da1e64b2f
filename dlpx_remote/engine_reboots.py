"""Looks whether a host was rebooted, and has what was active there mounted and started again.

A reboot shows in the host's boot id. What was active gets a job; one that fails is tried again at the next
look, for half an hour after the reboot was noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from dlpx_remote.engine_common import Asked, Parts
from dlpx_remote.engine_dsources import Dsources
from dlpx_remote.engine_vdbs import Vdbs
from dlpx_remote.environments.model import HostType
from dlpx_remote.errors import NotFound, RemoteError
from dlpx_remote.jobs.model import JobState
from dlpx_remote.redaction import redact
from dlpx_remote.store import Store
from dlpx_remote.store.outbox import Outbox
from dlpx_remote.workflows.reboots import Boot, BootRecords, boot_of
from dlpx_remote.workflows.sources import ENABLED, Source

EVERY = timedelta(seconds=45)
"""Between two looks at a host, so that a reboot is noticed within a minute."""
PATIENCE = timedelta(minutes=30)
_LATER = Asked(detach=True, wait=True)

Say = Callable[[str], None]


class Reboots:
    """Those of all hosts on which something is mounted.

    Args:
        store: the opened state.
        parts: what the rest of the API is made of.
        dsources, vdbs: asked to bring their own up.
    """

    def __init__(self, store: Store, parts: Parts, dsources: Dsources, vdbs: Vdbs) -> None:
        self._parts = parts
        self._dsources = dsources
        self._vdbs = vdbs
        self._records = BootRecords(store)
        self._outbox = Outbox(store)

    def look(self, environment: str, now: datetime, say: Say) -> None:
        """Look at one host, by reference, and do what has to be done.

        A host that does not answer is no error: it may be about to boot.
        """
        found = self._parts.registry.get(environment)
        if found.host_type is HostType.WINDOWS:
            return
        try:
            rooms = self._parts.rooms()
            boot = boot_of(rooms.connections.connection(environment, found.primary_user.reference))
        except RemoteError:
            return
        known = self._records.get(environment)
        if boot is None:
            return
        if known is None:
            self._records.put(environment, Boot(boot, None, {}))
            return
        if boot != known.boot:
            active = {one.reference: None for one in self._on(environment) if one.active}
            if active:
                self._outbox.put(
                    "host.rebooted", {"environment": found.name, "sources_to_bring_up": len(active)}
                )
                say(f"{found.name} was rebooted: bringing {len(active)} of its sources up again.")
            known = Boot(boot, now if active else None, dict(active))
            self._records.put(environment, known)
        if known.noticed is not None:
            self._records.put(environment, self._go_on(known, found.name, now, say))

    def _go_on(self, boot: Boot, host: str, now: datetime, say: Say) -> Boot:
        noticed = boot.noticed or now
        pending: dict[str, str | None] = {}
        for reference, job in boot.pending.items():
            state = self._state(job)
            if state is not None and not state.ended:
                pending[reference] = job
            elif state is not JobState.SUCCEEDED:
                source = self._wanted(reference)
                if source is None:
                    continue
                if now - noticed > PATIENCE:
                    say(f"{source.name} is not up on {host} after half an hour; see {job or 'the log'}.")
                    continue
                pending[reference] = self._try(source, say)
        return Boot(boot.boot, noticed if pending else None, pending)

    def _try(self, source: Source, say: Say) -> str | None:
        try:
            if source.kind == "vdb":
                job = self._vdbs.start(source.reference, asked=_LATER)
            else:
                job = self._dsources.restart(source.reference, asked=_LATER)
        except RemoteError as error:
            say(redact(f"{source.name}: {error}"))
            return None
        say(f"{source.name}: {job}")
        return job

    def _on(self, environment: str) -> list[Source]:
        return [
            one
            for one in self._parts.records.all()
            if one.place[0] == environment and one.state == ENABLED and (one.kind == "vdb" or one.staged)
        ]

    def _wanted(self, reference: str) -> Source | None:
        """The source, if it is still to be up."""
        try:
            source = self._parts.records.get(reference)
        except NotFound:
            return None
        return source if source.state == ENABLED and source.active else None

    def _state(self, job: str | None) -> JobState | None:
        try:
            return None if job is None else self._parts.jobs.get(job).state
        except NotFound:
            return None
