"""Scripts on a Windows host: what goes out, what comes back, and what it costs."""

from __future__ import annotations

import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from containers.winrm.responder import Invocation, Quotas, Reply, Settings
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    CommandAborted,
    CommandEnded,
    CommandResult,
    CommandTimeout,
    Deadlines,
    InvalidCommand,
    NotSent,
    OutputTooLarge,
    ShellUnavailable,
    SyncFailed,
)
from dlpx_remote.transports.ssh import TraceEvent
from dlpx_remote.transports.winrm import WinrmConnection, connect
from tests.hosts.winrm.conftest import WindowsFactory
from tests.hosts.winrm.windows import Windows

PLANES = "".join(chr((plane << 16) + offset) for plane in range(17) for offset in (0x41, 0x3B1, 0xFFF0))


def run(connection: WinrmConnection, script: str | bytes, **options: object) -> CommandResult:
    return connection.run(script, interpreter="powershell", **options)  # type: ignore[arg-type]


def echo(invocation: Invocation) -> Reply:
    return Reply(stdout=invocation.script, stderr=repr(sorted(invocation.variables.items())))


def test_output_and_exit_code_are_the_scripts_own(every_windows: Windows) -> None:
    every_windows.script("exit 3", Reply(stdout="out\r\n", stderr="err\r\n", exit_code=3))
    with every_windows.connect() as connection:
        result = run(connection, "exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\r\n", b"err\r\n")
    assert result.signal is None


def test_a_warm_command_costs_three_requests_and_no_connection(every_windows: Windows) -> None:
    with every_windows.connect() as connection:
        run(connection, "'first'")
        before = every_windows.host.counts
        for _ in range(20):
            run(connection, "'again'", variables={"NAME": "value"})
        after = every_windows.host.counts
    assert after.requests - before.requests <= 3 * 20
    assert after.connections == 1
    assert after.shells == 1


def test_script_and_variables_of_every_plane_arrive_and_come_back(every_windows: Windows) -> None:
    every_windows.script("^#", echo)
    script = f"# {PLANES}"
    with every_windows.connect() as connection:
        result = run(connection, script, variables={"PLANES": PLANES, "EMPTY": ""})
    assert result.stdout.decode() == script
    assert result.stderr.decode() == repr([("EMPTY", ""), ("PLANES", PLANES)])


@pytest.mark.parametrize("authentication", ["basic", "ntlm"])
def test_a_script_of_five_megabytes_runs_and_its_output_comes_back(
    windows_with: WindowsFactory, authentication: str
) -> None:
    script = "# " + "ä line of it\n" * 400_000
    assert len(script.encode()) > 5_000_000
    with windows_with(authentication=authentication) as windows:
        windows.script("^#", echo)
        with windows.connect() as connection:
            assert run(connection, script).stdout.decode() == script


def test_nothing_of_script_and_variables_is_in_a_command_line(host: Windows) -> None:
    with host.connect() as connection:
        run(connection, "'secret-in-script'", variables={"PASSWORD": "secret-value"})
        run(connection, "'something else'")
    lines = {each.request for each in host.host.exchanges if each.action == "Command"}
    texts = [line.decode().partition("CommandLine")[2] for line in lines]
    assert all("secret" not in text for text in texts)
    commands = {text.partition("<rsp:Command>")[2].partition("<")[0] for text in texts}
    assert len(commands) == 1


def test_messages_over_http_are_encrypted_with_ntlm(host: Windows) -> None:
    with host.connect() as connection:
        run(connection, "'x'")
    assert all(each.encrypted for each in host.host.exchanges if each.action)


def test_bytes_that_are_no_text_stay_as_they_are(every_windows: Windows) -> None:
    every_windows.script("bytes", Reply(stdout=bytes(range(256)) * 10, stderr=bytes(range(256))))
    with every_windows.connect() as connection:
        result = run(connection, "bytes")
    assert result.stdout == bytes(range(256)) * 10
    assert result.stderr == bytes(range(256))


def test_clixml_on_stderr_becomes_text(host: Windows) -> None:
    clixml = (
        '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
        '<Obj S="progress" RefId="0"><MS /></Obj><S S="Error">no such thing: _xD83D__xDE00__x000D__x000A_</S>'
        "</Objs>"
    )
    host.script("fail", Reply(stderr=clixml, exit_code=1, chunk=7))
    pieces: list[tuple[str, bytes]] = []
    with host.connect() as connection:
        result = run(connection, "fail", on_output=lambda name, piece: pieces.append((name, piece)))
    assert result.stderr_text == "no such thing: \U0001f600\r\n"
    assert b"".join(piece for _, piece in pieces) == result.stderr


def test_output_is_handed_over_while_it_comes(host: Windows) -> None:
    host.script("slowly", Reply(stdout="abcdef", chunk=34, pause=0.02))
    pieces: list[bytes] = []
    with host.connect() as connection:
        result = run(connection, "slowly", on_output=lambda _, piece: pieces.append(piece))
    assert result.stdout == b"abcdef"
    assert b"".join(pieces) == b"abcdef"
    assert len(pieces) > 1


def test_large_output_comes_in_many_messages(host: Windows) -> None:
    data = bytes(range(256)) * 8000
    host.script("much", Reply(stdout=data))
    with host.connect() as connection:
        assert run(connection, "much").stdout == data


def test_exit_codes_of_32_bits_have_their_sign(host: Windows) -> None:
    host.script("crash", Reply(exit_code=0xC0000005))
    with host.connect() as connection:
        assert run(connection, "crash").exit_code == -1073741819


def test_a_host_that_has_nothing_to_say_is_asked_again(
    host: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlpx_remote.transports.winrm.commands.WAIT", 0.5)
    host.script("sleep", Reply(stdout="done", delay=1.2))
    with host.connect() as connection:
        assert run(connection, "sleep").stdout == b"done"
    assert host.host.counts.actions["Receive"] > 2
    assert host.host.counts.connections == 1


def test_a_script_out_of_time_is_ended_on_the_host(every_windows: Windows) -> None:
    every_windows.script("hang", Reply(stdout="so far\r\n", hangs=True))
    with every_windows.connect() as connection:
        with pytest.raises(
            CommandTimeout, match=r"did not finish within 0.6 s; it was ended there"
        ) as caught:
            run(connection, "hang", timeout=0.6)
        assert caught.value.killed
        assert caught.value.stdout == b"so far\r\n"
        assert every_windows.host.counts.commands_running == 0
        assert run(connection, "'next'").stdout == b"next\r\n"


def test_a_silent_script_is_ended_when_that_is_not_allowed(host: Windows) -> None:
    host.script("hang", Reply(stdout="so far\r\n", hangs=True))
    with host.connect(deadlines=Deadlines(idle=0.6)) as connection:
        with pytest.raises(CommandTimeout, match=r"wrote nothing for 0.6 s; it was ended there"):
            run(connection, "hang")
        assert host.host.counts.commands_running == 0


def test_too_much_output_ends_the_script(host: Windows) -> None:
    host.script("much", Reply(stdout=b"x" * 1_000_000, hangs=True))
    with host.connect() as connection:
        with pytest.raises(OutputTooLarge, match="wrote more than 1000 bytes; it was ended there") as caught:
            run(connection, "much", max_output=1000)
        assert caught.value.killed
        assert host.host.counts.commands_running == 0


def test_a_callback_that_fails_ends_the_script(host: Windows) -> None:
    host.script("hang", Reply(stdout="so far\r\n", hangs=True))

    def fail(_name: str, _piece: bytes) -> None:
        raise KeyboardInterrupt

    with host.connect() as connection:
        with pytest.raises(KeyboardInterrupt):
            run(connection, "hang", on_output=fail)
        assert host.host.counts.commands_running == 0


def test_closing_ends_what_runs(host: Windows) -> None:
    host.script("hang", Reply(hangs=True))
    connection = host.connect()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, connection, "hang")
        while not host.host.counts.actions.get("Receive"):
            time.sleep(0.01)
        connection.close()
        with pytest.raises(CommandEnded, match="ended because the connection was closed") as caught:
            running.result(10)
    assert caught.value.killed
    assert not connection.is_open


def test_a_closed_connection_runs_nothing(host: Windows) -> None:
    connection = host.connect()
    connection.close()
    connection.close()
    with pytest.raises(NotSent, match="is closed"):
        run(connection, "'x'")


@pytest.mark.parametrize("interpreter", ["bash", "expect"])
def test_unix_scripts_are_refused(host: Windows, interpreter: str) -> None:
    with host.connect() as connection, pytest.raises(InvalidCommand, match="is a Windows host"):
        connection.run("true", interpreter=interpreter)  # type: ignore[arg-type]


def test_what_only_unix_has_is_refused(host: Windows, tmp_path_factory: pytest.TempPathFactory) -> None:
    with host.connect() as connection:
        with pytest.raises(InvalidCommand, match="no meaning on a Windows host"):
            run(connection, "'x'", login_shell=True)
        with pytest.raises(SyncFailed, match="cannot be copied with rsync"):
            connection.sync("C:\\data", tmp_path_factory.mktemp("sync"))


def test_a_host_without_powershell_says_so(host: Windows) -> None:
    words = b"'powershell.exe' is not recognized as an internal or external command,\r\n"
    host.host.when(".*", Reply(stderr=words, exit_code=1))
    with host.connect() as connection, pytest.raises(ShellUnavailable, match="is not recognized"):
        run(connection, "'x'")


def test_a_powershell_that_ends_before_it_reads_says_why(host: Windows) -> None:
    host.host.when(".*", Reply(stderr="blocked by group policy\r\n", exit_code=1), reads_stdin=False)
    with host.connect() as connection, pytest.raises(ShellUnavailable, match="blocked by group policy"):
        run(connection, "'x'")


def test_facts_are_asked_for_once(every_windows: Windows) -> None:
    facts = (
        "operating_system=Windows Server 2022 Datacenter\r\nkernel=Windows 10.0.20348\r\n"
        "architecture=AMD64\r\nhostname=WIN1\r\nuser=WIN1\\Administrator\r\n"
        "home=C:\\Users\\Administrator\r\nshell=PowerShell 5.1.20348.2849\r\n"
        "tool.powershell=C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe\r\n"
    )
    every_windows.script("CurrentVersion", Reply(stdout=facts))
    with every_windows.connect() as connection:
        found = connection.facts()
        assert connection.facts() is found
    assert found.operating_system == "Windows Server 2022 Datacenter"
    assert found.architecture == "x86_64"
    assert found.user == "WIN1\\Administrator"
    assert found.uid is None
    assert found.shell == "PowerShell 5.1.20348.2849"
    assert "powershell" in found.tools


@pytest.mark.parametrize(("scheme", "authentication"), [("http", "ntlm"), ("https", "basic")])
def test_a_thousand_commands_leave_exactly_one_shell(
    windows_with: WindowsFactory, scheme: str, authentication: str
) -> None:
    events: list[TraceEvent] = []
    settings = Settings(records=5000)
    with windows_with(scheme=scheme, authentication=authentication, settings=settings) as host:
        with connect(host.target, trace=events.append) as connection:
            for number in range(1000):
                assert run(connection, f"'{number}'").stdout == f"{number}\r\n".encode()
            counts = host.host.counts
        assert counts.shells_open == 1
        # Counted here, and there by what was asked: others on this machine look for a free port now and then
        # or wait for a server of theirs, and what they try may be the port that this host has just got.
        opened = [event for event in events if (event.stage, event.state) == ("connect", "complete")]
        assert len(opened) == 1
        assert len({each.connection for each in host.host.exchanges if each.action}) == 1
        assert counts.requests <= 3 * 1000 + 2 * counts.shells + 3


def test_a_connection_of_a_process_with_many_files_open_is_kept(every_windows: Windows) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with every_windows.connect() as connection:
            for number in range(3):
                assert run(connection, f"'{number}'").stdout == f"{number}\r\n".encode()
        assert every_windows.host.counts.connections == 1
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_commands_run_side_by_side_in_one_shell(every_windows: Windows) -> None:
    together = threading.Barrier(4, timeout=20)

    def meet(_run: Invocation) -> Reply:
        together.wait()
        return Reply(stdout="met")

    every_windows.script("meet", meet)
    with every_windows.connect() as connection:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: run(connection, "meet"), range(4)))
        assert every_windows.host.counts.shells == 1
    assert [result.stdout for result in results] == [b"met"] * 4


def test_no_more_commands_run_at_once_than_were_asked_for(host: Windows) -> None:
    most, now, lock = 0, 0, threading.Lock()

    def count(_run: Invocation) -> Reply:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return Reply()

    host.script("count", count)
    with host.connect(at_once=3) as connection, ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: run(connection, "count"), range(30)))
    assert most <= 3


def test_a_quota_lowers_how_many_run_at_once(windows_with: WindowsFactory) -> None:
    with windows_with(quotas=Quotas(commands=3)) as windows:
        windows.script("slowly", Reply(stdout="ok", delay=0.05))
        with windows.connect(at_once=10) as connection:
            with ThreadPoolExecutor(10) as pool:
                results = list(pool.map(lambda _: run(connection, "slowly"), range(30)))
            assert connection.at_once <= 3
    assert [result.stdout for result in results] == [b"ok"] * 30


def test_a_full_shell_is_replaced_and_its_size_remembered(windows_with: WindowsFactory) -> None:
    with windows_with(quotas=Quotas(operations=10)) as windows, windows.connect() as connection:
        for number in range(35):
            assert run(connection, f"'{number}'").stdout == f"{number}\r\n".encode()
        counts = windows.host.counts
        assert counts.shells_open == 1
        assert counts.actions["Command"] == 36  # refused once; from then on the shell is replaced in time


def test_a_script_is_ended_from_another_thread(every_windows: Windows) -> None:
    every_windows.script("hang", Reply(stdout="up\n", hangs=True))
    abort = Abort()
    with every_windows.connect() as connection:
        with pytest.raises(CommandAborted) as caught:
            run(connection, "hang", abort=abort, on_output=lambda *_: abort.ask())
        assert caught.value.killed
        assert "was cancelled; it was ended there" in caught.value.message
        assert run(connection, "'next'").stdout == b"next\r\n"
