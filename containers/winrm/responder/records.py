"""What a host remembers of its conversations, for tests to read. Values only; credentials are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """An HTTP request and its reply.

    Attributes:
        connection: number of the TCP connection, from 1.
        action: short name of the action; empty where no envelope was read.
        user: who sent it; empty before that is known.
        scheme: by which the user is known: ``Basic``, ``Negotiate``, ``NTLM``, ``Certificate``, or empty.
        encrypted: the envelope came encrypted.
        request_headers: names in lower case; of ``authorization`` only the scheme.
        request: the plain envelope.
        status: of the reply; 0 where none was sent.
        reply: the plain envelope, or other body.
        trouble: kind of what went wrong on demand; empty for nothing.
    """

    connection: int
    action: str
    user: str
    scheme: str
    encrypted: bool
    request_headers: Mapping[str, str]
    request: bytes = field(repr=False)
    status: int
    reply: bytes = field(repr=False)
    trouble: str = ""

    def as_record(self) -> dict[str, Any]:
        """For JSON: envelopes as text."""
        record = asdict(self)
        record["request"] = self.request.decode(errors="replace")
        record["reply"] = self.reply.decode(errors="replace")
        return record


@dataclass(frozen=True)
class Counts:
    """What a host has counted since it started.

    Attributes:
        connections, connections_open: TCP connections, and those that are open now.
        requests: HTTP requests, whatever became of them.
        unauthorized: those answered with 401.
        actions: requests that were carried out or refused with a fault, by short name of the action.
        shells, shells_open: that were created, and have not been deleted.
        commands, commands_open, commands_running: that were started, have not been signalled, and have not
            ended.
    """

    connections: int
    connections_open: int
    requests: int
    unauthorized: int
    actions: Mapping[str, int]
    shells: int
    shells_open: int
    commands: int
    commands_open: int
    commands_running: int

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
