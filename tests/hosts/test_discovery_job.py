"""Discovery as a job: seen by others, ended by them, left to a worker, taken over when its process dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.engine_jobs import JobCancelled, JobError, JobState
from tests.hosts.engine_plugin import CODE, write_plugin
from tests.hosts.sshd import Sshd
from tests.hosts.test_engine_discovery import _running


class Slow:
    """A script that goes on for ever unless it is ended; another one in every test.

    Args:
        place: of the test.
    """

    def __init__(self, place: Path) -> None:
        self.seconds = 1_000_000 + zlib.crc32(bytes(place))

    def runs(self) -> bool:
        """Whether it runs on this machine."""
        return bool(_running(b"%d" % self.seconds))

    def end(self) -> None:
        """As somebody does on the host."""
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"%d" % self.seconds in place.read_bytes().split(b"\0"):
                    os.kill(int(place.parent.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def state(sshd: Sshd, tmp_path: Path) -> Path:
    """With one environment that answers and one that does not, and a plugin."""
    (tmp_path / "data" / "one").mkdir(parents=True)
    (tmp_path / "data" / "one" / "x").write_text("found")
    login = Authentication(key=str(sshd.user_key))
    with Engine(tmp_path / "state") as engine:
        for name, port in (("db1", sshd.port), ("down", 1)):
            engine.add_environment(
                EnvironmentSpec(
                    name,
                    sshd.address,
                    port=port,
                    authentication=login,
                    fingerprint=sshd.fingerprint(),
                    directory=str(tmp_path / "made"),
                )
            )
        engine.add_plugin(write_plugin(tmp_path / "plugin", tmp_path / "data"))
    return tmp_path / "state"


@pytest.fixture
def slow(state: Path, tmp_path: Path) -> Slow:
    """The state's plugin never comes to an end any more, until ``quick`` is there."""
    slow = Slow(tmp_path)
    code = CODE.replace("'test -w", f"'[ -e {tmp_path}/quick ] || sleep {slow.seconds}; test -w")
    with Engine(state) as engine:
        engine.add_plugin(write_plugin(tmp_path / "slow", tmp_path / "data", build="1.0.1", code=code))
    return slow


def wait_for(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_was_discovered_and_what_failed_is_in_the_list_of_jobs(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--state", str(state)]
    assert main([*command, "discover", "db1", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"] == "JOB-1"
    assert main([*command, "discover"]) == 1
    assert main([*command, "env", "refresh", "db1"]) == 0
    assert main([*command, "env", "refresh", "down"]) != 0
    assert "refuses connections" in capsys.readouterr().err

    assert main([*command, "job", "list", "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["title"], one["object"], one["state"]) for one in listed] == [
        ("discover on db1", "db1", "succeeded"),
        ("discover on 2 environments", "", "failed"),
        ("refresh db1", "db1", "succeeded"),
        ("refresh down", "down", "failed"),
    ]
    with Engine(state) as engine:
        assert engine.jobs.get("JOB-1").result == {
            "parts": 1,
            "repositories": 1,
            "source_configs": 1,
            "changes": {"new": 2},
            "skipped": 0,
            "failed": [],
        }
        failed = engine.jobs.get("JOB-2").failure
        assert failed is not None
        assert failed.message.startswith("1 of 2 parts failed: finder on down: 127.0.0.1 refuses connections")
        assert "job logs JOB-2" in failed.action
        lines = [line.line for line in engine.jobs.lines("JOB-2")]
        assert "finder on db1: finished 1 repository, 1 source config" in lines
        assert any(line.startswith("down: failed 127.0.0.1 refuses") for line in lines)


def test_a_process_that_dies_leaves_it_to_a_worker_as_others_do_on_purpose(
    slow: Slow, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--state", str(state), "discover", "db1", "--detach", "--host", "anna@db1", "--plugin", "."])
    assert "keeps nothing that a worker could be left" in capsys.readouterr().err

    command = [sys.executable, "-m", "dlpx_remote", "--state", str(state), "discover", "db1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(slow.runs)
        process.kill()
    slow.end()  # whose connection was cut goes on, as every script
    (tmp_path / "quick").touch()
    with Engine(state) as engine:
        assert engine.leave_discovery(["db1"]) == "JOB-2"
        stop = threading.Event()
        worker = threading.Thread(target=engine.jobs.work, args=(2, stop))
        worker.start()
        try:
            for job in ("JOB-1", "JOB-2"):
                assert engine.jobs.result(job, timeout=60)["repositories"] == 1
        finally:
            stop.set()
            worker.join()
        capsys.readouterr()
        assert main(["--state", str(state), "job", "show", "JOB-1"]) == 0
        assert "taken over: yes" in capsys.readouterr().out
        assert [Path(one.name).name for one in engine.discovered("db1")[0].repositories] == ["one"]


def test_whoever_waits_is_told_that_another_process_cancelled_it(slow: Slow, state: Path) -> None:
    with Engine(state) as engine:

        def cancel() -> None:
            wait_for(slow.runs)
            assert main(["--state", str(state), "job", "cancel", "JOB-1"]) == 0

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(JobCancelled, match="JOB-1 was cancelled"):
            engine.discover(["db1"])
        canceller.join()
        wait_for(lambda: not slow.runs())
        assert engine.jobs.get("JOB-1").state is JobState.CANCELLED
        assert engine.discovered("db1")[0].repositories == ()
        assert engine.run("db1", "echo in").stdout == b"in\n", "the engine's own connection is as it was"


def test_it_is_left_to_the_next_process_when_the_engine_closes(slow: Slow, state: Path) -> None:
    with Engine(state) as engine:

        def close() -> None:
            wait_for(slow.runs)
            engine.jobs.stop()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(JobError, match="JOB-1 is not finished here: the engine is closing"):
            engine.discover(["db1"])
        closer.join()
        assert engine.jobs.get("JOB-1").state is JobState.RUNNING
        wait_for(lambda: not slow.runs())
