"""Nothing of the workers outlives the engine, however that ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from dlpx_remote.plugins.worker import WorkerDied, Workers
from tests.unit.plugins.worker.support import CONNECTION, Answers, children, discovering, gone, wait_for

CONNECTED = {"source_connection": CONNECTION}
HANG = """
    import os, subprocess, time
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 &"])
    open("started", "w").close()
    time.sleep(600)
"""
ENGINE = """
    import sys
    from pathlib import Path
    from dlpx_remote.plugins.plugin import load_plugin
    from dlpx_remote.plugins.worker import Workers
    from tests.unit.plugins.worker.support import CONNECTION, Answers
    workers = Workers()
    worker = workers.start(load_plugin(Path(sys.argv[1])), job="job")
    worker.call("discovery.repository", {"source_connection": CONNECTION}, library=Answers())
"""


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_engine_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    discovering(tmp_path, HANG)
    engine = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ENGINE), str(tmp_path)],
        cwd=Path(__file__).parents[4],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(tmp_path / "src" / "started")
        started = descendants(engine.pid)
        assert len(started) >= 5
    finally:
        engine.send_signal(number)
        engine.wait()
    assert gone(started)


def test_nothing_is_left_when_workers_are_closed_in_the_middle_of_an_operation(tmp_path: Path) -> None:
    before = set(children())
    workers = Workers()
    worker = workers.start(discovering(tmp_path, HANG), job="job")
    caught: list[BaseException] = []

    def call() -> None:
        try:
            worker.call("discovery.repository", CONNECTED, library=Answers())
        except WorkerDied as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(tmp_path / "src" / "started")
    (server,) = set(children()) - before
    started = [server, *descendants(server)]
    workers.close()
    thread.join()
    worker.close()
    assert gone(started)
    assert not any(Path(f"/proc/{pid}").exists() for pid in started), "a zombie is left"
    assert "together with the engine's other workers" in str(caught[0])


def test_workers_end_with_their_fork_server_and_the_next_one_gets_a_new_server(tmp_path: Path) -> None:
    before = set(children())
    with Workers() as workers:
        worker = workers.start(discovering(tmp_path, "import time; time.sleep(600)"), job="job")
        worker.inspect()
        (server,) = set(children()) - before
        os.kill(server, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            worker.call("discovery.repository", CONNECTED, library=Answers())
        worker.close()
        assert worker.pid is not None
        assert gone([worker.pid])
        with workers.start(discovering(tmp_path / "2", "return []"), job="job") as another:
            assert another.call("discovery.repository", CONNECTED, library=Answers()) == []
    assert set(children()) == before


def test_a_worker_that_is_dropped_without_closing_is_ended(tmp_path: Path) -> None:
    with Workers() as workers:
        worker = workers.start(discovering(tmp_path, "return []"), job="job")
        worker.inspect()
        pid = worker.pid
        assert pid is not None
        del worker
        gc.collect()
        assert gone([pid])


def test_a_child_of_the_engine_does_not_keep_the_workers_alive(tmp_path: Path) -> None:
    with Workers() as workers:
        worker = workers.start(discovering(tmp_path, "return []"), job="job")
        worker.inspect()
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            worker.close()
            workers.close()
            assert worker.pid is not None
            assert gone([worker.pid])
        finally:
            bystander.kill()
            bystander.wait()
