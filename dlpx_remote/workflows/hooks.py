"""Hooks: the operator's scripts, run on the environment at certain points of an engine operation."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import redact
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import Connection, StreamName
from dlpx_remote.workflows.sources import Hook, Interpreter, Source

TIMEOUT = 3600.0
"""Seconds that a hook may take unless it says otherwise."""

LARGEST_OUTPUT = 16 * 1024 * 1024
"""Bytes that a hook may print; one that prints more is ended."""

_SHOWN = 16 * 1024  # characters of the end of a failed hook's output
_LINE = 4096


class HookFailed(RemoteError):
    """A hook ended with an exit code other than zero.

    Attributes:
        hook: its name.
        event: when it was run.
        exit_code: its own.
    """

    def __init__(
        self,
        message: str,
        action: str = "",
        output: str = "",
        *,
        hook: str = "",
        event: str = "",
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message, action, output)
        self.hook = hook
        self.event = event
        self.exit_code = exit_code


def select(event: str, of_object: Sequence[Hook], of_run: Sequence[Hook]) -> list[Hook]:
    """Those for one point, in the order in which they run: the object's, then those given for this run."""
    return [hook for hook in (*of_object, *of_run) if hook.event == event]


def variables(source: Source, event: str, job: str) -> dict[str, str]:
    """What a hook's script finds in its environment."""
    current = source.current
    paths = [mount.mount_path for mount in current.mounts if mount.environment == source.place[0]]
    return {
        "DLPX_HOOK": event,
        "DLPX_JOB": job,
        "DLPX_NAME": source.name,
        "DLPX_REFERENCE": source.reference,
        "DLPX_MOUNT_PATH": paths[0] if paths else "",
        "DLPX_MOUNT_PATHS": ":".join(paths),
        "DLPX_SOURCE_CONFIG": json.dumps(current.source_config or {}, sort_keys=True),
    }


def prelude(interpreter: Interpreter, values: Mapping[str, str]) -> str:
    """What makes ``values`` known to a script when it stands before its first line.

    They are no secrets. A connection's variables are, so that a hook could not print a mount path.
    """
    if interpreter == "expect":
        settings = (f'set env({name}) "{_tcl(value)}"' for name, value in values.items())
    elif interpreter == "powershell":
        settings = ("$env:{} = '{}'".format(name, value.replace("'", "''")) for name, value in values.items())
    else:
        settings = (f"export {name}={shlex.quote(value)}" for name, value in values.items())
    return "; ".join(settings) + "; "


def _tcl(value: str) -> str:
    return re.sub(r'([\\"$\[])', r"\\\1", value).replace("\n", "\\n")


def run(
    hook: Hook,
    source: Source,
    connection: Connection,
    job: str,
    log: Callable[[str], None],
    *,
    abort: Abort | None = None,
) -> None:
    """Run one hook.

    Args:
        hook: with its script.
        source: what it is run for.
        connection: of the user that it runs as.
        job: reference of the job.
        log: takes each line that it prints, as it comes.
        abort: ends it from another thread.

    Raises:
        HookFailed: it ended with another exit code than zero.
        TransportError: it could not be run, ran out of time, or printed too much.
    """
    script = hook.script
    lines = _Lines(log)
    result = connection.run(
        prelude(script.interpreter, variables(source, hook.event, job)) + script.script,
        login_shell=script.login_shell,
        interpreter=script.interpreter,
        timeout=float(script.timeout or TIMEOUT),
        max_output=LARGEST_OUTPUT,
        on_output=lines.take,
        abort=abort,
    )
    lines.end()
    if result.exit_code != 0:
        said = redact(f"{result.stdout_text}{result.stderr_text}")
        raise HookFailed(
            f"The {hook.event} hook {hook.name!r} of {source.name} failed on {connection.address} with exit "
            f"code {result.exit_code}.",
            "Correct the script; what it printed is below.",
            said if len(said) <= _SHOWN else f"…{said[-_SHOWN:]}",
            hook=hook.name,
            event=hook.event,
            exit_code=result.exit_code,
        )


class _Lines:
    """Makes lines of what comes in pieces, each stream by itself."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._rest = {"stdout": b"", "stderr": b""}

    def take(self, stream: StreamName, data: bytes) -> None:
        *whole, rest = (self._rest[stream] + data).split(b"\n")
        for line in whole:
            self._say(line)
        if len(rest) > _LINE:
            self._say(rest)
            rest = b""
        self._rest[stream] = rest

    def end(self) -> None:
        for rest in self._rest.values():
            if rest:
                self._say(rest)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._log(text if len(text) <= _LINE else f"{text[:_LINE]}…")
