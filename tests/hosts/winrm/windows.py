"""A Windows host for tests of the transport: the WS-Management responder, whose scripts answer as ours do.

A script here is a rule: a pattern that the script text must have, and what it then writes. The token that our
bootstrap says before any script is added, so that a rule reads like the script itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from containers.winrm.responder import (
    Authority,
    Invocation,
    Payload,
    Quotas,
    Reply,
    Settings,
    WinRMHost,
)
from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.winrm import WinrmConnection, WinrmTarget, connect
from dlpx_remote.transports.winrm.bootstrap import INCOMPLETE, read_frame

USER = "Administrator"
INCOMPLETE_FRAME = "# the frame was cut off"

Says = Reply | Callable[[Invocation], Reply]


def decode(_bootstrap: str, stdin: bytes) -> Payload:
    """What our bootstrap makes of its stdin."""
    try:
        _, script, variables = read_frame(stdin)
    except ValueError:
        return Payload(INCOMPLETE_FRAME)
    return Payload(script.decode(), {name: value.decode() for name, value in variables.items()})


def begun(says: Says) -> Callable[[Invocation], Reply]:
    """The reply of a script that our bootstrap has started."""

    def answer(invocation: Invocation) -> Reply:
        token, _, _ = read_frame(invocation.stdin)
        reply = says(invocation) if callable(says) else says
        stdout = reply.stdout.encode() if isinstance(reply.stdout, str) else reply.stdout
        return replace(reply, stdout=f"{token}\n".encode() + stdout)

    return answer


class Windows:
    """A running host.

    Attributes:
        host: the responder: its troubles, counts and exchanges.
        target: the way in.
    """

    def __init__(self, host: WinRMHost, target: WinrmTarget) -> None:
        self.host = host
        self.target = target
        host.when(r"(?s).*", begun(Reply(stderr="no rule\r\n", exit_code=9009)))
        host.when(INCOMPLETE_FRAME, Reply(exit_code=INCOMPLETE))
        self.script(r"^'(?P<text>[^']*)'$", lambda run: Reply(stdout=run.script.strip("'") + "\r\n"))

    def script(self, pattern: str, says: Says, *, times: int | None = None) -> None:
        """A script that has ``pattern`` in it writes ``says``; the last rule is asked first."""
        self.host.when(pattern, begun(says), times=times)

    def connect(self, *, deadlines: Deadlines | None = None, **changes: Any) -> WinrmConnection:
        """A connection; ``changes`` are those of the target."""
        return connect(replace(self.target, **changes), deadlines=deadlines)


@contextmanager
def windows(
    directory: Path,
    password: str,
    *,
    scheme: str = "http",
    authentication: str = "ntlm",
    quotas: Quotas | None = None,
    settings: Settings | None = None,
) -> Iterator[Windows]:
    """A host for the ``with`` block; nothing may be left on it at its end.

    Args:
        directory: empty; the authority's certificate goes there.
        password: of ``USER``.
        scheme: ``http`` or ``https``.
        authentication: that the target chooses.
        quotas, settings: of the host.
    """
    authority = Authority()
    secure = scheme == "https"
    with WinRMHost(
        {USER: password},
        decoder=decode,
        quotas=quotas,
        settings=settings,
        tls=authority.server() if secure else None,
        real_powershell=False,
    ) as host:
        target = WinrmTarget(
            host="127.0.0.1",
            user=USER,
            scheme=scheme,  # type: ignore[arg-type]
            port=host.port,
            authentication=authentication,  # type: ignore[arg-type]
            password=lambda: password,
            ca_file=authority.write(directory / "authority.pem") if secure else None,
            unencrypted=not secure and authentication == "basic",
        )
        yield Windows(host, target)
        counts = host.counts
        left = (counts.shells_open, counts.commands_open, counts.commands_running)
        assert left == (0, 0, 0), f"shells, commands, running commands left on the host: {left}"
