"""What the kill tests kill: every engine operation, what is there before it, and what data it leaves.

Every dSource and VDB has a hook at each of its points, so that hooks are among the steps; what they did is
seen in ``calls`` beside the plugin's operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlpx_remote.engine import Engine
from dlpx_remote.engine_sources import Given, Hook, Script
from dlpx_remote.workflows.sources import DSOURCE_EVENTS, EVENTS
from tests.hosts.lifecycle.site import Site

BAD = Script(script="echo it does not work; exit 1")

Ask = Callable[[Engine, Site], str | None]
"""Asks for a job, or does something that is none."""


def _noted(site: Site, events: tuple[str, ...]) -> tuple[Hook, ...]:
    """A hook at each point, which writes down that it ran."""
    return tuple(
        Hook(event, f"note-{event}", Script(script=f"echo {event} hook note-{event} >>{site.root}/calls"))
        for event in events
    )


def _path(site: Site, name: str) -> Given:
    return Given({"path": str(site.targets / name)})


def _link(engine: Engine, site: Site, *, staged: bool = False) -> str:
    plugin = "Staged trees" if staged else "Trees"
    more: dict[str, Any] = {"staging": "here", "parameters": _path(site, "staging")} if staged else {}
    hooks = _noted(site, DSOURCE_EVENTS)
    return engine.dsources.link(
        "orders", "here", str(site.sources / "orders"), plugin=plugin, hooks=hooks, **more
    )


def _provision(engine: Engine, site: Site, more: tuple[Hook, ...] = ()) -> str:
    hooks = (*_noted(site, tuple(event for event in EVENTS if event not in DSOURCE_EVENTS)), *more)
    return engine.vdbs.provision("one", "orders", "here", parameters=_path(site, "one"), hooks=hooks)


def _create_empty(engine: Engine, site: Site) -> str:
    hooks = _noted(site, ("configure-clone",))
    return engine.vdbs.create_empty("one", "Trees", "here", parameters=_path(site, "one"), hooks=hooks)


def _write(name: str) -> Ask:
    def write(_engine: Engine, site: Site) -> None:
        (site.targets / "one" / name).write_text(name)

    return write


def _sync(engine: Engine, _site: Site) -> str:
    return engine.dsources.sync("orders")


def _bad(event: str) -> list[Hook]:
    return [Hook(event, "bad", BAD)]


BEFORE: dict[str, tuple[str | None, tuple[Ask, ...]]] = {
    "nothing": (None, ()),
    "linked": ("nothing", (_link,)),
    "synced": ("linked", (_sync,)),
    "disabled dSource": ("synced", (lambda engine, _site: engine.dsources.disable("orders"),)),
    "cloned": (
        "synced",
        (
            _provision,
            _write("mine"),
            lambda engine, _site: engine.vdbs.snapshot("one"),
            _write("later"),
            _sync,
        ),
    ),
    "refreshed": ("cloned", (lambda engine, _site: engine.vdbs.refresh("one"),)),
    "stopped": ("cloned", (lambda engine, _site: engine.vdbs.stop("one"),)),
    "disabled": ("cloned", (lambda engine, _site: engine.vdbs.disable("one"),)),
    "staged, linked": ("nothing", (lambda engine, site: _link(engine, site, staged=True),)),
    "staged": ("staged, linked", (_sync,)),
    "staged, disabled": ("staged", (lambda engine, _site: engine.dsources.disable("orders"),)),
}
"""What is there before an operation, by name: what is there before that, and what is done then."""

MINE = frozenset({"row1", "mine", "later"})
"""In the VDB of ``cloned``: what was provisioned, and what was written before and after its snapshot."""
NEW = frozenset({"row1"})


@dataclass(frozen=True)
class Killed:
    """An operation that is killed.

    Attributes:
        before: what is there before it, by its name in :data:`BEFORE`.
        ask: asks for it.
        succeeded, undone: what is in the VDB then, of :data:`MINE`; None where there is none.
        undoing_only: only the steps that undo are of interest: the others are those of another entry.
        forced: it goes on where something fails.
        fails: it ends without success, killed or not.
    """

    before: str
    ask: Ask
    succeeded: frozenset[str] | None = None
    undone: frozenset[str] | None = None
    undoing_only: bool = False
    forced: bool = False

    @property
    def fails(self) -> bool:
        """It ends without success, killed or not."""
        return self.undoing_only


def _on_vdb(before: str, ask: Ask, **more: Any) -> Killed:
    return Killed(before, ask, **{"succeeded": MINE, "undone": MINE, **more})


OPERATIONS: dict[str, Killed] = {
    "dsource link": Killed("nothing", _link),
    "dsource sync": Killed("linked", _sync),
    "dsource sync, failing": Killed(
        "linked",
        lambda engine, _site: engine.dsources.sync("orders", hooks=_bad("pre-sync")),
        undoing_only=True,
    ),
    "dsource disable": Killed("synced", lambda engine, _site: engine.dsources.disable("orders")),
    "dsource enable": Killed("disabled dSource", lambda engine, _site: engine.dsources.enable("orders")),
    "dsource delete": Killed("synced", lambda engine, _site: engine.dsources.delete("orders")),
    "dsource delete --force": Killed(
        "cloned", lambda engine, _site: engine.dsources.delete("orders", force=True), forced=True
    ),
    "staged link": Killed("nothing", lambda engine, site: _link(engine, site, staged=True)),
    "staged sync": Killed("staged, linked", _sync),
    "staged sync again": Killed("staged", _sync),
    "staged disable": Killed("staged", lambda engine, _site: engine.dsources.disable("orders")),
    "staged enable": Killed("staged, disabled", lambda engine, _site: engine.dsources.enable("orders")),
    "staged restart": Killed("staged", lambda engine, _site: engine.dsources.restart("orders")),
    "staged worker": Killed("staged", lambda engine, _site: engine.dsources.run_worker("orders")),
    "staged delete": Killed("staged", lambda engine, _site: engine.dsources.delete("orders")),
    "vdb provision": Killed("synced", _provision, succeeded=NEW),
    "vdb provision, failing": Killed(
        "synced",
        lambda engine, site: _provision(engine, site, (Hook("configure-clone", "bad", BAD),)),
        undoing_only=True,
    ),
    "vdb create-empty": Killed("synced", _create_empty, succeeded=frozenset()),
    "vdb snapshot": _on_vdb("cloned", lambda engine, _site: engine.vdbs.snapshot("one")),
    "vdb snapshot, failing": _on_vdb(
        "cloned",
        lambda engine, _site: engine.vdbs.snapshot("one", hooks=_bad("pre-snapshot")),
        undoing_only=True,
    ),
    "vdb refresh": _on_vdb("cloned", lambda engine, _site: engine.vdbs.refresh("one"), succeeded=NEW),
    "vdb refresh again": Killed(
        "refreshed", lambda engine, _site: engine.vdbs.refresh("one"), succeeded=NEW, undone=NEW
    ),
    "vdb refresh, failing": _on_vdb(
        "cloned",
        lambda engine, _site: engine.vdbs.refresh("one", hooks=_bad("post-refresh")),
        undoing_only=True,
    ),
    "vdb rollback": _on_vdb(
        "cloned", lambda engine, _site: engine.vdbs.rollback("one"), succeeded=MINE - {"later"}
    ),
    "vdb rollback, failing": _on_vdb(
        "cloned",
        lambda engine, _site: engine.vdbs.rollback("one", hooks=_bad("post-rollback")),
        undoing_only=True,
    ),
    "vdb undo": Killed(
        "refreshed", lambda engine, _site: engine.vdbs.undo("one"), succeeded=MINE, undone=NEW
    ),
    "vdb undo, failing": Killed(
        "refreshed",
        lambda engine, _site: engine.vdbs.undo("one", hooks=_bad("post-rollback")),
        undone=NEW,
        undoing_only=True,
    ),
    "vdb start": _on_vdb("stopped", lambda engine, _site: engine.vdbs.start("one")),
    "vdb stop": _on_vdb("cloned", lambda engine, _site: engine.vdbs.stop("one")),
    "vdb disable": _on_vdb("cloned", lambda engine, _site: engine.vdbs.disable("one")),
    "vdb enable": _on_vdb("disabled", lambda engine, _site: engine.vdbs.enable("one")),
    "vdb enable, failing": _on_vdb(
        "disabled",
        lambda engine, _site: engine.vdbs.enable("one", hooks=_bad("post-start")),
        undoing_only=True,
    ),
    "vdb delete": _on_vdb("cloned", lambda engine, _site: engine.vdbs.delete("one")),
    "vdb delete --force": _on_vdb(
        "cloned", lambda engine, _site: engine.vdbs.delete("one", force=True), forced=True
    ),
    "snapshot delete": Killed("synced", lambda engine, _site: engine.snapshots.delete("SNAPSHOT-1")),
    "snapshot delete --force": _on_vdb(
        "cloned", lambda engine, _site: engine.snapshots.delete("SNAPSHOT-1", force=True), forced=True
    ),
}
"""What is killed, by name."""

ON_BTRFS = ("snapshot ", "clone ", "make the data set ", "remove ")
"""How the titles of steps begin that do something else on another kind of pool."""
