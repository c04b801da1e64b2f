"""The engine's Python API for what happens by the clock, and the clock itself, which a worker runs.

Besides schedules it runs the staging workers of dSources at their intervals, forgets old jobs, and looks at
each host once a minute: where one was rebooted, what was active there is mounted and started again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from dlpx_remote.engine_common import Asked, Parts
from dlpx_remote.engine_dsources import Dsources
from dlpx_remote.engine_reboots import EVERY, Reboots
from dlpx_remote.engine_vdbs import Vdbs
from dlpx_remote.errors import NotFound, RemoteError
from dlpx_remote.jobs.base import Busy
from dlpx_remote.redaction import redact
from dlpx_remote.store import Store
from dlpx_remote.store.outbox import Outbox
from dlpx_remote.workflows.removal import dependants_of_snapshot
from dlpx_remote.workflows.scheduling import (
    Due,
    Retention,
    Schedule,
    ScheduleRecords,
    StatusCheck,
    superfluous,
)
from dlpx_remote.workflows.source_records import READY
from dlpx_remote.workflows.sources import ENABLED, Source

if TYPE_CHECKING:
    from dlpx_remote.engine_sources import Snapshots

__all__ = ["Retention", "Schedule", "Schedules", "StatusCheck"]

_LOG = logging.getLogger(__name__)
_LATER = Asked(detach=True, wait=True)
TICK = 5.0
"""Seconds between two looks at the clock."""
_PARALLEL = 8

Say = Callable[[str], None]


class Schedules:
    """Schedules: ``engine.schedules``.

    Args:
        store: the opened state.
        parts: what the rest of the API is made of.
        dsources, vdbs, snapshots: what is asked when something is due.
    """

    def __init__(
        self, store: Store, parts: Parts, *, dsources: Dsources, vdbs: Vdbs, snapshots: Snapshots
    ) -> None:
        self._parts = parts
        self._dsources = dsources
        self._vdbs = vdbs
        self._snapshots = snapshots
        self._records = ScheduleRecords(store)
        self._reboots = Reboots(store, parts, dsources, vdbs)
        self._outbox = Outbox(store)
        self._workers: dict[tuple[str, str], bool] = {}
        self._at_work: dict[str, Future[None]] = {}

    def add(
        self,
        source: str,
        action: str,
        cron: str,
        *,
        zone: str = "UTC",
        retention: Retention | None = None,
        now: datetime | None = None,
    ) -> Schedule:
        """Have something done again and again, while a worker runs.

        Args:
            source: name or reference of a dSource or VDB.
            action: ``sync`` (dSource), ``snapshot``, ``refresh`` (VDB), ``status`` or ``retention``.
            cron: five fields, as crontab has them.
            zone: the time zone that they are meant in.
            retention: for the action of that name.
            now: the moment to begin at; None is this one.

        Raises:
            InvalidRequest: the action is not for such a source, or the expression or zone cannot be read.
        """
        found = self._parts.records.get(source)
        moment = now or datetime.now(UTC)
        return self._records.add(found, action, cron=cron, zone=zone, retention=retention, now=moment)

    def all(self, source: str | None = None) -> list[Schedule]:
        """All, or those of one dSource or VDB; the next one first."""
        return self._records.all(None if source is None else self._parts.records.get(source).reference)

    def get(self, reference: str) -> Schedule:
        """By reference; NotFound names the nearest known one."""
        return self._records.get(reference)

    def remove(self, reference: str) -> Schedule:
        """Forget it."""
        return self._records.remove(reference)

    def enable(self, reference: str, enabled: bool = True) -> Schedule:
        """Have it run, or not."""
        return self._records.enable(reference, enabled, datetime.now(UTC))

    def run(self, reference: str) -> list[str]:
        """Do now what a schedule does; its times stay as they are. What came of it, a sentence each."""
        return self._do(self._records.get(reference))

    def statuses(self, source: str, newest: int = 50) -> list[StatusCheck]:
        """What checks of the status of a dSource or VDB found, the newest first."""
        return self._records.statuses(self._parts.records.get(source).reference, newest)

    def work(self, stop: threading.Event, say: Say) -> None:
        """Be the clock until ``stop`` is set.

        Args:
            stop: ends it; what has begun is finished first.
            say: told in a sentence what was begun, missed, noticed, or went wrong.
        """
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="clock") as pool:
            while not stop.is_set():
                try:
                    self.tick(datetime.now(UTC), pool, say)
                except RemoteError as error:
                    say(redact(str(error)))
                stop.wait(TICK)

    def tick(self, now: datetime, pool: ThreadPoolExecutor, say: Say) -> None:
        """Begin everything that is due at ``now`` and that no other worker has begun."""
        kept = self._parts.jobs.kept
        if kept is not None and self._records.take_turn("prune jobs", timedelta(days=1), now):
            self._begin(pool, "prune jobs", partial(self._prune, kept, say), say)
        for due in self._records.take_due(now):
            self._begin(pool, due.schedule.reference, partial(self._run_due, due, say), say)
        sources = [one for one in self._parts.records.all() if one.state == ENABLED]
        for source in sources:
            if self._has_worker(source):
                every = timedelta(seconds=source.interval)
                if self._records.take_turn(f"worker {source.reference}", every, now):
                    self._begin(pool, source.reference, partial(self._stage, source), say)
        for environment in sorted({one.place[0] for one in sources}):
            if self._records.take_turn(f"boot {environment}", EVERY, now):
                self._begin(pool, environment, partial(self._reboots.look, environment, now, say), say)

    def _prune(self, kept: timedelta, say: Say) -> None:
        count = self._parts.jobs.prune(kept)
        if count:
            say(f"Forgot {count} jobs that ended more than {kept.days} days ago.")

    def _begin(self, pool: ThreadPoolExecutor, key: str, what: Callable[[], None], say: Say) -> None:
        """Do something in the background, unless the last time of it still runs."""
        running = self._at_work.get(key)
        if running is not None and not running.done():
            return

        def carefully() -> None:
            try:
                what()
            except RemoteError as error:
                say(redact(f"{key}: {error}"))
            except Exception:
                _LOG.exception("the clock: %s", key)
                say(f"{key}: something unexpected went wrong; see the log.")

        self._at_work[key] = pool.submit(carefully)

    def _run_due(self, due: Due, say: Say) -> None:
        schedule = due.schedule
        what = f"{schedule.reference} {schedule.action} {schedule.source}"
        if due.missed:
            self._outbox.put(
                "schedule.missed",
                {
                    "schedule": schedule.reference,
                    "action": schedule.action,
                    "object": schedule.source,
                    "runs": due.missed + 1,
                    "since": schedule.next.isoformat(),
                },
            )
            say(
                f"{what}: {due.missed + 1} runs since {schedule.next:%Y-%m-%d %H:%M} UTC found no worker; "
                "it is run once now."
            )
        if schedule.last_job is not None and self._runs(schedule.last_job):
            say(f"{what}: left out, as {schedule.last_job} still runs.")
            return
        try:
            for sentence in self._do(schedule):
                say(f"{what}: {sentence}")
        except RemoteError as error:
            self._records.record_run(schedule.reference, None, redact(str(error)))
            say(f"{what}: {redact(str(error))}")

    def _do(self, schedule: Schedule) -> list[str]:
        source = schedule.source_reference
        job = None
        match schedule.action:
            case "sync":
                job = self._dsources.sync(source, scheduled=True, asked=_LATER)
            case "snapshot":
                job = self._vdbs.snapshot(source, asked=_LATER)
            case "refresh":
                job = self._vdbs.refresh(source, asked=_LATER)
            case "status":
                said = [self._check(schedule)]
            case _:
                said = self._tidy(schedule)
        if job is not None:
            said = [job]
        self._records.record_run(schedule.reference, job, None)
        return said

    def _check(self, schedule: Schedule) -> str:
        asked = self._dsources if schedule.kind == "dsource" else self._vdbs
        check = asked.check(schedule.source_reference, schedule.reference)
        return f"{check.status} {check.error}".rstrip()

    def _tidy(self, schedule: Schedule) -> list[str]:
        records = self._parts.records
        snapshots = [one for one in records.snapshots(schedule.source_reference) if one.state == READY]
        needed = {one.reference for one in snapshots if dependants_of_snapshot(records, one.reference)}
        going = superfluous(snapshots, needed, schedule.retention or Retention(), datetime.now(UTC))
        return [self._snapshots.delete(one.reference, asked=_LATER) for one in going]

    def _stage(self, source: Source) -> None:
        with contextlib.suppress(Busy):  # the next time is soon enough
            self._dsources.run_worker(source.reference)

    def _has_worker(self, source: Source) -> bool:
        if source.kind != "dsource" or not source.staged:
            return False
        plugin = self._parts.plugins.get_summary(source.plugin)
        build = (plugin.identifier, plugin.build_number)
        if build not in self._workers:
            operations = self._parts.plugins.get(plugin.identifier).operations
            has = any(one.name == "linked.worker" and one.implemented for one in operations)
            self._workers[build] = has
        return self._workers[build]

    def _runs(self, job: str) -> bool:
        try:
            return not self._parts.jobs.get(job).state.ended
        except NotFound:
            return False
