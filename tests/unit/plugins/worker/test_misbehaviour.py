"""Whatever a plugin does to its process, its own job fails with a clear error and nothing else does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dlpx_remote.plugins.worker import (
    LibraryCall,
    LibraryReply,
    Limits,
    LogLine,
    OperationAborted,
    OperationTimeout,
    PluginFailed,
    PluginUserError,
    WorkerDied,
    Workers,
)
from tests.unit.plugins.worker.support import (
    CONNECTION,
    DISCOVERY,
    Answers,
    discovering,
    gone,
    make_plugin,
    output,
    wait_for,
)

CONNECTED = {"source_connection": CONNECTION}
MIB = 1024 * 1024


def test_an_operation_that_hangs_is_ended_from_another_thread(workers: Workers, tmp_path: Path) -> None:
    mark = tmp_path / "up"
    body = f"open({str(mark)!r}, 'w').close(); import time; time.sleep(300)"
    with workers.start(discovering(tmp_path, body), job="job") as worker:

        def abort() -> None:
            wait_for(mark)
            worker.abort()

        thread = threading.Thread(target=abort)
        thread.start()
        with pytest.raises(OperationAborted, match="was cancelled; its process was ended"):
            worker.call("discovery.repository", CONNECTED, library=Answers())
        thread.join()
        assert not worker.alive


@pytest.mark.parametrize(
    ("body", "message", "exit_code"),
    [
        ("import os; os._exit(3)", "its process exited with code 3", 3),
        ("import os; os.closerange(3, 1000); import time; time.sleep(60)", "broke off", None),
        ("import os; os.write(100, b'x' * 1000); import time; time.sleep(60)", "broke off", None),
        ("import os; os.write(100, b'dlp1'); os._exit(0)", "its process exited with code 0", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal KILL", None),
        ("import os, signal; os.killpg(0, signal.SIGTERM); import time; time.sleep(60)", "signal TERM", None),
        ("import ctypes; ctypes.string_at(0)", "was ended by signal SEGV", None),
    ],
)
def test_a_process_that_ends_or_breaks_off_fails_its_operation(
    workers: Workers, tmp_path: Path, body: str, message: str, exit_code: int | None
) -> None:
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        with pytest.raises(
            WorkerDied, match=f"^discovery.repository of the plugin tried failed.*{message}"
        ) as died:
            worker.call("discovery.repository", CONNECTED, library=Answers())
        assert died.value.exit_code == exit_code
        assert died.value.action
        assert not worker.alive
        with pytest.raises(WorkerDied):
            worker.call("discovery.repository", CONNECTED, library=Answers())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(5)", "SystemExit: 5"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt."),
        ("def f(): f()\n" + "f()", "RecursionError: maximum recursion depth exceeded"),
        ("return [RepositoryDefinition(name=5)]", "parameter 'name' was class 'int'"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("raise BaseExceptionGroup('several', [ValueError(1), SystemExit()])", "several"),
        (
            "class E(Exception):\n  def __str__(self): raise ValueError\n" + "raise E",
            "text could not be made",
        ),
        ("class E(Exception):\n  __str__ = lambda self: 5\n" + "raise E", "text could not be made"),
        ("raise Exception('x' * 10_000_000)", "Exception: xxx"),
        ("import gc; gc.disable(); raise Exception('a' * 200_000 + '\\ud800')", "Exception: aaa"),
        (
            "e = Exception('0')\nfor n in range(5000):\n  e, e.__cause__ = Exception(str(n)), e\nraise e",
            "4999",
        ),
    ],
)
def test_whatever_a_plugin_raises_is_a_bounded_clear_error_and_the_worker_goes_on(
    workers: Workers, tmp_path: Path, body: str, message: str
) -> None:
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        for _ in range(2):
            with pytest.raises(PluginFailed) as caught:
                worker.call("discovery.repository", CONNECTED, library=Answers())
            assert message in caught.value.message
            assert len(caught.value.message) < 4096
            assert len(caught.value.output.encode("utf-8", "surrogatepass")) < 130 * 1024
        assert worker.alive


def test_a_user_error_of_10_mb_is_cut_off_and_says_so(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "raise UserError('m', 'a', 'o' * 10_000_000)")
    with workers.start(plugin, job="job") as worker, pytest.raises(PluginUserError) as caught:
        worker.call("discovery.repository", CONNECTED, library=Answers())
    assert (caught.value.message, caught.value.action) == ("m", "a")
    assert len(caught.value.output) <= 128 * 1024
    assert "cut off: 9.5 MiB, at most 128 KiB are kept" in caught.value.output


def test_a_user_error_with_parts_that_are_no_text_is_still_shown(workers: Workers, tmp_path: Path) -> None:
    body = """
        class Odd:
            def __str__(self):
                raise ValueError
        raise UserError("what happened", 5, Odd())
    """
    with (
        workers.start(discovering(tmp_path, body), job="job") as worker,
        pytest.raises(PluginUserError) as caught,
    ):
        worker.call("discovery.repository", CONNECTED, library=Answers())
    assert (caught.value.message, caught.value.action) == ("what happened", "5")
    assert caught.value.output == "<output could not be read: ValueError>"


def test_memory_is_limited_and_the_error_says_how(workers: Workers, tmp_path: Path) -> None:
    body = "kept = []\nwhile True:\n    kept.append(bytearray(8 * 1024 * 1024))"
    limits = Limits(memory=512 * MIB)
    with workers.start(discovering(tmp_path, body), job="job", limits=limits) as worker:
        with pytest.raises(PluginFailed, match=r"ran out of memory: its process may use 512 MiB") as caught:
            worker.call("discovery.repository", CONNECTED, library=Answers())
        assert "kept.append" in caught.value.output
        assert worker.alive


def test_memory_eaten_in_small_pieces_and_kept_is_a_clear_error_too(workers: Workers, tmp_path: Path) -> None:
    code = DISCOVERY + "    while True:\n        kept.append('x' * 500 + str(len(kept)))\nkept = []\n"
    limits = Limits(memory=384 * MIB)
    with (
        workers.start(make_plugin(tmp_path, code), job="job", limits=limits) as worker,
        pytest.raises((PluginFailed, WorkerDied), match="memory") as caught,
    ):
        worker.call("discovery.repository", CONNECTED, library=Answers())
    assert "384 MiB" in str(caught.value)


def test_a_library_result_without_room_for_it_is_a_memory_error_and_the_conversation_goes_on(
    workers: Workers, tmp_path: Path
) -> None:
    body = """
        try:
            libs.run_bash(source_connection, "large")
        except MemoryError:
            return [RepositoryDefinition(name=libs.run_bash(source_connection, "small").stdout)]
    """
    handler = Answers(lambda call: output(stdout=bytes(400 * MIB) if call.body == b"large" else b"fine"))
    limits = Limits(memory=384 * MIB, library=500 * MIB)
    with workers.start(discovering(tmp_path, body), job="job", limits=limits) as worker:
        assert worker.call("discovery.repository", CONNECTED, library=handler) == [{"name": "fine"}]


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(600)",
        "while True: pass",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import os\nos.setsid() if os.fork() == 0 else None\nimport time; time.sleep(600)",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    ],
)
def test_an_operation_that_hangs_is_ended_and_nothing_of_it_stays(
    workers: Workers, tmp_path: Path, body: str
) -> None:
    with workers.start(discovering(tmp_path, body), job="job", limits=Limits(grace=0.1)) as worker:
        worker.inspect()
        assert worker.pid is not None
        with pytest.raises(OperationTimeout, match=r"did not come to an end within 0\.3 seconds") as caught:
            worker.call("discovery.repository", CONNECTED, library=Answers(), timeout=0.3)
        assert gone([worker.pid])
        assert "time-out" in caught.value.action


def test_a_plugin_may_tidy_up_when_its_time_is_over(workers: Workers, tmp_path: Path) -> None:
    body = """
        import os, signal, time
        def tidy(*_):
            print("tidied up")
            os._exit(0)
        signal.signal(signal.SIGTERM, tidy)
        time.sleep(600)
    """
    lines: list[LogLine] = []
    plugin = discovering(tmp_path, body)
    with workers.start(plugin, job="job", limits=Limits(grace=10), on_log=lines.append) as worker:
        worker.inspect()
        with pytest.raises(OperationTimeout):
            worker.call("discovery.repository", CONNECTED, library=Answers(), timeout=3)
    assert [line.message for line in lines] == ["tidied up"]


def test_importing_a_plugin_that_hangs_times_out(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path, "while True: pass")
    with (
        workers.start(plugin, job="job", limits=Limits(timeout=0.3, grace=0)) as worker,
        pytest.raises(OperationTimeout, match="Importing the plugin tried did not come to an end"),
    ):
        worker.inspect()


def test_a_hanging_worker_does_not_hold_up_another(workers: Workers, tmp_path: Path) -> None:
    hanging = discovering(
        tmp_path / "a", "import signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: pass"
    )
    sound = discovering(tmp_path / "b", "return []")
    caught: list[BaseException] = []

    def hang() -> None:
        with workers.start(hanging, job="a", limits=Limits(grace=0.1)) as worker:
            try:
                worker.call("discovery.repository", CONNECTED, library=Answers(), timeout=1)
            except OperationTimeout as error:
                caught.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    for _ in range(10):
        with workers.start(sound, job="b") as worker:
            assert worker.call("discovery.repository", CONNECTED, library=Answers()) == []
    thread.join()
    assert len(caught) == 1


def test_standard_streams_may_be_closed_and_replaced(workers: Workers, tmp_path: Path) -> None:
    body = """
        import os, sys
        for number in (0, 1, 2):
            os.close(number)
        sys.stdout = sys.stderr = sys.stdin = None
        return [RepositoryDefinition(name="fine")]
    """
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        assert worker.call("discovery.repository", CONNECTED, library=Answers()) == [{"name": "fine"}]


def test_leaked_threads_do_not_hold_up_the_operation_nor_the_end_of_the_worker(
    workers: Workers, tmp_path: Path
) -> None:
    body = """
        import threading, time
        for daemon in (True, False):
            threading.Thread(target=time.sleep, args=(600,), daemon=daemon).start()
        return [RepositoryDefinition(name=str(threading.active_count()))]
    """
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        assert worker.call("discovery.repository", CONNECTED, library=Answers()) == [{"name": "3"}]
        assert worker.pid is not None
    assert gone([worker.pid])


def test_library_calls_of_a_leaked_thread_are_refused_once_its_operation_is_over(
    workers: Workers, tmp_path: Path
) -> None:
    body = """
        import threading, time
        def go_on():
            try:
                while True:
                    libs.run_bash(source_connection, "more")
            except Exception as error:
                with open("refused.new", "w") as file:
                    file.write(str(error))
                import os
                os.rename("refused.new", "refused")
        threading.Thread(target=go_on).start()
        return []
    """
    refused = tmp_path / "src" / "refused"
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        handler = Answers(lambda _: output())
        assert worker.call("discovery.repository", CONNECTED, library=handler) == []
        wait_for(refused)
        assert worker.alive
    assert "was called when no operation was running" in refused.read_text()


def test_a_forked_child_that_comes_back_from_the_operation_answers_nothing(
    workers: Workers, tmp_path: Path
) -> None:
    body = """
        import os
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return [RepositoryDefinition(name="child" if child == 0 else "parent")]
    """
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        for _ in range(2):
            assert worker.call("discovery.repository", CONNECTED, library=Answers()) == [{"name": "parent"}]


def test_children_that_live_on_are_ended_with_their_worker(workers: Workers, tmp_path: Path) -> None:
    body = """
        import os, subprocess, time
        pids = []
        pids.append(subprocess.Popen(["sleep", "600"]).pid)
        pids.append(subprocess.Popen(["sleep", "600"], process_group=0).pid)
        pids.append(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
        shell = subprocess.run(["sh", "-c", "setsid sleep 600 >&2 & echo $!"], stdout=subprocess.PIPE)
        pids.append(int(shell.stdout))
        return [RepositoryDefinition(name="", port=pid) for pid in pids]
    """
    with workers.start(discovering(tmp_path, body), job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=Answers())
        pids = [one["port"] for one in found]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert gone(pids)


def test_a_library_handler_that_breaks_ends_the_worker_and_passes_its_error_on(
    workers: Workers, tmp_path: Path
) -> None:
    class Bug(Exception):
        pass

    class Broken(Answers):
        def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
            raise Bug

    plugin = discovering(tmp_path, "libs.run_bash(source_connection, 'x')\nreturn []")
    with workers.start(plugin, job="job") as worker:
        with pytest.raises(Bug):
            worker.call("discovery.repository", CONNECTED, library=Broken())
        assert not worker.alive


def test_output_of_a_plugin_that_dies_is_in_the_log(workers: Workers, tmp_path: Path) -> None:
    lines: list[LogLine] = []
    plugin = discovering(tmp_path, "import os; print('last words'); os._exit(1)")
    with workers.start(plugin, job="job", on_log=lines.append) as worker, pytest.raises(WorkerDied):
        worker.call("discovery.repository", CONNECTED, library=Answers())
    assert [(line.message, line.operation) for line in lines] == [("last words", "discovery.repository")]


def test_many_workers_at_once_each_keep_to_themselves(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        "import os\nresult = libs.run_bash(source_connection, str(os.getpid()))\n"
        "return [RepositoryDefinition(name=result.stdout)]",
    )
    wrong: list[object] = []

    def run() -> None:
        for _ in range(3):
            with workers.start(plugin, job="job") as worker:
                handler = Answers(lambda call: output(stdout=call.body))
                found = worker.call("discovery.repository", CONNECTED, library=handler)
                if found != [{"name": str(worker.pid)}]:
                    wrong.append((found, worker.pid))

    threads = [threading.Thread(target=run) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
