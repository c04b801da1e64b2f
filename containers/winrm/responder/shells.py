"""The shells of this host: what Create, Command, Send, Receive, Signal and Delete do, and the quotas.

One :class:`Service` is one host. It is given requests that are read, and whose sender is known; it answers
with an envelope or raises :class:`~.faults.Refused`. Knows nothing of HTTP. Sections named are MS-WSMV's.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from . import faults, powershell, soap
from .faults import Refused
from .process import Ended, Process
from .programs import (
    UNKNOWN,
    Answer,
    Invocation,
    Live,
    Reply,
    Rules,
    bootstrap_of,
    is_powershell,
    play,
    plays_at_once,
    reads_stdin,
)

_OVERHEAD = 2000
"""Bytes of a Receive reply besides the output."""


@dataclass(frozen=True)
class Quotas:
    """Limits of the host; the defaults are those of Windows Server, the envelope's that of older ones.

    Attributes:
        shells: open at a time, of one user (fault 0x803381A5).
        operations: commands of one user's open shells, ended ones included: Windows does not take a command
            off this count before its shell is deleted (fault 0x803381A6).
        commands: of one shell at a time whose end has not been received (fault 0x803381E9).
        envelope: bytes of a request (HTTP 413).
        timeout: seconds that a Receive waits at most, whatever the client asks for.
        wmi_errors: faults of these quotas come in the newer form (:class:`~.faults.Fault`).
    """

    shells: int = 30
    operations: int = 1500
    commands: int = 25
    envelope: int = soap.DEFAULT_ENVELOPE
    timeout: float = 60.0
    wmi_errors: bool = True


@dataclass(frozen=True)
class Caller:
    """Who sent a request: user name without a domain, and address."""

    user: str
    address: str


class Shell:
    """An open shell.

    Attributes:
        commands: by identifier, those that have not been signalled.
        started: number of commands so far.
    """

    def __init__(self, facts: soap.ShellFacts) -> None:
        self.facts = facts
        self.commands: dict[str, Command] = {}
        self.started = 0
        self.used = time.monotonic()


@dataclass
class Command:
    """A command of a shell.

    Attributes:
        process: what runs.
        invocation: as it was started; stdin is not in it.
        waits: its answer is picked when stdin ends.
        told: its end has been received.
    """

    process: Process
    invocation: Invocation
    waits: bool
    told: bool = False


@dataclass
class Tally:
    """What the service has counted since it started."""

    shells: int = 0
    commands: int = 0
    actions: Counter[str] = field(default_factory=Counter)


class Service:
    """The shells of one host.

    Args:
        rules: what commands do.
        quotas: limits.
        machine: name of the host in faults.
        version: Windows version for Identify, such as ``10.0.20348``.
        real_powershell: run PowerShell commands that no rule answers with ``pwsh``, where it is on PATH.
    """

    def __init__(
        self,
        rules: Rules,
        quotas: Quotas | None = None,
        *,
        machine: str = "127.0.0.1",
        version: str = "10.0.20348",
        real_powershell: bool = True,
    ) -> None:
        self.rules = rules
        self.quotas = quotas or Quotas()
        self.machine = machine
        self.version = version
        self._real_powershell = real_powershell
        self._lock = threading.RLock()
        self._shells: dict[str, Shell] = {}
        self.tally = Tally()
        self._handlers: dict[str, Callable[[soap.Request, Caller], str]] = {
            "Create": self._create,
            "Command": self._command,
            "Send": self._send,
            "Receive": self._receive,
            "Signal": self._signal,
            "Delete": self._delete,
        }

    def answer(self, request: soap.Request, caller: Caller | None, *, relates_to: str | None = None) -> bytes:
        """Do what a request asks.

        Args:
            request: what is asked.
            caller: None for an Identify without authentication.
            relates_to: answer with this message id instead of the request's.

        Raises:
            Refused: with the fault to be sent.
        """
        with self._lock:
            self.tally.actions[request.action] += 1
        if request.action == "Identify":
            # Without authentication the version is not told.
            version = f"OS: {self.version} SP: 0.0 Stack: 3.0" if caller else "OS: 0.0.0 SP: 0.0 Stack: 3.0"
            return soap.identified(version)
        if caller is None:
            raise Refused(faults.ACCESS_DENIED)
        if request.action == "Get" and request.resource == soap.CONFIG:
            return soap.reply(request, soap.config_body(self._config()), relates_to=relates_to)
        handler = self._handlers.get(request.action)
        if handler is None:
            raise Refused(faults.UNKNOWN_ACTION)
        if request.resource != soap.CMD_RESOURCE:
            raise Refused(faults.UNKNOWN_RESOURCE)
        return soap.reply(request, handler(request, caller), relates_to=relates_to)

    def _config(self) -> dict[str, dict[str, int | str]]:
        quotas = self.quotas
        return {
            "": {
                "MaxEnvelopeSizekb": quotas.envelope // 1024,
                "MaxTimeoutms": int(quotas.timeout * 1000),
                "MaxBatchItems": 32000,
                "MaxProviderRequests": 4294967295,
            },
            "Service": {"MaxConcurrentOperationsPerUser": quotas.operations},
            "Winrs": {
                "AllowRemoteShellAccess": "true",
                "IdleTimeout": 7200000,
                "MaxProcessesPerShell": quotas.commands,
                "MaxShellsPerUser": quotas.shells,
            },
        }

    # for tests

    @property
    def shells_open(self) -> int:
        """Shells that have not been deleted."""
        with self._lock:
            return len(self._shells)

    @property
    def commands_open(self) -> int:
        """Commands that have not been signalled, in all open shells."""
        with self._lock:
            return sum(len(shell.commands) for shell in self._shells.values())

    @property
    def commands_running(self) -> int:
        """Commands at work."""
        with self._lock:
            return sum(
                command.process.exit_code is None
                for shell in self._shells.values()
                for command in shell.commands.values()
            )

    def forget_shells(self) -> None:
        """Lose all shells at once, as a restart of the WinRM service does."""
        with self._lock:
            shells, self._shells = list(self._shells.values()), {}
        for shell in shells:
            _end(shell)

    # 3.1.4.5.2 Create

    def _create(self, request: soap.Request, caller: Caller) -> str:
        element = request.find("Shell")
        if element is None:
            raise Refused(faults.BAD_XML)
        environment = {
            variable.get("Name", ""): variable.text or ""
            for variable in element.iterfind(f"{{{soap.SHELL}}}Environment/{{{soap.SHELL}}}Variable")
        }
        facts = soap.ShellFacts(
            shell_id=soap.proposed(element.get("ShellId", "")),
            owner=caller.user,
            client=caller.address,
            idle_timeout=soap.seconds(request.text("IdleTimeOut"), 7200.0),
            input_streams=request.text("InputStreams") or "stdin",
            output_streams=request.text("OutputStreams") or "stdout stderr",
            directory=request.text("WorkingDirectory"),
            environment=environment,
        )
        with self._lock:
            self._expire()
            if self._shells_of(caller) >= self.quotas.shells:
                message = faults.SHELL_QUOTA.message.format(limit=self.quotas.shells)
                raise self._over(replace(faults.SHELL_QUOTA, message=message))
            self._shells[facts.shell_id] = Shell(facts)
            self.tally.shells += 1
        return soap.created_body(facts, request.to)

    def _shells_of(self, caller: Caller) -> int:
        return sum(shell.facts.owner == caller.user for shell in self._shells.values())

    def _expire(self) -> None:
        now = time.monotonic()
        for shell_id, shell in list(self._shells.items()):
            if now - shell.used > shell.facts.idle_timeout:
                _end(self._shells.pop(shell_id))

    def _shell(self, request: soap.Request, caller: Caller) -> Shell:
        if not request.shell_id:
            raise Refused(faults.SELECTOR_MISSING)
        with self._lock:
            self._expire()
            shell = self._shells.get(request.shell_id)
            if shell is None:
                fault = faults.SHELL_NOT_FOUND
                raise Refused(replace(fault, message=fault.message.format(shell=request.shell_id)))
            if shell.facts.owner != caller.user:
                raise Refused(faults.ACCESS_DENIED)
            shell.used = time.monotonic()
            return shell

    def _find(self, shell: Shell, element: ET.Element | None) -> Command:
        command_id = "" if element is None else element.get("CommandId", "")
        if not command_id:
            raise Refused(faults.WRONG_PARAMETER)
        with self._lock:
            command = shell.commands.get(soap.identifier(command_id))
        if command is None:
            raise Refused(faults.COMMAND_NOT_FOUND)
        return command

    # 3.1.4.11 Command

    def _command(self, request: soap.Request, caller: Caller) -> str:
        shell = self._shell(request, caller)
        line = request.find("CommandLine")
        if line is None or not request.text("Command"):
            raise Refused(faults.WRONG_PARAMETER)
        arguments = tuple(element.text or "" for element in line.iterfind(f"{{{soap.SHELL}}}Arguments"))
        if _is_true(request.options.get("WINRS_SKIP_CMD_SHELL", "")) and not _has_path(
            request.text("Command")
        ):
            # Without cmd.exe nobody looks a program up in PATH.
            raise Refused(faults.FILE_NOT_FOUND)
        command_line = " ".join((request.text("Command"), *arguments)).strip()
        bootstrap = bootstrap_of(command_line)
        invocation = Invocation(
            command=request.text("Command"),
            arguments=arguments,
            bootstrap=bootstrap,
            stdin=b"",
            script=bootstrap or command_line,
            variables={},
            user=caller.user,
            environment=shell.facts.environment,
            directory=shell.facts.directory,
            shell_id=shell.facts.shell_id,
            command_id=soap.proposed(line.get("CommandId", "")),
        )
        command = Command(Process(), invocation, waits=False)
        with self._lock:
            if sum(not other.told for other in shell.commands.values()) >= self.quotas.commands:
                raise self._over(faults.COMMAND_QUOTA)
            if self._operations_of(caller) >= self.quotas.operations:
                raise self._over(faults.OPERATION_QUOTA)
            shell.commands[invocation.command_id] = command
            shell.started += 1
            self.tally.commands += 1
        self._start(command)
        return soap.command_body(invocation.command_id)

    def _over(self, fault: faults.Fault) -> Refused:
        return Refused(replace(fault, as_wmi=self.quotas.wmi_errors))

    def _operations_of(self, caller: Caller) -> int:
        return sum(shell.started for shell in self._shells.values() if shell.facts.owner == caller.user)

    def _start(self, command: Command) -> None:
        """Begin what can begin before any stdin."""
        invocation = command.invocation
        answer = self.rules.pick(invocation, at_start=True)
        if answer is None and is_powershell(invocation.command_line) and self._real_powershell:
            program = powershell.installed()
            # Rules that wait for stdin are asked first, unless there is none to wait for.
            if program and not reads_stdin(invocation.command_line, invocation.bootstrap):
                answer = powershell.live(program)
        if answer is not None:
            _run(answer, command, invocation)
        elif reads_stdin(invocation.command_line, invocation.bootstrap) or self.rules.any_waits(invocation):
            command.waits = True
        else:
            _run(UNKNOWN, command, invocation)

    # 3.1.4.13 Send

    def _send(self, request: soap.Request, caller: Caller) -> str:
        shell = self._shell(request, caller)
        streams = request.body.findall(f".//{{{soap.SHELL}}}Stream")
        if not streams:
            raise Refused(faults.WRONG_PARAMETER)
        for stream in streams:
            command = self._find(shell, stream)
            try:
                data = base64.b64decode(stream.text or "", validate=False)
            except binascii.Error as error:
                raise Refused(faults.WRONG_PARAMETER) from error
            if stream.get("Name", "") not in shell.facts.input_streams.split():
                raise Refused(faults.WRONG_PARAMETER)
            if not command.process.accepts_input:
                raise Refused(faults.INPUT_CLOSED)
            end = _is_true(stream.get("End", ""))
            command.process.feed(data, end=end)
            if end and command.waits:
                command.waits = False
                with contextlib.suppress(Ended):  # it may be signalled meanwhile
                    self._finish_input(command)
        return "<rsp:SendResponse/>"

    def _finish_input(self, command: Command) -> None:
        """All of stdin is there: pick the answer."""
        process, stdin = command.process, command.process.stdin
        try:
            payload = self.rules.decoder(command.invocation.bootstrap, stdin)
        except Exception as error:
            _fail(process, error)
            return
        invocation = replace(
            command.invocation, stdin=stdin, script=payload.script, variables=payload.variables
        )
        answer = self.rules.pick(invocation, at_start=False)
        if answer is None and self._real_powershell and is_powershell(invocation.command_line):
            program = powershell.installed()
            answer = powershell.live(program) if program else None
        if not isinstance(answer, Live):
            process.write(payload.said)
        _run(answer if answer is not None else UNKNOWN, command, invocation)

    # 3.1.4.14 Receive

    def _receive(self, request: soap.Request, caller: Caller) -> str:
        shell = self._shell(request, caller)
        desired = request.find("DesiredStream")
        command = self._find(shell, desired)
        if command.told:
            raise Refused(faults.COMMAND_NOT_FOUND)
        room = (min(request.envelope, self.quotas.envelope) - _OVERHEAD) * 3 // 4
        if room <= 0:
            raise Refused(faults.REPLY_TOO_LARGE)
        try:
            taken = command.process.take(room, min(request.timeout, self.quotas.timeout))
        except Ended:
            raise Refused(faults.ABORTED) from None
        if taken is None:
            raise Refused(faults.OPERATION_TIMEOUT)
        command.told = taken.exit_code is not None
        shell.used = time.monotonic()
        return soap.received_body(command.invocation.command_id, taken.pieces, taken.exit_code)

    # 3.1.4.12 Signal

    def _signal(self, request: soap.Request, caller: Caller) -> str:
        shell = self._shell(request, caller)
        command = self._find(shell, request.find("Signal"))
        if request.text("Code").strip().rsplit("/", 1)[-1] not in {"terminate", "ctrl_c", "ctrl_break"}:
            raise Refused(faults.WRONG_PARAMETER)
        with self._lock:
            shell.commands.pop(command.invocation.command_id, None)
        command.process.kill()
        return "<rsp:SignalResponse/>"

    # 3.1.4.4 Delete

    def _delete(self, request: soap.Request, caller: Caller) -> str:
        shell = self._shell(request, caller)
        with self._lock:
            self._shells.pop(shell.facts.shell_id, None)
        _end(shell)
        return ""


def _is_true(value: str) -> bool:
    return value.strip().lower() in {"true", "1"}


def _has_path(command: str) -> bool:
    return any(character in command for character in "\\/:")


def _end(shell: Shell) -> None:
    for command in list(shell.commands.values()):
        command.process.kill()


def _run(answer: Answer, command: Command, invocation: Invocation) -> None:
    """Let an answer work; in a thread of its own where it takes time."""
    process = command.process
    if isinstance(answer, Live):
        run = answer.run
        _in_thread(lambda: process.finish(run(invocation, process)), process)
        return
    try:
        reply = answer if isinstance(answer, Reply) else answer(invocation)
    except Exception as error:
        _fail(process, error)
        return
    if plays_at_once(reply):
        play(reply, process)
    else:
        _in_thread(lambda: play(reply, process), process)


def _fail(process: Process, error: Exception) -> None:
    """What a test gave the host has failed: its client must see that, and not wait."""
    process.write(f"What the test gave its host failed: {error!r}\r\n", "stderr")
    process.finish(1)


def _in_thread(work: Callable[[], None], process: Process) -> None:
    def run() -> None:
        try:
            work()
        except Ended:
            pass
        except Exception as error:
            _fail(process, error)

    threading.Thread(target=run, name="winrm command", daemon=True).start()
