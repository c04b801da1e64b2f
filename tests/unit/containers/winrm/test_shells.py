"""Shells and commands: what a client of another's making sees of them."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from winrm.exceptions import WinRMOperationTimeoutError, WSManFaultError

from containers.winrm.responder import Invocation, Live, Payload, Process, Quotas, Reply, Rule, WinRMHost
from tests.unit.containers.winrm.conftest import USER, Client


def encoded(script: str) -> str:
    return base64.b64encode(script.encode("utf-16-le")).decode()


def test_a_command_line_is_answered_by_the_rule_that_fits(host: WinRMHost, client: Client) -> None:
    host.when(r"^ipconfig /all$", Reply(stdout="Windows IP\r\n", stderr="no cable", exit_code=7))
    assert client.run("ipconfig", "/all") == (b"Windows IP\r\n", b"no cable", 7)


def test_the_script_of_an_encoded_command_is_what_rules_see(host: WinRMHost, client: Client) -> None:
    host.when(r"Get-Service spooler", Reply(stdout="Running"))
    out, _, code = client.run("powershell", "-NoProfile", "-EncodedCommand", encoded("Get-Service spooler"))
    assert (out, code) == (b"Running", 0)


def test_a_command_that_reads_stdin_is_answered_at_its_end(host: WinRMHost, client: Client) -> None:
    host.when(r"^first\nsecond$", Reply(stdout="both"))
    command = client.start("powershell", "-EncodedCommand", encoded("[Console]::In.ReadToEnd() | iex"))
    client.send(command, b"first\n", end=False)
    with pytest.raises(WinRMOperationTimeoutError):
        client.receive(command)
    client.send(command, b"second", end=True)
    assert client.receive(command) == (b"both", b"", 0, True)


def test_a_decoder_makes_script_and_variables_of_stdin(host: WinRMHost, client: Client) -> None:
    host.rules.decoder = lambda bootstrap, stdin: Payload(stdin.decode()[::-1], {"bootstrap": bootstrap})
    seen: list[Invocation] = []

    def answer(invocation: Invocation) -> Reply:
        seen.append(invocation)
        return Reply(stdout=invocation.variables["bootstrap"])

    host.when("^olleh$", answer)
    bootstrap = "$input | iex"
    out, _, _ = client.run("powershell", "-enc", encoded(bootstrap), stdin=b"hello")
    assert out == bootstrap.encode()
    assert (seen[0].stdin, seen[0].user, seen[0].bootstrap) == (b"hello", USER, bootstrap)


def test_a_live_program_talks(host: WinRMHost, client: Client) -> None:
    def shout(_invocation: Invocation, process: Process) -> int:
        while line := process.read_line():
            process.write(line.upper())
        return 5

    host.when("powershell -$", Live(shout))
    command = client.start("powershell", "-")
    client.send(command, b"one\n", end=False)
    assert client.receive(command) == (b"ONE\n", b"", -1, False)
    client.send(command, b"two\n", end=False)
    assert client.receive(command) == (b"TWO\n", b"", -1, False)
    client.send(command, b"", end=True)
    assert client.receive(command) == (b"", b"", 5, True)


def test_a_live_program_that_fails_does_not_keep_its_client_waiting(host: WinRMHost, client: Client) -> None:
    def fail(_invocation: Invocation, _process: Process) -> int:
        raise RuntimeError("lost")

    host.when("x", Live(fail))
    out, err, code = client.run("x")
    assert (out, code) == (b"", 1)
    assert b"lost" in err


def test_a_decoder_or_answer_that_fails_does_not_keep_its_client_waiting(
    host: WinRMHost, client: Client
) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("lost")

    host.when("^x$", fail)
    assert client.run("x")[1:] == (b"What the test gave its host failed: RuntimeError('lost')\r\n", 1)
    host.rules.decoder = fail
    assert client.run("powershell", "-", stdin=b"x")[2] == 1


def test_what_a_bootstrap_says_comes_before_the_output(host: WinRMHost, client: Client) -> None:
    host.rules.decoder = lambda _bootstrap, stdin: Payload(stdin.decode(), said=b"begun\n")
    host.when("^x$", Reply(stdout="out", exit_code=2))
    assert client.run("powershell", "-", stdin=b"x") == (b"begun\nout", b"", 2)
    out, err, code = client.run("powershell", "-", stdin=b"y")
    assert (out, code) == (b"begun\n", 9009)
    assert b"no rule" in err


def test_output_comes_in_chunks_and_the_end_apart(host: WinRMHost, client: Client) -> None:
    host.when("x", Reply(stdout=b"abcdef", stderr=b"!", chunk=4, apart=True, exit_code=1))
    command = client.start("x")
    assert [client.receive(command) for _ in range(3)] == [
        (b"abcd", b"", -1, False),
        (b"ef", b"!", -1, False),
        (b"", b"", 1, True),
    ]


def test_output_larger_than_an_envelope_is_split(host: WinRMHost, client: Client) -> None:
    content = bytes(range(256)) * 4000
    host.when("x", Reply(stdout=content))
    assert client.run("x") == (content, b"", 0)
    assert host.counts.actions["Receive"] > len(content) // 115_200
    assert all(len(exchange.reply) <= 153_600 for exchange in host.exchanges)


def test_a_rule_can_be_used_up(host: WinRMHost, client: Client) -> None:
    host.when("x", Reply(stdout="always"))
    host.when("x", Reply(stdout="once"), times=1)
    assert [client.run("x")[0] for _ in range(3)] == [b"once", b"always", b"always"]


def test_a_command_without_a_rule_says_so(client: Client) -> None:
    out, err, code = client.run("frobnicate")
    assert (out, code) == (b"", 9009)
    assert b"no rule" in err


def test_a_command_that_hangs_ends_by_signal(host: WinRMHost, client: Client) -> None:
    host.when("x", Reply(stdout="begun", hangs=True))
    command = client.start("x")
    assert client.receive(command) == (b"begun", b"", -1, False)
    assert host.counts.commands_running == 1
    client.signal(command)
    assert (host.counts.commands_open, host.counts.commands_running) == (0, 0)


def test_what_is_left_open_is_counted(host: WinRMHost, password: str) -> None:
    client = Client(host, password)
    client.start("hostname")
    counts = host.counts
    assert (counts.shells_open, counts.commands_open, counts.connections_open) == (1, 1, 1)
    client.close()
    counts = host.counts
    assert (counts.shells, counts.shells_open, counts.commands, counts.commands_open) == (1, 0, 1, 0)
    assert counts.requests == sum(counts.actions.values()) == 3


def test_a_receive_after_the_end_finds_no_command(client: Client) -> None:
    command = client.start("hostname")
    assert client.receive(command)[3]
    with pytest.raises(WSManFaultError) as raised:
        client.receive(command)
    assert raised.value.wsman_fault_code == 2150858843


def test_shells_are_forgotten_when_the_service_restarts(host: WinRMHost, client: Client) -> None:
    host.forget_shells()
    with pytest.raises(WSManFaultError, match="contained invalid selectors") as raised:
        client.start("hostname")
    assert raised.value.wsman_fault_code == 2150858843


def test_stdin_after_its_end_is_refused(host: WinRMHost, client: Client) -> None:
    host.when("x", Reply(hangs=True))
    command = client.start("x")
    client.send(command, b"1", end=True)
    with pytest.raises(WSManFaultError) as raised:
        client.send(command, b"2", end=True)
    assert raised.value.wsman_fault_code == 232


def test_the_shell_of_another_user_is_out_of_reach(password: str) -> None:
    with WinRMHost({USER: password, "Guest": password}) as host:
        client = Client(host, password)
        other = Client(host, password, username="Guest")
        other.shell = client.shell
        with pytest.raises(WSManFaultError) as raised:
            other.start("hostname")
        assert raised.value.wsman_fault_code == 5


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize(
    ("quotas", "code"),
    [
        (Quotas(shells=1), 0x803381A5),
        (Quotas(operations=3), 0x803381A6),
        (Quotas(commands=1), 0x803381E9),
    ],
)
def test_quotas_are_kept(password: str, quotas: Quotas, code: int, newer: bool) -> None:
    def use_up(host: WinRMHost) -> None:
        client = Client(host, password)
        for _ in range(3):
            client.run("hostname")
        client.start("hostname")
        client.start("hostname")
        Client(host, password)

    quotas = replace(quotas, wmi_errors=newer)
    with WinRMHost({USER: password}, quotas=quotas) as host, pytest.raises(WSManFaultError) as raised:
        use_up(host)
    error = raised.value
    assert error.fault_subcode == "w:QuotaLimit"
    assert (error.wmierror_code, error.wsman_fault_code) == ((code, None) if newer else (None, code))


def test_operations_count_until_their_shell_is_deleted(password: str) -> None:
    with WinRMHost({USER: password}, quotas=Quotas(operations=2)) as host:
        for _ in range(3):
            client = Client(host, password)
            client.run("hostname")
            client.run("hostname")
            client.close()
        assert host.counts.commands == 6


def test_the_first_rules_come_first(password: str) -> None:
    rules = [Rule("x", Reply(stdout="1"), times=1), Rule("x", Reply(stdout="2"))]
    with WinRMHost({USER: password}, rules=rules) as host:
        client = Client(host, password)
        assert [client.run("x")[0] for _ in range(2)] == [b"1", b"2"]


def test_without_cmd_a_program_needs_its_path(host: WinRMHost, client: Client) -> None:
    host.when("whatever", Reply(exit_code=3))
    with pytest.raises(WSManFaultError, match="cannot find the file") as raised:
        client.protocol.run_command(client.shell, "whatever.exe", skip_cmd_shell=True)
    assert raised.value.wsman_fault_code == 0x80070002
    command = client.protocol.run_command(client.shell, r"C:\bin\whatever.exe", skip_cmd_shell=True)
    assert client.receive(command)[2] == 3


def test_a_shell_has_the_directory_and_environment_that_were_asked_for(
    host: WinRMHost, client: Client
) -> None:
    host.when("x", lambda invocation: Reply(stdout=f"{invocation.directory} {invocation.environment['A<']}"))
    client.shell = client.protocol.open_shell(working_directory=r"C:\Windows", env_vars={"A<": "b&"})
    assert client.run("x")[0] == rb"C:\Windows b&"


def test_an_idle_shell_is_forgotten(host: WinRMHost, client: Client) -> None:
    client.shell = client.protocol.open_shell(idle_timeout="PT0.05S")
    time.sleep(0.1)
    with pytest.raises(WSManFaultError) as raised:
        client.start("hostname")
    assert raised.value.wsman_fault_code == 2150858843


def test_a_receive_that_waits_while_its_command_is_signalled_is_aborted(
    host: WinRMHost, client: Client, password: str
) -> None:
    host.when("x", Reply(hangs=True))
    command = client.start("x")
    other = Client(host, password)
    other.shell = client.shell
    ending = threading.Timer(0.1, other.signal, (command,))
    ending.start()
    with pytest.raises(WSManFaultError) as raised:
        client.receive(command)
    ending.join()
    assert raised.value.wsman_fault_code == 995
