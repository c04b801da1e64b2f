"""The whole life of a dSource and its VDBs on a real host, with real mounts: then nothing is left."""

from __future__ import annotations

from pathlib import Path

from dlpx_remote.engine_sources import Given
from tests.hosts.lifecycle.site import NOTHING, Site


def rows(path: Path) -> set[str]:
    """The rows of a tree, whatever else the plugin or the operator put there."""
    return {each.name for each in path.iterdir() if each.name.startswith("row")}


def test_a_dsource_and_its_vdbs_live_and_leave_nothing(site: Site) -> None:
    one, two = site.targets / "one", site.targets / "two"
    with site.open() as engine:
        jobs = engine.jobs
        jobs.result(engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin="Trees"))
        snapshots = []
        for number in (2, 3, 4):
            snapshots.append(jobs.result(engine.dsources.sync("orders"))["snapshot"])
            (site.sources / "orders" / f"row{number}").write_text(f"orders {number}")
        assert [each.value for each in engine.snapshots.all("orders")] == [{"rows": n} for n in (1, 2, 3)]

        for name, origin, path in (("one", snapshots[0], one), ("two", snapshots[2], two)):
            jobs.result(engine.vdbs.provision(name, origin, "here", parameters=Given({"path": str(path)})))
        assert (rows(one), rows(two)) == ({"row1"}, {"row1", "row2", "row3"})
        assert engine.vdbs.status("one") == "ACTIVE"

        (one / "row1").write_text("changed in the clone")
        (one / "row_mine").write_text("mine")
        assert (two / "row1").read_text() == "orders 1"
        assert (site.sources / "orders" / "row1").read_text() == "orders 1"
        kept = jobs.result(engine.vdbs.snapshot("one"))["snapshot"]

        jobs.result(engine.vdbs.refresh("one"))
        assert rows(one) == {"row1", "row2", "row3"}
        jobs.result(engine.vdbs.rollback("one", kept))
        assert rows(one) == {"row1", "row_mine"}
        assert (one / "row1").read_text() == "changed in the clone"
        jobs.result(engine.vdbs.undo("one"))
        assert rows(one) == {"row1", "row2", "row3"}

        jobs.result(engine.vdbs.stop("two"))
        assert engine.vdbs.status("two") == "INACTIVE"
        jobs.result(engine.vdbs.start("two"))
        jobs.result(engine.vdbs.disable("two"))
        assert not two.exists() or rows(two) == set()
        assert engine.vdbs.status("two") == "INACTIVE"
        jobs.result(engine.vdbs.enable("two"))
        assert rows(two) == {"row1", "row2", "row3"}

        for name in ("one", "two"):
            jobs.result(engine.vdbs.delete(name))
        jobs.result(engine.dsources.delete("orders"))
    assert site.left() == NOTHING
