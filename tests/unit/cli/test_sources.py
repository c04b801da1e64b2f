"""``dsource``, ``vdb``, ``snapshot`` and ``hook``: words, tables, and what reaches the engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.engine_jobs import Busy, JobDetails, JobFailure, JobState
from dlpx_remote.engine_sources import (
    Given,
    Hook,
    HookTemplate,
    MountView,
    Script,
    Snapshot,
    SourceInUse,
    SourceView,
)
from tests.unit.cli.conftest import CommandLine


class Part:
    """One attribute of the engine: notes calls, and gives what it was told to."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            answer = self.answers.get(name, "JOB-7")
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


class Jobs(Part):
    """Jobs that have succeeded at once."""

    def __init__(self, result: Any) -> None:
        super().__init__({})
        self.job = job(result)

    def follow(self, reference: str, on_change: Any = None, **_options: Any) -> JobDetails:
        return self.job

    def adopt(self, reference: str) -> bool:
        return False

    def finish(self, on_turn: Any = None) -> None:
        pass

    def has_worker(self) -> bool:
        return True


class Engine:
    """Stands in for the engine."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.dsources, self.vdbs = Part(self.answers), Part(self.answers)
        self.snapshots, self.hooks = Part(self.answers), Part(self.answers)
        self.jobs = Jobs({})

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def job(result: Any, state: JobState = JobState.SUCCEEDED, failure: JobFailure | None = None) -> JobDetails:
    now = datetime.now(UTC)
    return JobDetails(
        reference="JOB-7",
        operation="vdb provision",
        object="masked",
        title="provision the VDB masked",
        state=state,
        percent=100,
        cancelling=False,
        created=now,
        started=now,
        finished=now,
        request={},
        steps=(),
        failure=failure,
        result=result,
        holds=(),
        waits_for=(),
        executor=None,
        attempt=1,
        version="1",
    )


def view(**changes: Any) -> SourceView:
    values: dict[str, Any] = {
        "reference": "VDB-1",
        "name": "masked",
        "kind": "vdb",
        "plugin": "Trees",
        "environment": "db2",
        "user": "oracle",
        "repository": "trees",
        "source_config": {"path": "/srv/masked"},
        "staging_environment": None,
        "staging_user": None,
        "parameters": {"path": "/srv/masked"},
        "state": "enabled",
        "active": False,
        "status": "ACTIVE",
        "status_time": "2026-03-01T12:00:00+00:00",
        "size": 5 << 30,
        "size_time": "2026-03-01T12:00:00+00:00",
        "volume": "VDB-1",
        "snapshot": "SNAPSHOT-3",
        "parent": "orders",
        "can_undo": True,
        "mounts": (MountView("db2", "/srv/masked", None),),
        "snapshots": 2,
        "interval": 60,
        "guid": "g",
        "added": "2026-03-01T12:00:00+00:00",
    }
    return SourceView(**{**values, **changes})


SNAPSHOT = Snapshot(
    "SNAPSHOT-3", "DSOURCE-1", "orders", "DSOURCE-1", None, "ready", None, {"rows": 5}, "2026-03-01T12:00:00"
)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from dlpx_remote import engine as real

    stub = Engine()
    monkeypatch.setattr(real, "Engine", lambda *_arguments, **_options: stub)
    return stub


def test_link_hands_over_what_was_said(command: CommandLine, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "tell.exp").write_text("send hello")
    (tmp_path / "orders.yml").write_text("port: 5433\ninner: {deep: true}\n")
    engine.jobs.job = job({"dsource": "DSOURCE-1"})
    done = command(
        *("dsource", "link", "orders", "-e", "db1", "--source-config", "orders", "--staging", "s1"),
        *("--param", "path=/x=y", "--params-file", str(tmp_path / "orders.yml"), "--interval", "5"),
        *(
            "--hook",
            f"pre-sync={tmp_path / 'tell.exp'}",
            "--login-hook",
            f"post-sync={tmp_path / 'tell.exp'}",
        ),
        *("--hook", "post-sync=template:tell"),
    )
    assert done.code == 0, done.err
    assert done.out == "Linked orders (DSOURCE-1). Fill it: dlpx-remote dsource sync orders\n"
    [(name, arguments, options)] = engine.dsources.calls
    assert (name, arguments) == ("link", ("orders", "db1", "orders"))
    assert options["parameters"] == Given({"port": 5433, "inner": {"deep": True}}, {"path": "/x=y"})
    assert (options["staging"], options["interval"]) == ("s1", 5)
    assert options["hooks"] == [
        Hook("pre-sync", "1 tell.exp", Script("expect", False, "send hello")),
        Hook("post-sync", "2 tell", template="tell"),
        Hook("post-sync", "3 tell.exp", Script("expect", True, "send hello")),
    ]
    assert (options["asked"].detach, options["asked"].wait) == (False, True)


@pytest.mark.parametrize(
    ("words", "result", "said"),
    [
        (("dsource", "sync", "orders"), {"snapshot": "SNAPSHOT-1"}, "Synced orders: SNAPSHOT-1."),
        (("dsource", "enable", "orders"), {}, "Enabled orders."),
        (("dsource", "disable", "orders"), {}, "Disabled orders."),
        (("dsource", "delete", "orders"), {"deleted": ["orders"]}, "Deleted orders."),
        (
            ("vdb", "provision", "m", "--from", "orders", "-e", "db2"),
            {"vdb": "VDB-1"},
            "Provisioned m (VDB-1).",
        ),
        (("vdb", "create-empty", "m", "-p", "P", "-e", "db2"), {"vdb": "VDB-1"}, "Created m (VDB-1)."),
        (("vdb", "snapshot", "m"), {"snapshot": "SNAPSHOT-4"}, "Took SNAPSHOT-4 of m."),
        (("vdb", "refresh", "m"), {"snapshot": "SNAPSHOT-4"}, "Refreshed m from SNAPSHOT-4."),
        (("vdb", "rollback", "m"), {"snapshot": "SNAPSHOT-4"}, "Rolled m back to SNAPSHOT-4."),
        (("vdb", "undo", "m"), {}, "m is as it was before."),
        (("vdb", "start", "m"), {}, "Started m."),
        (("vdb", "stop", "m"), {}, "Stopped m."),
        (("vdb", "enable", "m"), {}, "Enabled m."),
        (("vdb", "disable", "m"), {}, "Disabled m."),
        (("vdb", "delete", "m"), {"deleted": ["m"]}, "Deleted m."),
        (("snapshot", "delete", "SNAPSHOT-4"), {"deleted": ["SNAPSHOT-4"]}, "Deleted SNAPSHOT-4."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_came_of_a_job_is_one_sentence(
    command: CommandLine, engine: Engine, words: tuple[str, ...], result: Any, said: str
) -> None:
    engine.jobs.job = job(result)
    done = command(*words)
    assert (done.code, done.out) == (0, f"{said}\n")
    assert json.loads(command(*words, "--output", "json").out)["result"] == result


def test_force_says_what_it_takes_along(command: CommandLine, engine: Engine) -> None:
    engine.answers["dependants"] = ["the VDB masked", "the undo state of the VDB two"]
    engine.jobs.job = job({"deleted": ["masked", "orders"]})
    for words in (
        ("dsource", "delete", "orders"),
        ("vdb", "delete", "m"),
        ("snapshot", "delete", "SNAPSHOT-1"),
    ):
        done = command(*words, "--force")
        assert done.err == "Takes along the VDB masked.\nTakes along the undo state of the VDB two.\n"


def test_without_force_the_refusal_names_what_is_in_the_way(command: CommandLine, engine: Engine) -> None:
    engine.answers["delete"] = SourceInUse("orders is still needed by the VDB masked.", "Delete those first.")
    done = command("dsource", "delete", "orders")
    assert done.code == 2
    assert "still needed by the VDB masked" in done.err


def test_a_detached_job_is_left_to_a_worker(command: CommandLine, engine: Engine) -> None:
    done = command("vdb", "start", "masked", "--detach", "--no-wait")
    assert "JOB-7 is left to a worker" in done.out
    [(_, _, options)] = engine.vdbs.calls
    assert (options["asked"].detach, options["asked"].wait) == (True, False)


def test_a_failed_job_is_told_in_three_parts(command: CommandLine, engine: Engine) -> None:
    engine.jobs.job = job(None, JobState.COMPENSATED, JobFailure("It broke.", "Mend it.", "what it said"))
    done = command("vdb", "start", "masked")
    assert done.code == 224
    for part in ("It broke.", "Action: Mend it.", "what it said"):
        assert part in done.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--param", "port"), "no NAME=VALUE"),
        (("--params-file", "/no/such/file"), "/no/such/file cannot be read"),
        (("--hook", "pre-sync"), "no EVENT=FILE"),
        (("--hook", "pre-sync=/no/such/script"), "/no/such/script cannot be read"),
    ],
)
def test_wrong_words_are_told(
    command: CommandLine, engine: Engine, words: tuple[str, ...], complaint: str
) -> None:
    done = command("dsource", "sync", "orders", *words)
    assert done.code == 2
    assert complaint in done.err


@pytest.mark.parametrize("text", ["[1]", "a: [", "{"])
def test_a_parameter_file_holds_an_object(
    command: CommandLine, engine: Engine, tmp_path: Path, text: str
) -> None:
    file = tmp_path / ("p.json" if text == "{" else "p.yml")
    file.write_text(text)
    done = command("dsource", "sync", "orders", "--params-file", str(file))
    assert done.code == 2
    assert str(file) in done.err


def test_lists_and_single_ones(command: CommandLine, engine: Engine) -> None:
    engine.answers |= {"all": [view()], "get": view()}
    assert "orders, SNAPSHOT-3" in command("vdb", "list").out
    assert json.loads(command("vdb", "list", "--output", "json").out)[0]["name"] == "masked"
    shown = command("vdb", "show", "masked").out
    for part in ("enabled, stopped", "SNAPSHOT-3 of orders", "can be undone:  yes", "/srv/masked"):
        assert part in shown
    linked = view(
        kind="dsource", source_config="orders", parent=None, staging_environment="s1", staging_user="u"
    )
    engine.answers |= {"all": [linked], "get": linked}
    assert "s1" in command("dsource", "list").out
    assert "s1 as u" in command("dsource", "show", "orders").out
    assert json.loads(command("dsource", "show", "orders", "--output", "json").out)["kind"] == "dsource"
    engine.answers["all"] = []
    assert "vdb provision" in command("vdb", "list").out
    assert "dsource link" in command("dsource", "list").out
    assert "Take one" in command("snapshot", "list").out


def test_snapshots_are_shown_with_what_needs_them(command: CommandLine, engine: Engine) -> None:
    engine.answers |= {"all": [SNAPSHOT], "get": SNAPSHOT, "dependants": ["the VDB masked"]}
    assert '{"rows": 5}' in command("snapshot", "list", "orders").out
    shown = command("snapshot", "show", "SNAPSHOT-3")
    assert shown.err == "Needed by the VDB masked.\n"
    assert json.loads(command("snapshot", "show", "SNAPSHOT-3", "--output", "json").out)["dependants"] == [
        "the VDB masked"
    ]


@pytest.mark.parametrize("what", ["dsource", "vdb"])
def test_the_exit_code_of_status_tells_it(command: CommandLine, engine: Engine, what: str) -> None:
    engine.answers["status"] = "ACTIVE"
    assert command(what, "status", "x").code == 0
    engine.answers["status"] = "INACTIVE"
    done = command(what, "status", "x", "--output", "json")
    assert (done.code, json.loads(done.out)) == (1, {"name": "x", "status": "INACTIVE"})


@pytest.mark.parametrize("what", ["dsource", "vdb"])
def test_the_size_is_said_in_words_or_bytes(command: CommandLine, engine: Engine, what: str) -> None:
    engine.answers["size"] = 5 << 30
    assert command(what, "size", "x").out == "5.0 GiB\n"
    assert json.loads(command(what, "size", "x", "--output", "json").out) == {"name": "x", "size": 5 << 30}
    engine.answers["get"] = view()
    assert "size:           5.0 GiB at 2026-03-01T12:00:00\n" in command(what, "show", "x").out


def test_hooks_and_templates(command: CommandLine, engine: Engine, tmp_path: Path) -> None:
    script = tmp_path / "mask.sh"
    script.write_text("echo masked")
    assert command("hook", "add", "m", "configure-clone", "--file", str(script), "--timeout", "5").code == 0
    assert command("hook", "add", "m", "pre-stop", "--template", "tell", "--name", "mine").code == 0
    assert command("hook", "template", "set", "mask", str(script), "--login-shell").code == 0
    assert command("hook", "remove", "m", "mask.sh").code == 0
    assert command("hook", "template", "remove", "mask").code == 0
    kept = Script("bash", False, "echo masked", 5)
    assert [(name, arguments) for name, arguments, _ in engine.hooks.calls] == [
        ("add", ("m", Hook("configure-clone", "mask.sh", kept))),
        ("add", ("m", Hook("pre-stop", "mine", Script(), "tell"))),
        ("set_template", (HookTemplate("mask", Script("bash", True, "echo masked")),)),
        ("remove", ("m", "mask.sh")),
        ("remove_template", ("mask",)),
    ]
    assert command("hook", "add", "m", "pre-stop").code == 2
    engine.answers |= {"of": [Hook("pre-stop", "mine", kept)], "templates": [HookTemplate("mask", kept)]}
    assert "pre-stop" in command("hook", "list", "m").out
    assert "mask" in command("hook", "template", "list").out
    assert json.loads(command("hook", "list", "m", "--output", "json").out)[0]["name"] == "mine"
    engine.answers |= {"of": [], "templates": []}
    assert "hook add m" in command("hook", "list", "m").out
    assert "template set" in command("hook", "template", "list").out


def test_the_staging_worker_runs_once_where_it_is_asked_to(command: CommandLine, engine: Engine) -> None:
    assert command("dsource", "worker", "orders", "--once").code == 0
    assert [name for name, _, _ in engine.dsources.calls] == ["run_worker"]
    engine.answers["run_worker"] = Busy("JOB-3 holds DSOURCE-1.", "Wait for it.")
    done = command("dsource", "worker", "orders", "--once")
    assert (done.code, done.err) == (0, "JOB-3 holds DSOURCE-1. Left out this time.\n")
