"""Running a command on a host as another account, root above all: by sudo, doas or the site's own program.

Written against the contract of a transport only. What is allowed is asked of the host by trying, never
guessed; a password that was refused once is not offered again.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.base import CommandResult, Connection, ShellFacts, TransportError

Kind = Literal["sudo", "doas", "command", "none"]
_NAMES: dict[str, Kind] = {"sudo": "sudo", "doas": "doas", "none": "none"}
Reason = Literal[
    "missing", "password needed", "password refused", "not allowed", "no terminal", "no such user"
]

_VARIABLE = "DLPX_PRIVILEGE_PASSWORD"


class PrivilegeRefused(TransportError):
    """The account may not run the command as another one; the command has not run.

    Attributes:
        reason: what stood in the way.
    """

    def __init__(
        self, reason: Reason, message: str, action: str, output: str = "", *, host: str = "", user: str = ""
    ) -> None:
        super().__init__(message, action, output, host=host, user=user)
        self.reason = reason


@dataclass(frozen=True)
class Privilege:
    """How an account becomes another.

    Attributes:
        kind: ``sudo``, ``doas``, ``command`` (a wrapper of the site's own), or ``none``: it is what it needs
            to be already.
        command: the wrapper's words, before those of the command; ``{user}`` in them stands for the account
            to become. Only for ``command``.
        password: gives the account's password for sudo, asked only when sudo wants one; None where sudo must
            do without. doas reads a password from a terminal only.
    """

    kind: Kind = "sudo"
    command: tuple[str, ...] = ()
    password: Callable[[], str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Privilege:
        """``sudo``, ``doas``, ``none`` or ``command:WORDS`` as a person writes it.

        Raises:
            InvalidRequest: it is none of these.
        """
        if text in _NAMES:
            return cls(_NAMES[text])
        try:
            words = tuple(shlex.split(text.removeprefix("command:")))
        except ValueError:
            words = ()
        if text.startswith("command:") and words:
            return cls("command", words)
        raise InvalidRequest(
            f"{text!r} is no way to other privileges.", "Use sudo, doas, none, or command: and its words."
        )

    def __str__(self) -> str:
        return f"command:{shlex.join(self.command)}" if self.kind == "command" else self.kind

    def prefix(self, facts: ShellFacts, user: str = "root") -> tuple[str, ...]:
        """The words before a command that is to run as ``user``, without asking for a password.

        Raises:
            PrivilegeRefused: ``missing``.
        """
        if user == facts.user or (user == "root" and facts.uid == 0):
            return ()
        if self.kind == "command" and (user == "root" or "{user}" in " ".join(self.command)):
            return tuple(word.replace("{user}", user) for word in self.command)
        if facts.uid == 0 and self.kind not in facts.tools:
            return ("runuser", "-u", user, "--")
        if self.kind in ("none", "command"):
            raise PrivilegeRefused(
                "missing",
                f"{facts.user} on {facts.hostname} is not {user}, and no way to become so is configured.",
                "Log in as root, or choose sudo or doas.",
                host=facts.hostname,
                user=facts.user,
            )
        if self.kind not in facts.tools:
            raise PrivilegeRefused(
                "missing",
                f"{self.kind} is not installed on {facts.hostname}, or not on the PATH of {facts.user}.",
                f"Install it, log in as root, or choose another way than {self.kind}.",
                host=facts.hostname,
                user=facts.user,
            )
        # Root is the default, and left out: rules may be written for that form.
        return (self.kind, "-n", *(() if user == "root" else ("-u", user)), "--")


class Privileged:
    """Runs commands as other accounts over one connection.

    Args:
        connection: stays the caller's property.
        privilege: how.
    """

    def __init__(self, connection: Connection, privilege: Privilege | None = None) -> None:
        self._connection = connection
        self._privilege = privilege or Privilege()
        self._accepted = False
        self._refused: PrivilegeRefused | None = None
        self._lock = threading.Lock()

    def run(
        self,
        arguments: Sequence[str],
        *,
        user: str = "root",
        timeout: float | None = None,
        first: str = "",
    ) -> CommandResult:
        """Run one command, without a shell between.

        Args:
            arguments: the program and its arguments. Options come before sources before paths, so that
                patterns in sudoers can match.
            user: to run it as.
            timeout: as for ``Connection.run``.
            first: whole lines of bash that run before it, as the account itself, and may end it all.

        Returns:
            The command's own result, whatever its exit code.

        Raises:
            PrivilegeRefused: it has not run.
            Otherwise as ``Connection.run``.
        """
        if not arguments or not arguments[0]:
            raise InvalidRequest("A command without a word cannot run.", "Name a program.")
        facts = self._connection.facts()
        prefix = self._privilege.prefix(facts, user)
        words = shlex.join([*prefix, *arguments])
        result = self._connection.run(f"{first}LC_ALL=C exec {words} </dev/null", timeout=timeout)
        reason = self._reason(result) if prefix else None
        password = self._privilege.password
        if reason == "password needed" and self._privilege.kind == "sudo" and password is not None:
            return self._with_password(password, facts, arguments, user, timeout=timeout, first=first)
        if reason is not None:
            raise self.refusal(reason, facts, arguments[0], user, result.stderr_text)
        return result

    def allowed(self, program: str, timeout: float | None = 30.0) -> str:
        """Whether root's ``program`` may be run without arguments of harm: how far, in words.

        Args:
            program: one that knows ``--version``, which is all that is run of it.
            timeout: seconds for each question asked of the host.

        Raises:
            PrivilegeRefused: not at all.
        """
        facts = self._connection.facts()
        if facts.uid == 0:
            return "not needed: the user is root"
        try:
            result = self.run([program, "--version"], timeout=timeout)
            if result.exit_code != 0 and self._privilege.kind == "command":
                # What a wrapper of the site says when it refuses is not known; that it did not work is.
                raise self.refusal("not allowed", facts, program, "root", result.stderr_text)
        except PrivilegeRefused:
            # A rule may allow certain arguments only: --version is refused, but the list shows the rule.
            if self._privilege.kind != "sudo":
                raise
            rules = self._connection.run("LC_ALL=C sudo -n -l </dev/null", timeout=timeout).stdout_text
            if not re.search(rf"NOPASSWD:.*\b{re.escape(program)}\b", rules):
                raise
            return "allowed with certain arguments"
        return "allowed"

    def _with_password(
        self,
        password: Callable[[], str],
        facts: ShellFacts,
        arguments: Sequence[str],
        user: str,
        *,
        timeout: float | None,
        first: str,
    ) -> CommandResult:
        """sudo wants a password: give it once, over stdin, at a prompt that nothing else writes."""
        # Of several commands at once only the first finds out whether the password is right.
        with contextlib.ExitStack() as alone:
            if not self._accepted:
                alone.enter_context(self._lock)
            if self._refused is not None:
                raise self._refused
            prompt = f"[{secrets.token_hex(16)}]"
            words = shlex.join(["-S", "-p", prompt, "-u", user, "--", *arguments])
            script = (
                f"{first}secret=${_VARIABLE}; unset {_VARIABLE}\n"
                f"LC_ALL=C sudo {words} < <(printf '%s\\n' \"$secret\")"
            )
            result = self._connection.run(script, variables={_VARIABLE: password()}, timeout=timeout)
            stderr = result.stderr.replace(prompt.encode(), b"")
            asked = result.stderr.count(prompt.encode())
            if asked > 1 or b"incorrect password" in stderr or b"no password was provided" in stderr:
                text = stderr.decode("utf-8", "replace")
                self._refused = self.refusal("password refused", facts, arguments[0], user, text)
                raise self._refused
            self._accepted = True
        answer = CommandResult(result.exit_code, result.stdout, stderr, result.signal, result.duration)
        reason = self._reason(answer)
        if reason is not None:
            raise self.refusal(reason, facts, arguments[0], user, answer.stderr_text)
        return answer

    def _reason(self, result: CommandResult) -> Reason | None:
        """Why the program in between did not run the command; None when it did."""
        if result.exit_code == 0 or self._privilege.kind not in ("sudo", "doas"):
            return None
        return reason_in(result.stderr_text)

    def refusal(
        self, reason: Reason, facts: ShellFacts, program: str, user: str, said: str
    ) -> PrivilegeRefused:
        """The error for a refusal, with the exact rule that would allow it."""
        kind = self._privilege.kind
        host, login = facts.hostname or "the host", facts.user
        add = self.advice([program], facts, user)
        what = f"{login} on {host} may not run {program} as {user} by {self._privilege}"
        message, action = {
            "password needed": (f"{what} without a password.", add),
            "not allowed": (f"{what}.", add),
            "password refused": (
                f"{kind} on {host} refused the password of {login}.",
                "Correct the password; it is not offered again, so that the account is not locked.",
            ),
            "no terminal": (
                f"sudo on {host} wants a terminal (requiretty).",
                f"Add this line to sudoers (visudo): Defaults:{login} !requiretty",
            ),
            "no such user": (f"There is no user {user} on {host}.", "Correct the name, or create the user."),
            "missing": (f"{kind} or {program} is not installed on {host}.", "Install it."),
        }[reason]
        return PrivilegeRefused(reason, message, action, said, host=host, user=login)

    def advice(self, programs: Sequence[str], facts: ShellFacts, user: str = "root") -> str:
        """What would allow ``programs``: the exact rule where it is sudo's or doas' to give."""
        kind, login = self._privilege.kind, facts.user
        paths = [self._path(program) for program in programs]
        if kind == "doas":
            rules = [f"permit nopass {login} as {user} cmd {path}" for path in paths]
            return f"Add {'this line' if len(rules) == 1 else 'these lines'} to doas.conf: {'; '.join(rules)}"
        if kind == "sudo":
            return f"Add this line to sudoers (visudo): {login} ALL=({user}) NOPASSWD: {', '.join(paths)}"
        return f"Let {self._privilege} run {', '.join(paths)} as {user} for {login}."

    def _path(self, program: str) -> str:
        if program.startswith("/"):
            return program
        script = f"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin type -P {shlex.quote(program)}"
        return self._connection.run(script).stdout_text.strip() or program


_SAID: tuple[tuple[str, Reason], ...] = (
    (r"^sudo: (a password is required|a terminal is required to read the password)", "password needed"),
    (r"^doas: (Authentication|Authorization) (required|failed)|^doas: a tty is required", "password needed"),
    (r"^sudo: sorry, you must have a tty", "no terminal"),
    (r"^(sudo|doas): unknown (user|uid)", "no such user"),
    (r"^Sorry, user \S+ (is not allowed to execute|may not run sudo)", "not allowed"),
    (r"^\S+ is not (in the sudoers file|allowed to run sudo)", "not allowed"),
    (r"^doas: (Operation not permitted|not permitted)", "not allowed"),
    (r"^sudo: .*not allowed", "not allowed"),
    (r"^(sudo|doas): \S+: command not found", "missing"),
)


def reason_in(said: str) -> Reason | None:
    """What sudo or doas said (in English) about a command that it did not run; None when nothing of it."""
    for pattern, reason in _SAID:
        if re.search(pattern, said, re.MULTILINE):
            return reason
    return None
