"""The whole life of a PostgreSQL dSource and its VDBs, with real servers, mounts and a load of writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine import Engine
from dlpx_remote.engine_jobs import JobFailed
from dlpx_remote.workflows.sources import Hook, Script
from tests.hosts.examples import POSTGRES
from tests.hosts.lifecycle.postgres_site import PostgresSite, postgres_site

MASK = Hook("configure-clone", "mask", Script(script=(POSTGRES / "hooks" / "mask-cards.sh").read_text()))
CARD = "4111 1111 1111 1111"
NOTHING: dict[str, object] = {
    "volumes": [],
    "mounts": [],
    "ledger": [],
    "targets": [],
    "scratch": [],
    "servers": [],
}


@pytest.fixture
def site(clean_home: Path) -> Iterator[PostgresSite]:
    """A source with an engine beside it."""
    with postgres_site() as made:
        yield made


def test_a_database_lives_through_every_operation_and_leaves_nothing(site: PostgresSite) -> None:
    one, two = free_port("127.0.0.1"), free_port("127.0.0.1")
    with site.open() as engine:
        jobs = engine.jobs
        jobs.result(
            engine.dsources.link(
                "shop", "here", str(site.root / "source/data"), staging="here", parameters=site.linked()
            )
        )
        snapshots, bounds = [], []
        with site.load():
            for _ in range(3):
                before = site.entries(site.port)
                snapshots.append(jobs.result(engine.dsources.sync("shop"))["snapshot"])
                bounds.append((before, site.entries(site.port)))
        assert engine.dsources.status("shop") == "ACTIVE"
        _refuses_what_cannot_be(site, engine, one)

        for name, port, number, hooks in (("one", one, 0, []), ("two", two, 2, [MASK])):
            parameters = site.virtual(name, port)
            jobs.result(
                engine.vdbs.provision(name, snapshots[number], "here", parameters=parameters, hooks=hooks)
            )
            assert bounds[number][0] <= site.entries(port) <= bounds[number][1]
        assert (site.cards(one), site.cards(two)) == ({CARD}, {"xxxx xxxx xxxx 1111"})
        counts = {port: site.entries(port) for port in (one, two)}
        at_source = site.entries(site.port)

        with site.connect(one) as connection:
            connection.execute("DELETE FROM entries")
            connection.execute("UPDATE total SET entries = 0")
        assert (site.entries(one), site.entries(two), site.entries(site.port)) == (0, counts[two], at_source)
        kept = jobs.result(engine.vdbs.snapshot("one"))["snapshot"]

        jobs.result(engine.vdbs.refresh("one", snapshots[2]))
        assert site.entries(one) == counts[two]
        jobs.result(engine.vdbs.rollback("one", kept))
        assert site.entries(one) == 0

        jobs.result(engine.vdbs.stop("two"))
        assert engine.vdbs.status("two") == "INACTIVE"
        jobs.result(engine.vdbs.start("two"))
        jobs.result(engine.vdbs.disable("two"))
        jobs.result(engine.dsources.disable("shop"))
        assert engine.vdbs.status("two") == engine.dsources.status("shop") == "INACTIVE"
        jobs.result(engine.dsources.enable("shop"))
        jobs.result(engine.vdbs.enable("two"))
        assert site.entries(two) == counts[two]
        assert (site.cards(two), site.cards(site.port)) == ({"xxxx xxxx xxxx 1111"}, {CARD})
        assert engine.dsources.status("shop") == "ACTIVE"

        for name in ("one", "two"):
            jobs.result(engine.vdbs.delete(name))
        jobs.result(engine.dsources.delete("shop"))
    assert site.left() == NOTHING


def _refuses_what_cannot_be(site: PostgresSite, engine: Engine, port: int) -> None:
    """A source that is stopped and a user who may not mount: told in words, and nothing is left of it."""
    before, snapshots = site.left(), len(engine.snapshots.all("shop"))
    with site.stopped(), pytest.raises(JobFailed, match="could not ask the source") as caught:
        engine.jobs.result(engine.dsources.sync("shop"))
    assert "refused" in caught.value.output
    privilege = engine.environment("here").privilege
    engine.set_privilege("here", "sudo" if os.geteuid() == 0 else "none")
    job = engine.vdbs.provision("one", "shop", "here", parameters=site.virtual("one", port))
    with pytest.raises(JobFailed, match=r"may not run|become so") as caught:
        engine.jobs.result(job)
    assert caught.value.action
    assert engine.jobs.get(job).state == "compensated"
    engine.set_privilege("here", privilege)
    assert (site.left(), len(engine.snapshots.all("shop"))) == (before, snapshots)
