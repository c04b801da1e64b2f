"""What commands do on this host: rules with scripted replies, programs of a test, or a real PowerShell.

A rule sees an :class:`Invocation`: the command line, the script inside ``-EncodedCommand``, and everything
that came over stdin before its end. Knows nothing of SOAP, shells or HTTP.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .process import Process

Decoder = Callable[[str, bytes], "Payload"]
"""From the bootstrap script and all of stdin to the true script and its variables."""


@dataclass(frozen=True)
class Payload:
    """What a client sent over stdin, decoded.

    Attributes:
        script: the script that it wants to run.
        variables: that it gives to the script.
        said: what the client's bootstrap writes to stdout before the script begins.
    """

    script: str
    variables: Mapping[str, str] = field(default_factory=dict)
    said: bytes = b""


def plain_payload(_bootstrap: str, stdin: bytes) -> Payload:
    """The default decoder: stdin is the script, in UTF-8."""
    return Payload(stdin.decode("utf-8-sig", errors="replace"))


@dataclass(frozen=True)
class Invocation:
    """A command as rules see it.

    Attributes:
        command: text of ``rsp:Command``.
        arguments: texts of ``rsp:Arguments``, in order.
        bootstrap: the script decoded from ``-EncodedCommand``; empty for other commands.
        stdin: all bytes received before the end of input.
        script: what ``patterns`` look at: the decoded payload where stdin was read, else the bootstrap, else
            the command line.
        variables: of the decoded payload.
        user: whose shell it is.
        environment: variables of the shell.
        directory: working directory of the shell; empty for the default.
        shell_id, command_id: identifiers.
    """

    command: str
    arguments: tuple[str, ...]
    bootstrap: str
    stdin: bytes
    script: str
    variables: Mapping[str, str]
    user: str
    environment: Mapping[str, str]
    directory: str
    shell_id: str
    command_id: str

    @property
    def command_line(self) -> str:
        """Command and arguments with a space between them."""
        return " ".join((self.command, *self.arguments)).strip()


@dataclass(frozen=True)
class Reply:
    """A scripted reply.

    Attributes:
        stdout, stderr: what is written; text becomes UTF-8.
        exit_code: of the command.
        chunk: bytes of output in one Receive reply; 0 for as many as fit into an envelope.
        delay: seconds before the first byte.
        pause: seconds between chunks.
        apart: the end comes in a Receive reply of its own, after all output.
        hangs: writes its output and then never ends by itself.
    """

    stdout: str | bytes = b""
    stderr: str | bytes = b""
    exit_code: int = 0
    chunk: int = 0
    delay: float = 0.0
    pause: float = 0.0
    apart: bool = False
    hangs: bool = False


@dataclass(frozen=True)
class Live:
    """A program that talks: it reads stdin while it writes, such as a PowerShell kept open for many scripts.

    Attributes:
        run: is given the :class:`~.process.Process` and returns the exit code; in a thread of its own.
    """

    run: Callable[[Invocation, Process], int]


Answer = Reply | Live | Callable[[Invocation], Reply]


@dataclass(frozen=True)
class Rule:
    """A line of the table.

    Attributes:
        when: a regular expression, searched in the invocation's ``script`` (for ``Live``: in its bootstrap or
            command line), or a function of the invocation.
        answer: the reply, a function that makes one, or a :class:`Live` program.
        times: how often the rule can be used; None for ever.
        reads_stdin: True: the rule waits for the end of stdin. False: it answers at once. None: as the
            command looks (:func:`reads_stdin`).
    """

    when: str | Callable[[Invocation], bool]
    answer: Answer
    times: int | None = None
    reads_stdin: bool | None = None

    def matches(self, invocation: Invocation) -> bool:
        """Whether the rule is about this invocation."""
        if callable(self.when):
            return self.when(invocation)
        return re.search(self.when, invocation.script, re.DOTALL | re.IGNORECASE) is not None


_ENCODED = re.compile(r"(?:^|\s)[-/]e(?:c|nc|nco\w*)?\s+([A-Za-z0-9+/=]+)", re.IGNORECASE)
_POWERSHELL = re.compile(r"(?:^|[\\/\s\"])(?:powershell|pwsh)(?:\.exe)?(?:[\s\"]|$)", re.IGNORECASE)
_READING_SCRIPT = re.compile(
    r"\[(?:System\.)?Console\]::(?:In\b|OpenStandardInput|ReadLine|Read\b)|\$input\b", re.I
)
_READING_COMMAND = re.compile(r"\s-\s*$|^\s*(?:more|sort|findstr|clip|tar|cmd(?:\.exe)?\s*$)", re.IGNORECASE)


def bootstrap_of(command_line: str) -> str:
    """The script inside ``-EncodedCommand``; empty where there is none that can be decoded."""
    match = _ENCODED.search(command_line)
    if match is None or not is_powershell(command_line):
        return ""
    try:
        return base64.b64decode(match.group(1), validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def is_powershell(command_line: str) -> bool:
    """Whether the command line starts PowerShell."""
    return _POWERSHELL.search(command_line) is not None


def reads_stdin(command_line: str, bootstrap: str) -> bool:
    """Whether the command looks as if it reads its stdin to the end."""
    if bootstrap:
        return _READING_SCRIPT.search(bootstrap) is not None
    return _READING_COMMAND.search(command_line) is not None


def _said(text: str, exit_code: int = 0) -> Reply:
    return Reply(stdout=f"{text}\r\n", exit_code=exit_code)


def _echo(invocation: Invocation) -> Reply:
    return _said(re.sub(r"^\s*(?:cmd(?:\.exe)?\s+/c\s+)?echo ", "", invocation.script, flags=re.IGNORECASE))


def _write_output(invocation: Invocation) -> Reply:
    return _said(shlex.split(invocation.script)[1])


def _exit(invocation: Invocation) -> Reply:
    return Reply(exit_code=int(invocation.script.split()[-1]))


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(r"^\s*(?:cmd(?:\.exe)?\s+/c\s+)?echo [^\r\n]*\s*$", _echo),
    Rule(r"^\s*(?:cmd(?:\.exe)?\s+/c\s+)?exit (?:/b )?\d+\s*$", _exit),
    Rule(r"^\s*Write-(?:Output|Host) ('[^']*'|\"[^\"$`]*\")\s*$", _write_output),
    Rule(r"^\s*hostname(?:\.exe)?\s*$", _said("WINHOST")),
    Rule(r"^\s*whoami(?:\.exe)?\s*$", lambda invocation: _said(f"winhost\\{invocation.user.lower()}")),
)
"""Enough to see that a connection works; a test's own rules come first."""

UNKNOWN = Reply(stderr="The test host has no rule for this command.\r\n", exit_code=9009)
"""The reply where no rule matches and no PowerShell runs."""


class Rules:
    """The table, in order: what was added last is asked first. Thread-safe."""

    def __init__(self, rules: Sequence[Rule] = (), decoder: Decoder = plain_payload) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, list[int]]] = [(rule, [0]) for rule in (*rules, *DEFAULT_RULES)]
        self.decoder = decoder

    def add(self, rule: Rule) -> None:
        """Ask ``rule`` before all others from now on."""
        with self._lock:
            self._rules.insert(0, (rule, [0]))

    def pick(self, invocation: Invocation, *, at_start: bool) -> Answer | None:
        """The answer for an invocation, or None where no rule has one (yet).

        Args:
            invocation: the command.
            at_start: stdin has not ended: rules that wait for its end are not asked.
        """
        waits = reads_stdin(invocation.command_line, invocation.bootstrap)
        with self._lock:
            for rule, used in self._rules:
                live = isinstance(rule.answer, Live)
                rule_waits = False if live else (waits if rule.reads_stdin is None else rule.reads_stdin)
                if (at_start and rule_waits) or (not at_start and live):
                    continue
                if (rule.times is None or used[0] < rule.times) and rule.matches(invocation):
                    used[0] += 1
                    return rule.answer
        return None

    def any_waits(self, invocation: Invocation) -> bool:
        """Whether a rule was told to wait for the end of stdin, and is about this command."""
        with self._lock:
            return any(rule.reads_stdin and rule.matches(invocation) for rule, _ in self._rules)


def play(reply: Reply, process: Process) -> None:
    """Write a scripted reply to a process, with its pauses; the caller chooses the thread."""
    if reply.delay:
        process.pause(reply.delay)
    for stream, content in (("stdout", reply.stdout), ("stderr", reply.stderr)):
        data = content.encode() if isinstance(content, str) else content
        size = reply.chunk or len(data) or 1
        for start in range(0, len(data), size):
            if start:
                process.close_piece()
                if reply.pause:
                    process.pause(reply.pause)
            process.write(data[start : start + size], stream)
    if reply.apart:
        process.close_piece()
    if not reply.hangs:
        process.finish(reply.exit_code)


def plays_at_once(reply: Reply) -> bool:
    """Whether :func:`play` returns without waiting."""
    return not (reply.delay or reply.pause)
