"""A discovery over many environments and plugins, with faults that real hosts do not give to order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.directories import HostDirectories
from dlpx_remote.environments.model import Authentication, Environment, EnvironmentUser, HostType
from dlpx_remote.errors import RemoteError
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.redaction import MASK, REDACTOR
from dlpx_remote.transports.base import ConnectionRefused
from dlpx_remote.workflows.bookkeeping import Forgotten
from dlpx_remote.workflows.discovery import Candidate, Discovery, failure_of, wire_connection
from dlpx_remote.workflows.reconcile import Found
from dlpx_remote.workflows.report import DiscoveredRepository, DiscoveryEvent, PluginDiscovery


def environment(name: str, host_type: HostType = HostType.UNIX) -> Environment:
    user = EnvironmentUser(f"HOST_USER-{name}", "anna", Authentication(), primary=True)
    return Environment(
        f"{host_type.value}_HOST_ENVIRONMENT-{name}", f"UNIX_HOST-{name}", name, "h", None, host_type, (user,)
    )


class Schema:
    def name(self, definition: str, value: dict[str, Any]) -> str:
        return str(value["name"])

    def identity(self, definition: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"name": value["name"]}

    def masked(self, definition: str, value: dict[str, Any]) -> dict[str, Any]:
        return {key: MASK if key == "password" else item for key, item in value.items()}


def candidate(name: str, host_type: str = "UNIX") -> Candidate:
    config = SimpleNamespace(name=name, id=f"id-{name}", host_types=(host_type,))
    return Candidate(
        name, cast(Plugin, SimpleNamespace(config=config, schema=Schema(), directory=Path("/p")))
    )


class World:
    """Hosts and plugins that do as they are told: ``down`` hosts, and what each plugin answers where."""

    def __init__(self) -> None:
        self.down: dict[str, Exception] = {}
        self.answers: dict[tuple[str, str], Callable[[], list[dict[str, Any]]]] = {}
        self.events: list[DiscoveryEvent] = []
        self.asked: list[str] = []
        self.sessions = 0
        self.recorded: dict[str, Sequence[Found]] = {}
        self.book = Forgotten()

    # connections

    def connection_of(self, environment: Environment, user: EnvironmentUser) -> Any:
        name = environment.name
        if name in self.down:
            raise self.down[name]
        return SimpleNamespace(address=name)

    def ask_beforehand(self, environments: Iterator[Environment]) -> None:
        self.asked = [environment.name for environment in environments]

    # bookkeeping

    def prepare(self, environment: Environment, connection: Any) -> HostDirectories:
        return HostDirectories("/r", "/r/toolkit", "/r/scratch")

    def record(
        self, environment: Environment, plugin: Plugin, found: Sequence[Found], job: str, started: datetime
    ) -> tuple[DiscoveredRepository, ...]:
        self.recorded[f"{environment.name}/{plugin.config.name}"] = found
        return self.book.record(environment, plugin, found, job, started)

    # plugins

    @contextmanager
    def session(self, plugin: Plugin, job: str) -> Iterator[Any]:
        self.sessions += 1
        try:
            yield SimpleNamespace(run=lambda operation, **arguments: self.run(plugin, operation, arguments))
        finally:
            self.sessions -= 1

    def run(self, plugin: Plugin, operation: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        place = arguments["source_connection"]["environment"]["name"]
        if operation == "discovery.source_config":
            return [{"name": f"config of {arguments['repository']['name']}"}]
        return self.answers.get((place, plugin.config.name), lambda: [{"name": "/a"}, {"name": "/b"}])()

    def discovery(self, **options: Any) -> Discovery:
        options.setdefault("on_event", self.events.append)
        return Discovery(cast(Connections, self), self.session, self, **options)


@pytest.fixture
def world() -> World:
    return World()


def shown(result: PluginDiscovery) -> tuple[str, str, int, str]:
    failure = result.failure.message if result.failure else result.skipped
    return (result.environment, result.plugin, len(result.repositories), failure)


def failing(error: Exception) -> Callable[[], list[dict[str, Any]]]:
    def answer() -> list[dict[str, Any]]:
        raise error

    return answer


def test_every_plugin_runs_on_every_environment_in_the_order_given(world: World) -> None:
    report = world.discovery().run([environment("b"), environment("a")], [candidate("p"), candidate("o")])
    assert [shown(result) for result in report.results] == [
        ("b", "p", 2, ""),
        ("b", "o", 2, ""),
        ("a", "p", 2, ""),
        ("a", "o", 2, ""),
    ]
    assert not report.failed
    repository = report.results[0].repositories[0]
    assert (repository.name, repository.change) == ("/a", "new")
    assert [config.name for config in repository.source_configs] == ["config of /a"]
    assert world.sessions == 0


def test_a_host_that_is_down_fails_its_own_parts_only(world: World) -> None:
    world.down["a"] = ConnectionRefused("Nothing listens on port 22 of a.", "Start sshd.")
    report = world.discovery().run([environment("a"), environment("b")], [candidate("p"), candidate("o")])
    assert [shown(result) for result in report.results] == [
        ("a", "p", 0, "Nothing listens on port 22 of a."),
        ("a", "o", 0, "Nothing listens on port 22 of a."),
        ("b", "p", 2, ""),
        ("b", "o", 2, ""),
    ]
    assert report.failed
    failure = report.results[0].failure
    assert failure is not None
    assert (failure.kind, failure.action) == ("ConnectionRefused", "Start sshd.")
    assert set(world.recorded) == {"b/p", "b/o"}  # of a, nothing that was known is touched


def test_a_plugin_that_fails_fails_its_own_part_only(world: World) -> None:
    world.answers["a", "p"] = failing(RemoteError("No tool.", "Install it.", "Traceback…"))
    report = world.discovery().run([environment("a"), environment("b")], [candidate("p"), candidate("o")])
    assert [bool(result.failure) for result in report.results] == [True, False, False, False]
    failure = report.results[0].failure
    assert failure is not None
    assert (failure.message, failure.action, failure.output) == ("No tool.", "Install it.", "Traceback…")
    assert world.sessions == 0


def test_a_fault_of_the_engine_stops_nobody_else_and_says_what_it_is(world: World) -> None:
    world.answers["a", "p"] = failing(ZeroDivisionError("division by zero"))
    report = world.discovery().run([environment("a"), environment("b")], [candidate("p")])
    failure = report.results[0].failure
    assert failure is not None
    assert failure.kind == "ZeroDivisionError"
    assert "in dlpx-remote itself" in failure.message
    assert "Traceback" in failure.output
    assert report.results[1].failure is None


def test_a_plugin_for_other_hosts_is_skipped_and_said_to_be(world: World) -> None:
    report = world.discovery().run([environment("a")], [candidate("p", "WINDOWS"), candidate("o")])
    assert [shown(result) for result in report.results] == [
        ("a", "p", 0, "it is for WINDOWS hosts, and this is a UNIX host"),
        ("a", "o", 2, ""),
    ]
    assert not report.failed
    assert DiscoveryEvent("a", "p", "skipped", report.results[0].skipped) in world.events


def test_a_host_that_no_plugin_is_for_is_not_connected_to(world: World) -> None:
    world.down["a"] = ConnectionRefused("down")
    report = world.discovery().run([environment("a")], [candidate("p", "WINDOWS")])
    assert not report.failed
    assert world.asked == []


def test_a_plugin_that_cannot_be_loaded_fails_everywhere_but_stops_no_other(world: World) -> None:
    broken = Candidate("broken", None, RemoteError("schema.json is gone."))
    report = world.discovery().run([environment("a")], [broken, candidate("o")])
    assert [shown(result) for result in report.results] == [
        ("a", "broken", 0, "schema.json is gone."),
        ("a", "o", 2, ""),
    ]


def test_two_repositories_of_one_identity_fail_the_part(world: World) -> None:
    world.answers["a", "p"] = lambda: [{"name": "/a"}, {"name": "/a"}]
    report = world.discovery().run([environment("a")], [candidate("p")])
    failure = report.results[0].failure
    assert failure is not None
    assert failure.kind == "DuplicateIdentity"
    assert "two repositories with one identity" in failure.message


def test_events_tell_what_goes_on(world: World) -> None:
    world.answers["a", "o"] = failing(RemoteError("No tool."))
    world.discovery(parallel=1).run([environment("a")], [candidate("p"), candidate("o")])
    assert [(event.plugin, event.stage, event.detail) for event in world.events] == [
        ("", "connecting", "anna@h"),
        ("p", "discovering", ""),
        ("p", "finished", "2 repositories, 2 source configs"),
        ("o", "discovering", ""),
        ("o", "failed", "No tool."),
    ]


def test_events_come_from_one_thread_at_a_time(world: World) -> None:
    inside = 0
    overlaps = []

    def on_event(event: DiscoveryEvent) -> None:
        nonlocal inside
        inside += 1
        overlaps.append(inside)
        threading.Event().wait(0.001)
        inside -= 1

    world.discovery(on_event=on_event).run(
        [environment(str(number)) for number in range(6)], [candidate("p"), candidate("o")]
    )
    assert set(overlaps) == {1}


def test_environments_are_worked_on_at_once(world: World) -> None:
    together = threading.Barrier(4, timeout=20)

    def answer() -> list[dict[str, Any]]:
        together.wait()
        return []

    for name in "abcd":
        world.answers[name, "p"] = answer
    report = world.discovery().run([environment(name) for name in "abcd"], [candidate("p")])
    assert not report.failed


def test_a_secret_in_an_error_is_masked(world: World) -> None:
    REDACTOR.register("sesame-in-an-error")
    world.answers["a", "p"] = failing(RemoteError("It was sesame-in-an-error.", "", "sesame-in-an-error"))
    report = world.discovery().run([environment("a")], [candidate("p")])
    assert "sesame-in-an-error" not in repr(report) + repr(world.events)
    assert "sesame-in-an-error" not in repr(failure_of(ValueError("sesame-in-an-error")))


def test_a_secret_that_a_plugin_returns_is_neither_shown_nor_kept(world: World) -> None:
    world.answers["a", "p"] = lambda: [{"name": "/a", "password": "sesame-in-a-result"}]
    report = world.discovery().run([environment("a")], [candidate("p")])
    assert report.results[0].repositories[0].parameters["password"] == MASK
    assert "sesame-in-a-result" not in repr(world.recorded)


def test_after_an_interrupt_nothing_new_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's interrupt reaches the thread that waits for the first environment while a plugin hangs."""
    release, entered = threading.Event(), threading.Event()

    def hang() -> list[dict[str, Any]]:
        entered.set()
        release.wait(20)
        return []

    def interrupted(_future: Future[Any], timeout: float | None = None) -> None:
        entered.wait(20)
        raise KeyboardInterrupt

    world.answers["a", "p"] = hang
    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.discovery(parallel=2).run(
            [environment("a"), environment("b")], [candidate("p"), candidate("o")]
        )
    so_far = list(world.events)
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("discover-"):
            thread.join(20)
    assert world.events == so_far
    assert world.sessions == 0


def test_the_wire_form_of_a_connection_holds_names_and_references_only() -> None:
    directories = HostDirectories("/r", "/r/toolkit", "/r/scratch")
    assert wire_connection(environment("a"), directories) == {
        "environment": {
            "name": "a",
            "reference": "UNIX_HOST_ENVIRONMENT-a",
            "host": {
                "name": "h",
                "reference": "UNIX_HOST-a",
                "binary_path": "/r/toolkit",
                "scratch_path": "/r/scratch",
            },
        },
        "user": {"name": "anna", "reference": "HOST_USER-a"},
    }
