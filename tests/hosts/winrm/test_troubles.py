"""A host or network that fails in the middle: no lie, no second run, no hang, nothing left on the host."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from containers.winrm.responder import Invocation, Reply
from dlpx_remote.transports.base import (
    CommandTimeout,
    Deadlines,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    SessionRefused,
)
from dlpx_remote.transports.winrm import WinrmConnection
from tests.hosts.winrm.windows import Windows

UNREADABLE = (
    "empty",
    "not-soap",
    "broken-soap",
    "wrong-message-id",
    "no-message-id",
    "half-body",
    "half-chunk",
    "cut-after",
)
SILENT = ("silence-before", "silence-after", "half-then-silence")
FEW_SECONDS = Deadlines(total=1.0)


class Witness:
    """Counts how often a script ran."""

    def __init__(self, windows: Windows) -> None:
        self.runs = 0
        self._lock = threading.Lock()
        windows.script("^witness$", self._run)

    def _run(self, _invocation: Invocation) -> Reply:
        with self._lock:
            self.runs += 1
        return Reply(stdout="ran\r\n")


def witness(connection: WinrmConnection) -> bytes:
    return connection.run("witness", interpreter="powershell").stdout


def still_works(windows: Windows, connection: WinrmConnection) -> None:
    windows.host.troubles.clear()
    assert connection.run("'next'", interpreter="powershell", timeout=30).stdout == b"next\r\n"
    assert windows.host.counts.shells_open == 1
    assert windows.host.counts.commands_running == 0


@pytest.mark.parametrize("trouble", [*UNREADABLE, "cut-before"])
def test_an_answer_that_is_lost_before_the_script(every_windows: Windows, trouble: str) -> None:
    seen = Witness(every_windows)
    with every_windows.connect() as connection:
        every_windows.host.trouble(trouble, "Command")
        with pytest.raises(NotSent):
            witness(connection)
        assert seen.runs == 0
        still_works(every_windows, connection)


@pytest.mark.parametrize("trouble", UNREADABLE)
def test_an_answer_to_the_script_itself_that_is_lost_costs_nothing(
    every_windows: Windows, trouble: str
) -> None:
    seen = Witness(every_windows)
    with every_windows.connect() as connection:
        every_windows.host.trouble(trouble, "Send")
        assert witness(connection) == b"ran\r\n"
        assert seen.runs == 1
        still_works(every_windows, connection)


def test_a_script_that_is_lost_on_its_way_is_waited_for_until_the_host_had_its_time(
    every_windows: Windows,
) -> None:
    seen = Witness(every_windows)
    with every_windows.connect(deadlines=Deadlines(settle=0.6)) as connection:
        every_windows.host.trouble("cut-before", "Send")
        with pytest.raises(OutcomeUnknown, match="lost after the script was sent"):
            witness(connection)
        assert seen.runs == 0
        still_works(every_windows, connection)


@pytest.mark.parametrize("trouble", [*UNREADABLE, "cut-before"])
def test_the_last_output_that_is_lost(every_windows: Windows, trouble: str) -> None:
    seen = Witness(every_windows)
    with every_windows.connect() as connection:
        every_windows.host.trouble(trouble, "Receive")
        with pytest.raises((OutcomeUnknown, OutputLost), match="was lost") as caught:
            witness(connection)
        # With it went how the script ended, unless the host never saw the question.
        assert isinstance(caught.value, OutputLost) is (trouble == "cut-before")
        assert seen.runs == 1
        still_works(every_windows, connection)


@pytest.mark.parametrize("trouble", [*UNREADABLE, "cut-before"])
def test_output_that_is_lost_on_the_way_does_not_hide_how_the_script_ended(
    every_windows: Windows, trouble: str
) -> None:
    every_windows.script("talk", Reply(stdout="0123456789" * 20, chunk=50, exit_code=5))
    with every_windows.connect() as connection:
        every_windows.host.trouble(trouble, "Receive", after=1)
        with pytest.raises(OutputLost, match=r"ended with exit code 5, and some .* may be lost") as caught:
            connection.run("talk", interpreter="powershell")
        assert caught.value.exit_code == 5
        assert caught.value.stdout.startswith(b"0123456789")
        assert len(caught.value.stdout) <= 200
        still_works(every_windows, connection)


def test_output_is_asked_for_again_until_the_host_is_back(host: Windows) -> None:
    host.script("talk", Reply(stdout="0123456789" * 20, chunk=50, pause=0.05, exit_code=5))
    left: list[str] = []

    def leave(name: str, _piece: bytes) -> None:
        if not left:
            left.append(name)
            host.host.trouble("cut-before", "HTTP", times=4)
            host.host.cut_connections()

    with host.connect() as connection:
        with pytest.raises(OutputLost) as caught:
            connection.run("talk", interpreter="powershell", on_output=leave, timeout=60)
        assert caught.value.exit_code == 5
        still_works(host, connection)


def test_a_host_that_stays_away_is_not_asked_for_ever(host: Windows) -> None:
    host.script("hang", Reply(stdout="so far", hangs=True))
    with host.connect(deadlines=Deadlines(settle=0.5)) as connection:
        host.host.trouble("cut-before", "Receive", after=1, times=0)
        with pytest.raises(OutcomeUnknown, match="lost after the script was sent") as caught:
            connection.run("hang", interpreter="powershell", timeout=60)
        assert "so far" in caught.value.output
        still_works(host, connection)


def test_a_host_that_is_not_to_be_asked_again_is_not(host: Windows) -> None:
    with host.connect(deadlines=Deadlines(settle=0)) as connection:
        before = host.host.counts.actions.get("Receive", 0)
        host.host.trouble("cut-before", "Receive")
        with pytest.raises(OutcomeUnknown):
            connection.run("'x'", interpreter="powershell")
        assert host.host.counts.actions.get("Receive", 0) <= before + 1
        still_works(host, connection)


@pytest.mark.parametrize("trouble", ["bad-seal", "unsealed"])
@pytest.mark.parametrize("action", ["Command", "Send", "Receive"])
def test_a_reply_that_somebody_in_between_could_have_written(
    host: Windows, trouble: str, action: str
) -> None:
    seen = Witness(host)
    with host.connect() as connection:
        host.host.trouble(trouble, action)
        if action == "Send":  # what it answers to that is not needed
            assert witness(connection) == b"ran\r\n"
        else:
            with pytest.raises(NotSent if action == "Command" else OutcomeUnknown):
                witness(connection)
        assert seen.runs <= 1
        still_works(host, connection)


@pytest.mark.parametrize("action", ["Command", "Send", "Receive"])
@pytest.mark.parametrize("trouble", SILENT)
def test_a_host_that_falls_silent(host: Windows, trouble: str, action: str) -> None:
    seen = Witness(host)
    with host.connect(deadlines=FEW_SECONDS) as connection:
        host.host.trouble(trouble, action, seconds=0)
        began = time.monotonic()
        with pytest.raises((NotSent, CommandTimeout, OutcomeUnknown)) as caught:
            witness(connection)
        assert time.monotonic() - began < 1 + 3 + 5 + 5  # the deadline, an answer's and an ending's time
        if isinstance(caught.value, NotSent):
            assert seen.runs == 0
        still_works(host, connection)


def test_a_reply_in_drops_does_not_outlast_the_deadline(host: Windows) -> None:
    Witness(host)
    with host.connect(deadlines=FEW_SECONDS) as connection:
        host.host.trouble("trickle", "Receive", seconds=100)
        began = time.monotonic()
        with pytest.raises((CommandTimeout, OutcomeUnknown)):
            witness(connection)
        assert time.monotonic() - began < 15
        still_works(host, connection)


def test_a_large_script_that_is_cut_off_has_not_run(every_windows: Windows) -> None:
    runs: list[str] = []
    every_windows.script("^# large", lambda run: runs.append(run.script) or Reply())  # type: ignore[func-returns-value]
    script = "# large\n" + "# line\n" * 100_000
    with every_windows.connect() as connection:
        every_windows.host.trouble("cut-after", "Send", after=3)
        with pytest.raises(NotSent, match="before the script was sent"):
            connection.run(script, interpreter="powershell")
        assert runs == []
        still_works(every_windows, connection)


@pytest.mark.parametrize("action", ["Command", "Send", "Receive"])
@pytest.mark.parametrize("fault", ["busy", "user-quota"])
def test_a_host_that_is_busy_is_asked_again(host: Windows, action: str, fault: str) -> None:
    seen = Witness(host)
    with host.connect() as connection:
        host.host.trouble("fault", action, fault=fault, times=3 if fault == "busy" else 1)
        assert witness(connection) == b"ran\r\n"
        assert seen.runs == 1


def test_a_host_that_is_busy_all_the_time_is_given_up(host: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlpx_remote.transports.winrm.running.BUSY_FOR", 0.3)
    with host.connect() as connection:
        host.host.trouble("fault", "Command", fault="busy", times=0)
        with pytest.raises(SessionRefused, match="requested resource is in use"):
            witness(connection)
        still_works(host, connection)


@pytest.mark.parametrize("fault", ["operation-quota", "command-quota"])
def test_a_quota_renews_the_shell_once(host: Windows, fault: str) -> None:
    with host.connect() as connection:
        connection.run("'first'", interpreter="powershell")
        host.host.trouble("fault", "Command", fault=fault)
        assert connection.run("'x'", interpreter="powershell").exit_code == 0
        assert host.host.counts.shells == 2
        host.host.trouble("fault", "Command", fault=fault, times=2)
        with pytest.raises(SessionRefused, match="exceeded"):
            connection.run("'x'", interpreter="powershell")
        still_works(host, connection)


def test_a_shell_that_the_host_lost_is_replaced(every_windows: Windows) -> None:
    with every_windows.connect() as connection:
        connection.run("'first'", interpreter="powershell")
        every_windows.host.forget_shells()
        assert connection.run("'x'", interpreter="powershell").exit_code == 0
        assert every_windows.host.counts.shells_open == 1


def test_a_shell_that_is_lost_under_a_script_leaves_its_outcome_unknown(host: Windows) -> None:
    host.script("hang", Reply(stdout="so far", hangs=True))
    # Between two questions for output: one that waits is answered otherwise, as aborted.
    forget = host.host.forget_shells

    with host.connect() as connection:
        with pytest.raises(OutcomeUnknown, match="the host does not know the command any more"):
            connection.run("hang", interpreter="powershell", timeout=60, on_output=lambda *_: forget())
        still_works(host, connection)


def test_a_shell_that_is_lost_while_output_is_waited_for_leaves_its_outcome_unknown(host: Windows) -> None:
    host.script("hang", Reply(stdout="so far", hangs=True))
    heard = threading.Event()

    def lose() -> None:
        assert heard.wait(20)
        time.sleep(0.3)  # by then it most likely waits; if not, it is answered as above
        host.host.forget_shells()

    with host.connect() as connection, ThreadPoolExecutor(1) as pool:
        losing = pool.submit(lose)
        with pytest.raises(OutcomeUnknown, match=r"has been aborted|does not know the command any more"):
            connection.run("hang", interpreter="powershell", timeout=60, on_output=lambda *_: heard.set())
        losing.result()
        still_works(host, connection)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(every_windows: Windows) -> None:
    with every_windows.connect() as connection:
        connection.run("'first'", interpreter="powershell")
        every_windows.host.cut_connections()
        time.sleep(0.1)
        assert connection.run("'x'", interpreter="powershell").exit_code == 0
        assert every_windows.host.counts.connections == 2
        assert every_windows.host.counts.shells == 1


def test_what_could_not_be_ended_is_ended_later(host: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlpx_remote.transports.winrm.running.ENDING", 0.5)
    host.script("hang", Reply(hangs=True))
    with host.connect() as connection:
        host.host.trouble("silence-before", "Signal", seconds=0, times=0)
        host.host.trouble("silence-before", "Delete", seconds=0, times=0)
        with pytest.raises(CommandTimeout, match="not confirmed that it was ended") as caught:
            connection.run("hang", interpreter="powershell", timeout=0.5)
        assert not caught.value.killed
        assert host.host.counts.commands_running == 1
        still_works(host, connection)


def test_a_host_that_is_gone_does_not_hold_up_closing(host: Windows) -> None:
    connection = host.connect()
    host.host.trouble("silence-before", "Delete", seconds=0)
    began = time.monotonic()
    connection.close()
    assert time.monotonic() - began < 10
    host.host.forget_shells()


def test_a_login_that_is_refused_later_is_told_of(host: Windows) -> None:
    with host.connect() as connection:
        host.host.trouble("unauthorized", "Command", times=0)
        with pytest.raises(NotSent, match="refused the login"):
            connection.run("'x'", interpreter="powershell")
        still_works(host, connection)
