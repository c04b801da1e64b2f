"""``job`` and ``worker`` on a real state with real jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dlpx_remote.cli.following import JobProgress, follow, run_job
from dlpx_remote.cli.output import Output
from dlpx_remote.cli.session import Settings
from dlpx_remote.engine import Engine
from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Job, Request
from tests.unit.cli.conftest import CommandLine


def _works(job: Job, request: Request) -> Any:
    job.expect(2)
    job.step("make a clone", lambda: job.log("cloned\x1b[31m"))
    return job.once("call the plugin", lambda: request)


def _fails(job: Job, _request: Request) -> None:
    job.step("make a clone", lambda: None)
    try:
        job.step("mount it", lambda: (_ for _ in ()).throw(RemoteError("No room.", "Make some.", "df")))
    except RemoteError as reason:
        job.compensating(reason)
        job.step("remove the clone", lambda: None)
        raise


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def engine(state: Path) -> Iterator[Engine]:
    with Engine(state) as opened:
        opened._workflows.update({"vdb provision": _works, "vdb refresh": _fails})
        yield opened


def test_a_state_without_jobs_says_so(command: CommandLine, state: Path) -> None:
    assert command("--state", str(state), "job", "list").out == "There are no jobs.\n"


def test_jobs_are_listed_shown_and_their_output_printed(
    command: CommandLine, engine: Engine, state: Path
) -> None:
    engine.jobs.run("vdb provision", {"name": "v"}, "provision v", object="v")
    engine.jobs.follow(engine.jobs.submit("vdb refresh", {}, "refresh v", object="v"))

    listed = command("--state", str(state), "job", "list")
    assert [line.split()[:5] for line in listed.out.splitlines()[2:]] == [
        ["JOB-1", "vdb", "provision", "v", "succeeded"],
        ["JOB-2", "vdb", "refresh", "v", "compensated"],
    ]
    assert " 100 % " in listed.out
    assert "JOB-1" not in command("--state", str(state), "job", "list", "--state", "compensated").out

    shown = command("--state", str(state), "job", "show", "2").out
    assert shown.startswith("JOB-2 refresh v\n  state:      compensated\n  operation:  vdb refresh v\n")
    assert [line.split(" s  ")[1] for line in shown.splitlines() if " s  " in line] == [
        "make a clone",
        "mount it: No room. Make some.",
        "undo: remove the clone",
    ]
    assert shown.endswith("  error:      No room.\n  action:     Make some.\n    df\n")

    assert command("--state", str(state), "job", "logs", "JOB-1").out == "cloned\\x1b[31m\n"
    document = json.loads(command("--state", str(state), "job", "show", "1", "--output", "json").out)
    assert (document["state"], document["result"], len(document["steps"])) == ("succeeded", {"name": "v"}, 2)
    lines = json.loads(command("--state", str(state), "job", "logs", "1", "--output", "json").out)
    assert [line["line"] for line in lines] == ["cloned\x1b[31m"]
    jobs = json.loads(command("--state", str(state), "job", "list", "--output", "json").out)
    assert [job["reference"] for job in jobs] == ["JOB-1", "JOB-2"]


def test_following_an_ended_job_tells_how_it_ended(command: CommandLine, engine: Engine, state: Path) -> None:
    engine.jobs.run("vdb provision", {}, "provision v")
    engine.jobs.follow(engine.jobs.submit("vdb refresh", {}, "refresh v"))

    good = command("--state", str(state), "job", "follow", "1")
    assert (good.code, good.out.split(" in ")[0]) == (0, "JOB-1 provision v: done")
    bad = command("--state", str(state), "job", "follow", "2")
    assert bad.code == 224
    assert bad.out == ""
    assert "JOB-2 refresh v: compensated: No room.\n  Action: Make some.\n  Output:\n    df\n" in bad.err


def test_a_job_that_does_not_exist_is_wrong_use(command: CommandLine, state: Path) -> None:
    outcome = command("--state", str(state), "job", "show", "JOB-7")
    assert outcome.code == 2
    assert "There is no job 'JOB-7'" in outcome.err


def test_cancelling(command: CommandLine, engine: Engine, state: Path) -> None:
    engine.jobs.submit("vdb provision", {}, "provision v", detach=True)
    engine.jobs.submit("vdb provision", {}, "provision w", detach=True)

    outcome = command("--state", str(state), "job", "cancel", "JOB-1")
    assert (outcome.code, outcome.out) == (0, "JOB-1 provision v: cancelled.\n")
    again = command("--state", str(state), "job", "cancel", "JOB-1")
    assert again.code == 229
    assert "has ended already" in again.err
    other = command("--state", str(state), "job", "cancel", "JOB-2", "--detach", "--output", "json")
    assert json.loads(other.out)["state"] == "cancelled"


def _context(state: Path) -> typer.Context:
    return typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)), obj=Settings(state))


def test_a_command_follows_its_job_by_default(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _know_the_workflows(monkeypatch)
    run_job(_context(state), _ask("vdb provision", detach=False), detach=False, output=Output.TABLE)
    out, err = capsys.readouterr()
    assert out.startswith("JOB-1 do it: done in ")
    assert [line.split(" s  ")[1] for line in err.splitlines() if " s  " in line] == [
        "make a clone",
        "call the plugin",
    ]
    with pytest.raises(typer.Exit) as leaving:
        run_job(_context(state), _ask("vdb refresh", detach=False), detach=False, output=Output.JSON)
    assert leaving.value.exit_code == 224
    assert json.loads(capsys.readouterr().out)["state"] == "compensated"


def test_a_detached_job_gets_a_worker_of_its_own(
    state: Path, capfdbinary: pytest.CaptureFixture[bytes], command: CommandLine
) -> None:
    run_job(_context(state), _ask("no such", detach=True), detach=True, output=Output.TABLE)
    said = capfdbinary.readouterr().out.decode()
    assert "JOB-1 is left to a worker. Follow it with: dlpx-remote job follow JOB-1" in said
    outcome = command("--state", str(state), "job", "follow", "JOB-1")
    assert outcome.code == 224
    assert "'no such' that dlpx-remote" in outcome.err
    with Engine(state) as engine:
        while engine.jobs.has_worker():  # it ends by itself
            time.sleep(0.1)


def test_ctrl_c_cancels_the_job_that_a_command_runs(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = threading.Event()
    tell = JobProgress.__call__

    def told(self: JobProgress, *what: Any) -> None:
        tell(self, *what)
        followed.set()

    def waits(job: Job, _request: Request) -> None:
        followed.wait()
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            job.step("look", lambda: time.sleep(0.02))

    monkeypatch.setattr(JobProgress, "__call__", told)
    engine._workflows["wait"] = waits
    job = follow(engine, engine.jobs.submit("wait", {}, "wait"), ours=True)
    assert job.state == "cancelled"
    assert "JOB-1 is cancelled and undoes what it did. Ctrl-C once more" in capsys.readouterr().err


def test_a_worker_runs_what_was_left_and_ends_when_told(engine: Engine, state: Path) -> None:
    reference = engine.jobs.submit("no such", {}, "do something unknown", detach=True)
    command = [sys.executable, "-m", "dlpx_remote", "--state", str(state), "worker"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert engine.jobs.follow(reference, timeout=60).state == "failed"
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0, err
    assert f"{reference} do something unknown: failed" in out
    assert "Ending (SIGTERM)" in err


def test_a_password_in_the_database_option_is_refused(command: CommandLine) -> None:
    for url in ("postgresql://a:hunter2@h/d", "postgresql://h/d?user=a&password=hunter2"):
        outcome = command("--database", url, "job", "list")
        assert outcome.code == 2
        assert "There is a password in --database" in outcome.err
        assert "hunter2" not in outcome.err


def test_the_database_is_taken_from_where_it_is_said(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLPX_REMOTE_STATE", str(tmp_path / "state"))
    urls = {name: f"sqlite:///{tmp_path / name}.db" for name in ("one", "two", "three")}
    monkeypatch.setenv("DLPX_REMOTE_DATABASE", urls["one"])
    monkeypatch.setenv("OTHER", urls["two"])
    assert command("job", "list").code == 0
    assert command("--database-from", "env:OTHER", "job", "list").code == 0
    assert command("--database", urls["three"], "job", "list").code == 0
    assert all((tmp_path / f"{name}.db").exists() for name in urls)
    both = command("--database", urls["one"], "--database-from", "env:OTHER", "job", "list")
    assert (both.code, "There are two databases." in both.err) == (2, True)


def _know_the_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine.__init__

    def init(self: Engine, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self._workflows.update({"vdb provision": _works, "vdb refresh": _fails})

    monkeypatch.setattr(Engine, "__init__", init)


def _ask(operation: str, *, detach: bool) -> Any:
    return lambda engine: engine.jobs.submit(operation, {}, "do it", detach=detach)


def test_old_jobs_are_forgotten_when_asked_for(command: CommandLine, engine: Engine, state: Path) -> None:
    engine.jobs.run("vdb provision", {"name": "v"}, "provision v", object="v")

    def prune(*words: str) -> str:
        return command("--state", str(state), "job", "prune", *words).out

    assert prune() == "Jobs are kept for ever.\n"
    assert prune("--older-than", "12w", "--dry-run") == "0 jobs would go.\n"
    assert prune("--keep", "90d") == "Jobs are kept for 90 days, while a worker runs to forget older ones.\n"
    assert json.loads(prune("--older-than", "90d", "--output", "json")) == {
        "forgotten": 0,
        "would_go": 0,
        "kept_days": 90,
    }
    assert prune("--keep", "off") == "Jobs are kept for ever.\n"
    wrong = command("--state", str(state), "job", "prune", "--older-than", "soon")
    assert wrong.code == 2
    assert "--older-than soon: that is no time." in wrong.err
    assert len(engine.jobs.all()) == 1
