"""What a plugin's code finds around it, and what comes back of an operation."""

from __future__ import annotations

import contextlib
import gc
import logging
from pathlib import Path

import pytest

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.plugins.worker import (
    Limits,
    LogLine,
    OperationMissing,
    PluginFailed,
    PluginUserError,
    TooLarge,
    Workers,
    WorkersUnavailable,
    WrongResult,
)
from dlpx_remote.redaction import REDACTOR
from tests.unit.plugins.worker.support import (
    CONNECTION,
    DISCOVERY,
    HEAD,
    Answers,
    discovering,
    make_plugin,
    output,
)

CONNECTED = {"source_connection": CONNECTION}


def test_an_operation_gets_its_arguments_and_gives_its_result(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        """
        host = source_connection.environment.host
        return [RepositoryDefinition(name=host.scratch_path), RepositoryDefinition(name="b", port=5)]
        """,
    )
    with workers.start(plugin, job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=Answers())
        again = worker.call("discovery.repository", CONNECTED, library=Answers())
    assert found == [{"name": "/s"}, {"name": "b", "port": 5}] == again


def test_the_plugin_finds_its_source_directory_and_nothing_of_the_engines(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLPX_TEST_CANARY", "visible")
    plugin = discovering(
        tmp_path,
        """
        import os, sys
        return [RepositoryDefinition(name=text) for text in (
            os.getcwd(), sys.path[0], ",".join(sorted(os.environ)), sys.stdin.read(),
            ",".join(sorted(os.listdir("/proc/self/fd"))), str(os.getpid() == os.getpgid(0) == os.getsid(0)),
            ",".join({"yaml", "paramiko", "sqlalchemy", "dlpx_remote.redaction"} & set(sys.modules)),
        )]
        """,
    )
    with Workers() as fresh, fresh.start(plugin, job="job") as worker:
        found = [one["name"] for one in worker.call("discovery.repository", CONNECTED, library=Answers())]
    source = str(tmp_path / "src")
    assert found[:2] == [source, source]
    assert set(found[2].split(",")) <= {"PATH", "LANG", "TZ", "LC_CTYPE"}
    assert found[3] == ""
    # 0 to 2, the conversation, and the descriptor that lists them
    assert set(found[4].split(",")) <= {"0", "1", "2", "3", "100"}
    assert found[5:] == ["True", ""]


def test_every_folder_is_a_package_with_or_without_an_init_file(workers: Workers, tmp_path: Path) -> None:
    files = {
        "main.py": "from operations.discovery import plugin\n",
        "operations/discovery.py": DISCOVERY
        + "    import pkgutil\n"
        + "    import json.decoder, wsgiref.tools as tools, operations.deep.er as er\n"
        + "    query = pkgutil.get_data('resources', 'query.sql').decode()\n"
        + "    return [RepositoryDefinition(name=name) for name in (query, tools.NAME, er.NAME)]\n",
        "operations/deep/er.py": "from operations import discovery\nNAME = 'deep'\n",
        "wsgiref/tools.py": "NAME = 'ours, not the one of the standard library'\n",
        "resources/query.sql": "select 1",
    }
    with workers.start(make_plugin(tmp_path, files), job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=Answers())
    assert [one["name"] for one in found] == [
        "select 1",
        "ours, not the one of the standard library",
        "deep",
    ]


def test_nothing_is_written_into_the_plugins_directory(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path, {"main.py": "from other import plugin", "other.py": HEAD})
    before = sorted(tmp_path.rglob("*"))
    with workers.start(plugin, job="job") as worker:
        worker.inspect()
    assert sorted(tmp_path.rglob("*")) == before


def test_plugins_with_modules_of_the_same_name_run_side_by_side(workers: Workers, tmp_path: Path) -> None:
    plugins = [
        make_plugin(
            tmp_path / name,
            {
                "main.py": DISCOVERY + "    import helper\n    return [RepositoryDefinition(helper.NAME)]",
                "helper.py": f"NAME = {name!r}\n",
                "generated/__init__.py": "raise ImportError('stale')\n",
            },
        )
        for name in ("one", "two")
    ]
    with workers.start(plugins[0], job="1") as first, workers.start(plugins[1], job="2") as second:
        for _ in range(2):
            for worker, name in ((first, "one"), (second, "two")):
                found = worker.call("discovery.repository", CONNECTED, library=Answers())
                assert found == [{"name": name}]


def test_state_lives_as_long_as_the_worker_and_no_longer(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(
        tmp_path,
        DISCOVERY + "    seen.append(1)\n    return [RepositoryDefinition(name=str(len(seen)))]\nseen = []\n",
    )
    for _ in range(2):
        with workers.start(plugin, job="job") as worker:
            for expected in ("1", "2"):
                found = worker.call("discovery.repository", CONNECTED, library=Answers())
                assert found == [{"name": expected}]


def test_what_is_printed_and_logged_reaches_the_log_with_its_origin_and_without_secrets(
    workers: Workers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = discovering(
        tmp_path,
        r"""
        import logging, os, subprocess, sys
        print("printed hunter2-canary")
        print("complained", file=sys.stderr)
        os.write(1, b"raw \xff\n")
        subprocess.run(["echo", "from a child"])
        logger = logging.getLogger("of.the.plugin")
        logger.addHandler(libs.PlatformHandler())
        logger.warning("logged %s", "hunter2-canary")
        sys.stdout.write("no line end")
        return []
        """,
    )
    lines: list[LogLine] = []
    with (
        REDACTOR.variables(["hunter2-canary"]),
        caplog.at_level(logging.DEBUG, logger="dlpx_remote.plugin"),
        workers.start(plugin, job="job-7", on_log=lines.append) as worker,
    ):
        worker.call("discovery.repository", CONNECTED, library=Answers())
    printed = [line.message for line in lines if line.logger == "output"]
    assert printed == ["printed ********", "complained", "raw \ufffd", "from a child", "no line end"]
    (logged,) = [line for line in lines if line.logger == "of.the.plugin"]
    assert (logged.message, logged.level) == ("logged ********", logging.WARNING)
    assert {(line.plugin, line.job, line.operation) for line in lines} == {
        ("tried", "job-7", "discovery.repository")
    }
    records = [record for record in caplog.records if record.name == "dlpx_remote.plugin"]
    assert [record.getMessage() for record in records] == [line.message for line in lines]
    assert {vars(record)["job"] for record in records} == {"job-7"}
    assert "hunter2" not in caplog.text


def test_a_flood_of_output_is_cut_off_and_said_to_be(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "for _ in range(3000): print('x' * 999)\nreturn []")
    lines: list[LogLine] = []
    limits = Limits(log=100_000)
    with workers.start(plugin, job="job", limits=limits, on_log=lines.append) as worker:
        worker.call("discovery.repository", CONNECTED, library=Answers())
    assert sum(len(line.message) for line in lines[:-1]) <= 100_000
    assert lines[-1].level == logging.WARNING
    assert "2.8 MiB more were printed or logged and not kept" in lines[-1].message


def test_the_words_of_a_user_error_reach_the_operator(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "raise UserError('The disk is full.', 'Add a disk.', 'df: 100%')")
    with workers.start(plugin, job="job") as worker, pytest.raises(PluginUserError) as caught:
        worker.call("discovery.repository", CONNECTED, library=Answers())
    error = caught.value
    assert (error.message, error.action, error.output) == ("The disk is full.", "Add a disk.", "df: 100%")
    assert (error.plugin, error.operation) == ("tried", "discovery.repository")


def test_another_exception_comes_with_the_plugins_own_stack_trace(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(
        tmp_path,
        DISCOVERY + "    return helper()\ndef helper():\n    raise ValueError('broken\\nfor a reason')\n",
    )
    with workers.start(plugin, job="job") as worker:
        with pytest.raises(PluginFailed) as caught:
            worker.call("discovery.repository", CONNECTED, library=Answers())
        assert worker.alive
    error = caught.value
    assert error.message == "discovery.repository of the plugin tried failed: ValueError: broken"
    assert error.kind == "ValueError"
    assert "main.py" in error.output
    assert "in helper" in error.output
    assert "for a reason" in error.output
    assert "dlpx_remote" not in error.output


def test_variables_that_are_masked_stay_masked_in_errors(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        "result = libs.run_bash(source_connection, 'env', {'PASSWORD': 'hunter2-canary'})\n"
        "raise UserError('It said ' + result.stdout, result.stdout, result.stdout)",
    )
    handler = Answers(lambda call: output(stdout=call.variables["PASSWORD"]))
    with (
        REDACTOR.variables(["hunter2-canary"]),
        workers.start(plugin, job="job") as worker,
        pytest.raises(PluginUserError) as caught,
    ):
        worker.call("discovery.repository", CONNECTED, library=handler)
    assert "hunter2" not in f"{caught.value} {caught.value.output}"
    assert caught.value.message == "It said ********"
    assert "hunter2" not in repr(handler.calls)


def test_a_script_is_a_question_to_the_engine(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        """
        result = libs.run_bash(source_connection, "echo hi", {"A": "1", "B": b"\\xff"}, use_login_shell=True)
        return [RepositoryDefinition(name=result.stdout + result.stderr, port=result.exit_code)]
        """,
    )
    handler = Answers(lambda call: output(3, b"out", b"err"))
    with workers.start(plugin, job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=handler)
    assert found == [{"name": "outerr", "port": 3}]
    (call,) = handler.calls
    assert (call.function, call.operation) == ("run_bash", "discovery.repository")
    assert (call.environment, call.user) == ("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-1")
    assert (call.body, call.variables) == (b"echo hi", {"A": b"1", "B": b"\xff"})
    assert call.options == {"use_login_shell": True}


def test_library_calls_from_several_threads_of_the_plugin_each_get_their_own_answer(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(
        tmp_path,
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            texts = pool.map(lambda n: libs.run_bash(source_connection, str(n)).stdout, range(50))
        return [RepositoryDefinition(name=text) for text in texts]
        """,
    )
    handler = Answers(lambda call: output(stdout=call.body))
    with workers.start(plugin, job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=handler)
    assert [one["name"] for one in found] == [str(number) for number in range(50)]


def test_a_large_script_and_its_large_output_pass_unchanged(workers: Workers, tmp_path: Path) -> None:
    size = 20 * 1024 * 1024
    plugin = discovering(
        tmp_path,
        f"""
        result = libs.run_bash(source_connection, b"x" * {size})
        return [RepositoryDefinition(name="", port=len(result.stdout))]
        """,
    )
    handler = Answers(lambda call: output(stdout=call.body))
    with workers.start(plugin, job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=handler)
    assert found == [{"name": "", "port": size}]


@pytest.mark.slow
def test_a_library_result_of_192_mib_fits_into_the_memory_of_a_worker(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(
        tmp_path,
        "text = libs.run_bash(source_connection, 'cat').stdout\n"
        "return [RepositoryDefinition(name=text[-3:], port=len(text))]",
    )
    size = 192 * 1024 * 1024
    handler = Answers(lambda call: output(stdout=bytes(size - 3) + b"end"))
    with workers.start(plugin, job="job") as worker:
        found = worker.call("discovery.repository", CONNECTED, library=handler)
    assert found == [{"name": "end", "port": size}]


def test_a_library_input_beyond_the_limit_is_an_error_that_the_plugin_can_catch(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(
        tmp_path,
        """
        from dlpx.virtualization.libs.exceptions import LibraryError
        try:
            libs.run_bash(source_connection, b"x" * 2000)
        except LibraryError as error:
            return [RepositoryDefinition(name=f"{error.id}: {error.message}")]
        """,
    )
    with workers.start(plugin, job="job", limits=Limits(library=1000)) as worker:
        (found,) = worker.call("discovery.repository", CONNECTED, library=Answers())
    assert (
        found["name"] == "too_large: The input of libs.run_bash has 2 KiB; at most 1000 bytes are possible."
    )


def test_a_refused_library_call_is_an_error_that_the_plugin_can_catch(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(
        tmp_path,
        """
        from dlpx.virtualization.libs.exceptions import LibraryError
        try:
            libs.run_sync(source_connection, "/data")
        except LibraryError as error:
            return [RepositoryDefinition(name=f"{error.id}: {error.message}")]
        """,
    )
    with workers.start(plugin, job="job") as worker:
        (found,) = worker.call("discovery.repository", CONNECTED, library=Answers())
    assert found["name"] == "not_expected: This test expects no library call."


def test_a_library_call_while_the_plugin_is_imported_is_refused(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path, HEAD + "libs.retrieve_credentials({'a': 1})\n")
    with workers.start(plugin, job="job") as worker:
        inspection = worker.inspect()
    assert "was called when no operation was running" in inspection.errors[0].message


@pytest.mark.parametrize(
    ("operation", "kind", "body", "complaint"),
    [
        ("discovery.repository", PluginType.DIRECT, "None", "returned None, but must return a list of Repo"),
        ("discovery.repository", PluginType.DIRECT, "(1,)", "returned a tuple, but"),
        (
            "discovery.repository",
            PluginType.DIRECT,
            "[SnapshotDefinition()]",
            "item 1 is a SnapshotDefinition",
        ),
        (
            "linked.post_snapshot",
            PluginType.DIRECT,
            "{}",
            "returned a dict, but must return a SnapshotDefinition",
        ),
        ("virtual.status", PluginType.DIRECT, "'ACTIVE'", "returned a str, but must return Status.ACTIVE or"),
        (
            "virtual.source_size",
            PluginType.DIRECT,
            "True",
            "returned a bool, but must return an int of 0 or more",
        ),
        ("virtual.source_size", PluginType.DIRECT, "-5", "returned -5, but must return an int of 0 or more"),
        (
            "virtual.mount_specification",
            PluginType.DIRECT,
            "[]",
            "returned a list, but must return a MountSpec",
        ),
        ("discovery.repository", PluginType.DIRECT, "[RepositoryDefinition('\\ud800')]", "JSON cannot hold"),
    ],
)
def test_a_result_of_the_wrong_type_is_named(
    workers: Workers, tmp_path: Path, operation: str, kind: PluginType, body: str, complaint: str
) -> None:
    plugin = make_plugin(
        tmp_path, HEAD + f"@plugin.{operation}()\ndef f(**all):\n    return {body}\n", plugin_type=kind
    )
    source = {"guid": "g", "connection": CONNECTION, "parameters": {}, "mounts": []}
    arguments = {
        "source_connection": CONNECTION,
        "direct_source": source,
        "virtual_source": source,
        "repository": {"name": "r"},
        "source_config": {"name": "s"},
    }
    with workers.start(plugin, job="job") as worker, pytest.raises(WrongResult, match=complaint):
        worker.call(operation, arguments, library=Answers())


def test_subclasses_of_results_are_results(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        """
        class Mine(RepositoryDefinition):
            pass
        class Several(list):
            pass
        return Several([Mine(name="a")])
        """,
    )
    with workers.start(plugin, job="job") as worker:
        assert worker.call("discovery.repository", CONNECTED, library=Answers()) == [{"name": "a"}]


def test_a_result_of_5_mib_is_too_large_and_the_worker_goes_on(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(
        tmp_path,
        DISCOVERY + "    sizes.append(0)\n    return [RepositoryDefinition(name='x' * sizes[-2])]\n"
        "sizes = [100, 5 * 1024 * 1024]\n",
    )
    with workers.start(plugin, job="job") as worker:
        with pytest.raises(TooLarge, match=r"has 5 MiB; at most 4 MiB are possible"):
            worker.call("discovery.repository", CONNECTED, library=Answers())
        assert worker.call("discovery.repository", CONNECTED, library=Answers()) == [{"name": ""}]


def test_arguments_of_5_mib_are_too_large(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "return []")
    with workers.start(plugin, job="job") as worker, pytest.raises(TooLarge, match="arguments of discovery"):
        worker.call("discovery.repository", {"source_connection": "x" * 5_000_000}, library=Answers())


def test_an_operation_that_the_plugin_lacks_is_named(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "return []")
    with (
        workers.start(plugin, job="job") as worker,
        pytest.raises(OperationMissing, match=r"tried does not implement virtual\.status"),
    ):
        worker.call("virtual.status", {}, library=Answers())


def test_closed_workers_start_no_more(tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "return []")
    workers = Workers()
    workers.close()
    workers.close()
    with pytest.raises(WorkersUnavailable, match="has been closed"):
        workers.start(plugin, job="job")


def test_an_interpreter_that_is_gone_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with Workers() as workers, pytest.raises(WorkersUnavailable, match="could not be started"):
        workers.start(discovering(tmp_path, "return []"), job="job")


def test_a_fork_server_that_cannot_start_tells_what_it_complained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(broken))
    with Workers() as workers, pytest.raises(WorkersUnavailable, match="ended while it started") as caught:
        workers.start(discovering(tmp_path, "return []"), job="job")
    assert "no such library" in caught.value.output


def open_descriptors() -> int:
    """Sockets and pipes; other threads of the test session open and close files all the time."""
    gc.collect()
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()).startswith(("socket:", "pipe:"))
    return found


def test_no_descriptors_are_left_open_by_a_worker(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(tmp_path, "return []")
    workers.start(plugin, job="job").close()
    before = open_descriptors()
    for _ in range(3):
        with workers.start(plugin, job="job") as worker:
            worker.inspect()
    assert open_descriptors() == before
