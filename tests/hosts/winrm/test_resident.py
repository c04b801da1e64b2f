"""PowerShell processes that are kept for one script after another. The host plays ours in Python."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from containers.winrm.responder import Invocation, Live, Process
from dlpx_remote.transports.base import CommandTimeout, OutcomeUnknown
from dlpx_remote.transports.winrm import WinrmConnection
from dlpx_remote.transports.winrm.bootstrap import INCOMPLETE, read_frame
from tests.hosts.winrm.windows import Windows


class Resident:
    """What our program for many scripts does, for scripts of a few words."""

    def __init__(self, windows: Windows) -> None:
        self.processes = 0
        self.runs: list[str] = []
        self.kill_idle = threading.Event()
        windows.host.when(r"DLPX_K=", Live(self._run))

    def _run(self, _invocation: Invocation, process: Process) -> int:
        self.processes += 1
        environment: dict[str, bytes] = {}
        while True:
            lines = [process.read_line()]
            if not lines[0]:
                return 0
            while lines[-1] != b".\n":
                lines.append(process.read_line())
                if not lines[-1]:
                    return INCOMPLETE
            token, script, variables = read_frame(b"".join(lines))
            text = script.decode()
            self.runs.append(text)
            process.write(f"{token}\n")
            code = 0
            match text.split():
                case ["exit", number]:
                    return int(number)
                case ["hang"]:
                    process.write("so far\n")
                    process.pause(60)
                case ["fail"]:
                    process.write("failed\r\n", "stderr")
                    code = -5
                case ["show", name]:
                    process.write({**environment, **variables}.get(name, b"nothing"))
                case ["mimic"]:
                    process.write(f"{token[:-1]}:0\n:{token}\n")
                case ["die", "later"]:
                    pass
            process.write(f"{token}:{code}\n", "stderr")
            process.write(f"{token}:{code}\n")
            if text == "die later":
                return 1


def run(connection: WinrmConnection, script: str, **options: object) -> tuple[int, bytes, bytes]:
    result = connection.run(script, interpreter="powershell", **options)  # type: ignore[arg-type]
    return result.exit_code, result.stdout, result.stderr


def test_a_warm_script_costs_two_requests_and_no_process(every_windows: Windows) -> None:
    resident = Resident(every_windows)
    with every_windows.connect(persistent=True) as connection:
        assert run(connection, "show A", variables={"A": "one"}) == (0, b"one", b"")
        before = every_windows.host.counts
        for _ in range(20):
            assert run(connection, "show A") == (0, b"nothing", b"")
        after = every_windows.host.counts
    assert after.requests - before.requests <= 3 * 20
    assert (after.connections, after.commands, resident.processes) == (1, 1, 1)


def test_exit_codes_and_streams_are_kept_apart(host: Windows) -> None:
    resident = Resident(host)
    with host.connect(persistent=True) as connection:
        assert run(connection, "fail") == (-5, b"", b"failed\r\n")
        assert run(connection, "exit 3") == (3, b"", b"")  # which ends the process
        assert run(connection, "show A", variables={"A": "x"}) == (0, b"x", b"")
        code, stdout, _ = run(connection, "mimic")
        assert (code, stdout.count(b"\n")) == (0, 2)  # what only looks like the end is output
    assert resident.processes == 2


def test_a_process_that_died_is_replaced_and_the_script_runs_once(host: Windows) -> None:
    resident = Resident(host)
    with host.connect(persistent=True) as connection:
        run(connection, "die later")
        assert run(connection, "show A") == (0, b"nothing", b"")
        host.host.forget_shells()
        assert run(connection, "show B") == (0, b"nothing", b"")
    assert resident.runs == ["die later", "show A", "show B"]
    assert resident.processes == 3


def test_a_script_out_of_time_ends_its_process_only(host: Windows) -> None:
    resident = Resident(host)
    with host.connect(persistent=True) as connection:
        run(connection, "show A")
        with pytest.raises(CommandTimeout, match="it was ended there") as caught:
            run(connection, "hang", timeout=0.6)
        assert caught.value.stdout == b"so far\n"
        assert run(connection, "show A") == (0, b"nothing", b"")
    assert resident.processes == 2


def test_output_that_is_lost_leaves_the_outcome_unknown(host: Windows) -> None:
    resident = Resident(host)
    with host.connect(persistent=True) as connection:
        run(connection, "show A")
        host.host.trouble("cut-after", "Receive")
        with pytest.raises(OutcomeUnknown):
            run(connection, "show B")
        assert run(connection, "show C") == (0, b"nothing", b"")
    assert resident.runs == ["show A", "show B", "show C"]


def test_scripts_at_once_have_a_process_each(host: Windows) -> None:
    resident = Resident(host)
    with host.connect(persistent=True) as connection, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(connection, "show A"), range(40)))
    assert results == [(0, b"nothing", b"")] * 40
    assert resident.processes <= 4
