"""What workers do by the clock, on a real host."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from dlpx_remote.engine import Engine
from dlpx_remote.engine_events import Webhook
from dlpx_remote.engine_schedules import Retention
from dlpx_remote.engine_sources import Given
from dlpx_remote.jobs.model import ACTIVE, JobState
from dlpx_remote.store import Store
from dlpx_remote.store.models import EnvironmentRow
from dlpx_remote.workflows.reboots import Boot, BootRecords
from tests.hosts.lifecycle.site import Site
from tests.unit.events.test_webhook import Receiver, receiver

__all__ = ["receiver"]

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
EVERY_MINUTE = "* * * * *"


@pytest.fixture
def engine(site: Site) -> Iterator[Engine]:
    """An engine with a dSource and a VDB, which also is a worker: it takes what the clock leaves to one."""
    with site.open() as engine:
        engine.jobs.open_for_work(parallel=4)
        engine.jobs.result(
            engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin="Trees")
        )
        engine.jobs.result(engine.dsources.sync("orders"))
        path = str(site.targets / "copy")
        engine.jobs.result(engine.vdbs.provision("copy", "orders", "here", parameters=Given({"path": path})))
        yield engine
        engine.jobs.result(engine.dsources.delete("orders", force=True))


def look(engine: Engine, now: datetime) -> list[str]:
    """One look at the clock, and everything that it began worked off; what was said."""
    said: list[str] = []
    with ThreadPoolExecutor() as pool:
        engine.schedules.tick(now, pool, said.append)
    for job in engine.jobs.all((JobState.QUEUED, *ACTIVE)):
        assert engine.jobs.follow(job.reference, timeout=120).state.ended
    return said


def told(engine: Engine, receiver: Receiver, kind: str) -> list[dict[str, object]]:
    """The details of the events of a kind that a webhook was told of."""
    engine.events.deliver(datetime.now(UTC))
    bodies = [json.loads(body) for _, body in receiver.got]
    return [body["details"] for body in bodies if body["event"] == kind]


def test_schedules_sync_snapshot_refresh_check_and_tidy(engine: Engine, site: Site) -> None:
    for source, action in (("orders", "sync"), ("copy", "snapshot"), ("copy", "status")):
        engine.schedules.add(source, action, EVERY_MINUTE, now=NOW)
    (site.sources / "orders" / "row2").write_text("new")

    said = look(engine, NOW + timedelta(minutes=1))

    jobs = {job.operation for job in engine.jobs.all((JobState.SUCCEEDED,))}
    assert {"dsource sync", "vdb snapshot"} <= jobs
    assert [one.value for one in engine.snapshots.all("orders")] == [{"rows": 1}, {"rows": 2}]
    assert [(one.status, one.error) for one in engine.schedules.statuses("copy")] == [("ACTIVE", "")]
    assert any("status copy: ACTIVE" in line for line in said)
    assert look(engine, NOW + timedelta(minutes=1, seconds=10)) == [], "nothing is due twice"

    engine.schedules.add("copy", "refresh", EVERY_MINUTE, now=NOW)
    tidy = engine.schedules.add("orders", "retention", EVERY_MINUTE, retention=Retention(count=1), now=NOW)
    for one in engine.schedules.all():
        engine.schedules.enable(one.reference, one.action == "refresh")
    assert engine.schedules.run(tidy.reference) == [], "the VDB still stands on the older snapshot"
    # Switched on just now, it is due a minute from this moment, not from the one the tests were collected at.
    look(engine, datetime.now(UTC) + timedelta(minutes=2))
    assert (site.targets / "copy" / "row2").read_text() == "new"


def test_runs_that_no_worker_began_are_made_once_and_told(
    engine: Engine, site: Site, receiver: Receiver
) -> None:
    engine.events.configure(Webhook(receiver.url))
    added = engine.schedules.add("copy", "status", "*/10 * * * *", now=NOW)

    said = look(engine, NOW + timedelta(hours=2))

    assert told(engine, receiver, "schedule.missed") == [
        {
            "schedule": added.reference,
            "action": "status",
            "object": "copy",
            "runs": 12,
            "since": added.next.isoformat(),
        }
    ]
    assert len(engine.schedules.statuses("copy")) == 1
    assert any("12 runs since" in line and "it is run once now" in line for line in said), said
    assert engine.vdbs.status("copy") == "ACTIVE"
    assert [one.asked_by for one in engine.schedules.statuses("copy")] == ["", added.reference]
    after = engine.schedules.get(added.reference)
    assert after.missed == 11
    assert after.next > NOW + timedelta(hours=2)


def test_what_cannot_be_asked_is_unknown_and_says_why(engine: Engine, site: Site) -> None:
    engine.schedules.add("copy", "status", EVERY_MINUTE, now=NOW)
    store = Store(site.state)
    with store.write() as session:
        row = session.scalars(select(EnvironmentRow)).one()
        port, row.port = row.port, 1
    with Engine(site.state) as another:
        with ThreadPoolExecutor() as pool:
            another.schedules.tick(NOW + timedelta(minutes=1), pool, list[str]().append)
        (check,) = another.schedules.statuses("copy")
    with store.write() as session:
        session.scalars(select(EnvironmentRow)).one().port = port
    store.close()

    assert check.status == "UNKNOWN"
    assert "refuses connections" in check.error


def test_a_webhook_is_told_when_a_check_finds_another_status(
    engine: Engine, site: Site, receiver: Receiver
) -> None:
    engine.events.configure(Webhook(receiver.url))
    engine.schedules.add("copy", "status", EVERY_MINUTE, now=NOW)
    running = site.targets / "copy" / "RUNNING"
    for minute in (1, 2):
        look(engine, NOW + timedelta(minutes=minute))
    assert told(engine, receiver, "status.changed") == [], "it is as it was"
    running.rename(running.with_name("elsewhere"))
    look(engine, NOW + timedelta(minutes=3))
    running.with_name("elsewhere").rename(running)
    assert engine.vdbs.status("copy") == "ACTIVE"

    down, up = told(engine, receiver, "status.changed")
    assert down == {"object": "copy", "before": "ACTIVE", "status": "INACTIVE", "error": ""}
    assert up == {"object": "copy", "before": "INACTIVE", "status": "ACTIVE", "error": ""}


def test_after_a_reboot_what_was_active_is_mounted_and_started(
    engine: Engine, site: Site, receiver: Receiver
) -> None:
    """The host is this machine, which cannot be rebooted: the boot that was seen before is made up."""
    engine.events.configure(Webhook(receiver.url))
    here = engine.environment("here").reference
    look(engine, NOW)
    store = Store(site.state)
    known = BootRecords(store).get(here)
    assert known is not None
    assert known.pending == {}
    copy = site.targets / "copy"
    (copy / "RUNNING").unlink()
    subprocess.run(["umount", copy], check=True)
    BootRecords(store).put(here, Boot("another boot", None, {}))

    said = look(engine, NOW + timedelta(minutes=1))

    assert "here was rebooted: bringing 1 of its sources up again." in said
    assert told(engine, receiver, "host.rebooted") == [{"environment": "here", "sources_to_bring_up": 1}]
    assert (copy / "RUNNING").exists()
    look(engine, NOW + timedelta(minutes=2))
    settled = BootRecords(store).get(here)
    store.close()
    assert settled is not None
    assert (settled.boot, settled.noticed, settled.pending) == (known.boot, None, {})


def test_what_does_not_come_up_is_tried_for_half_an_hour(engine: Engine, site: Site) -> None:
    here = engine.environment("here").reference
    look(engine, NOW)
    store = Store(site.state)
    BootRecords(store).put(here, Boot("another boot", None, {}))
    copy = site.targets / "copy"
    (copy / "RUNNING").unlink()
    (copy / "RUNNING").mkdir()  # so that the plugin's start fails

    said = [look(engine, NOW + timedelta(minutes=minute)) for minute in (1, 2, 20)]
    tried = [job for job in engine.jobs.all() if job.operation == "vdb start"]
    assert len(tried) == 3, said
    given_up = look(engine, NOW + timedelta(minutes=40))
    boot = BootRecords(store).get(here)
    store.close()
    (copy / "RUNNING").rmdir()

    assert any("copy is not up on here after half an hour" in line for line in given_up)
    assert boot is not None
    assert boot.pending == {}


def test_the_staging_worker_and_the_clock_run_in_a_worker(engine: Engine) -> None:
    engine.schedules.add("copy", "status", EVERY_MINUTE, now=NOW - timedelta(minutes=2))
    stop, said = threading.Event(), list[str]()
    working = threading.Thread(target=engine.schedules.work, args=(stop, said.append))
    working.start()
    try:
        for _ in range(100):
            if engine.schedules.statuses("copy"):
                break
            stop.wait(0.1)
    finally:
        stop.set()
        working.join(timeout=30)

    assert not working.is_alive()
    assert engine.schedules.statuses("copy")[0].status == "ACTIVE"
