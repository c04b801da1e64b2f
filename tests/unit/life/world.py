"""The life cycle on real state and real plugin processes, with this machine as every host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dlpx_remote.environments.directories import HostDirectories
from dlpx_remote.environments.model import Authentication, Environment, EnvironmentSpec, EnvironmentUser
from dlpx_remote.environments.registry import Registry
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.jobs.inline import InlineJob
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.store import Store
from dlpx_remote.store.models import PluginRow
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.workflows.attaching import Attaching
from dlpx_remote.workflows.hook_records import HookRecords
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.reconcile import Found
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.source_records import SourceRecords
from dlpx_remote.workflows.sources import Source
from tests.unit.environments.local import LocalConnection
from tests.unit.life.recorder import DIRECT_ID, STAGED_ID, write_recorder
from tests.unit.life.rooms import Directories, WrittenDown

INSTALLATION = Found("installation", {"name": "installation"}, {"name": "installation"})
DATABASE = Found("database", {"name": "database"}, {"name": "database"})


def copied(template: Path, root: Path) -> None:
    """A world's directory made like another one, which is quicker than making it anew."""
    shutil.copytree(template, root)
    store = Store(root / "state")
    with store.write() as session:
        for row in session.scalars(select(PluginRow)):
            row.directory = row.directory.replace(str(template), str(root))
    store.close()


class ExpectingJob(InlineJob):
    """A job that keeps how many steps were announced."""

    expected = 0

    def expect(self, steps: int) -> None:
        self.expected = steps


class World:
    """Two environments, ``north`` (source and target) and ``south`` (staging), and the recorder plugin.

    Args:
        root: an empty directory, or one that :func:`copied` made.
        workers: the processes for plugin code.
        staged: link through staging.
        plugin: options of :func:`write_recorder`.
    """

    def __init__(self, root: Path, workers: Workers, *, staged: bool = False, **plugin: Any) -> None:
        self.place = root / "recorder"
        self.home = root / "home"
        self.home.mkdir(exist_ok=True)
        self.staged = staged
        self.store = Store(root / "state")
        self.registry = Registry(self.store)
        self.inventory = Inventory(self.store)
        self.records = SourceRecords(self.store)
        self.hooks = HookRecords(self.store)
        self.plugins = Plugins(self.store, root / "plugins", workers)
        self.mounting = WrittenDown()
        self.pool = Directories(root / "pool", self.mounting)
        self.connection_of = LocalConnection(self.home)
        self.identifier = STAGED_ID if staged else DIRECT_ID
        if not self.registry.all():
            self._fill(root, plugin)
        self.north, self.south = self.registry.get("north"), self.registry.get("south")
        self.secrets = Secrets(environment={"SECRET": "open sesame"})
        (found,) = self.inventory.known(self.north, self.identifier)
        self.repository = found.reference
        self.source_config = found.source_configs[0].reference
        self.rooms = Rooms(
            records=self.records,
            hooks=self.hooks,
            inventory=self.inventory,
            environment=self.registry.get,
            connections=self,
            prepare=self._prepare,
            plugin=lambda identifier: load_plugin(self.plugins.get_summary(identifier).directory),
            workers=workers,
            pool=self.pool,
            attaching=Attaching(self.mounting, self.registry.get, self.connection),
            resolve=self.secrets.supply,
        )
        self._jobs = 0

    def _fill(self, root: Path, plugin: dict[str, Any]) -> None:
        north = self.registry.add(EnvironmentSpec("north", "north.example", "ann"))
        self.registry.add(EnvironmentSpec("south", "south.example", "sue"))
        self.plugins.add(write_recorder(root / "plugin", self.place, staged=self.staged, **plugin))
        found = Found(INSTALLATION.name, INSTALLATION.identity, INSTALLATION.parameters, (DATABASE,))
        self.inventory.record(north, self.identifier, [found], "job", datetime.now(UTC))

    def close(self) -> None:
        self.store.close()

    # connections

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        self.registry.lookup(environment_reference, user_reference)
        return self.connection_of

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        raise AssertionError("no test here becomes root")

    def _prepare(self, environment: Environment, user: EnvironmentUser) -> HostDirectories:
        self.connection_of.facts()
        return HostDirectories("/e", "/e/toolkit", "/e/scratch")

    # the plugin

    def order(self, **operations: str | None) -> None:
        """Have operations (``virtual_configure="fail()"``) give something else than usual."""
        file = self.place / "orders"
        orders = json.loads(file.read_text())
        for name, expression in operations.items():
            group, _, attribute = name.partition("_")
            orders[f"{group}.{attribute}"] = expression
        file.write_text(json.dumps(orders))

    def calls(self) -> list[dict[str, Any]]:
        """What the plugin was asked since the last time."""
        file = self.place / "calls"
        if not file.exists():
            return []
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.unlink()
        return lines

    def called(self) -> list[str]:
        """The names of the operations since the last time."""
        return [call["operation"] for call in self.calls()]

    # operations

    def job(self, **options: Any) -> ExpectingJob:
        """A new job."""
        self._jobs += 1
        return ExpectingJob(f"JOB-{self._jobs}", **options)

    def run(self, workflow: Callable[..., Any], job: InlineJob | None = None, **request: Any) -> Any:
        """Run a workflow; ``source`` may be a source."""
        source = request.get("source")
        if isinstance(source, Source):
            request["source"] = source.reference
        return workflow(self.rooms, job or self.job(), {"hooks": [], **request})

    def new(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        """The request for a new dSource or VDB on ``north``."""
        request: dict[str, Any] = {
            "kind": kind,
            "name": name,
            "plugin": self.identifier,
            "repository": self.repository,
            "environment": self.north.reference,
            "user": self.north.primary_user.reference,
            "parameters": {},
        }
        if kind == "dsource":
            request["source_config"] = self.source_config
            if self.staged:
                request["staging_environment"] = self.south.reference
                request["staging_user"] = self.south.primary_user.reference
        return {**request, **more}

    def user(self) -> EnvironmentUser:
        """A second user of ``north``."""
        environment = self.registry.add_user("north", "second", Authentication(), False)
        return environment.users[-1]

    def volumes(self) -> set[str]:
        """What is in the pool."""
        assert set(self.pool.parents) == {path.name for path in self.pool.root.iterdir()}
        return set(self.pool.parents)
