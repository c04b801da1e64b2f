"""Figures from the trace: how often and how long a host was connected to, and what ran and moved there.

A hook for :mod:`dlpx_remote.transports.ssh.trace`. It adds up, and knows nothing of what the work was for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dlpx_remote.transports.ssh.trace import Stage, TraceEvent


@dataclass
class StageFigures:
    """One stage at one address.

    Attributes:
        complete, failed: how often it ended each way.
        seconds: all of them together; those of several threads at once are added.
    """

    complete: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class HostFigures:
    """What happened at one address.

    Attributes:
        address: ``user@host:port``.
        stages: every stage that ended there at least once.
        sent: bytes of scripts, variables and files that went there.
        received: bytes of output and files that came from there.
    """

    address: str
    stages: dict[Stage, StageFigures] = field(default_factory=dict)
    sent: int = 0
    received: int = 0

    def of(self, stage: Stage) -> StageFigures:
        """The figures of one stage; zeros when it never ended."""
        return self.stages.get(stage, StageFigures())

    @property
    def connections(self) -> int:
        """Complete logins."""
        return self.of("auth").complete

    @property
    def connect_seconds(self) -> float:
        """From the name to the complete login, failed attempts included."""
        return sum(
            self.of(stage).seconds for stage in ("resolve", "connect", "handshake", "host key", "auth")
        )

    def in_words(self) -> str:
        """One line for people."""
        login, run, transfer = self.of("auth"), self.of("run"), self.of("transfer")
        connected = "connected" if self.connections == 1 else f"connected {self.connections} times"
        parts = [
            f"{connected if self.connections else 'not connected'} in {self.connect_seconds:.3f} s"
            + (f" (login {login.seconds:.3f} s)" if login.complete or login.failed else "")
        ]
        for noun, stage in (("command", run), ("transfer", transfer)):
            count = stage.complete + stage.failed
            if count:
                parts.append(
                    f"{count} {noun}{'' if count == 1 else 's'} in {stage.seconds:.3f} s"
                    + (f" ({stage.failed} failed)" if stage.failed else "")
                )
        if self.sent or self.received:
            parts.append(f"{_size(self.sent)} sent, {_size(self.received)} received")
        return f"{self.address}: {', '.join(parts)}"


class Figures:
    """Adds up what a trace tells, address by address. Thread-safe; give it as ``trace``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, HostFigures] = {}

    def __call__(self, event: TraceEvent) -> None:
        """Take one event."""
        if event.state == "started":
            return
        with self._lock:
            host = self._hosts.get(event.address)
            if host is None:
                host = self._hosts[event.address] = HostFigures(event.address)
            stage = host.stages.setdefault(event.stage, StageFigures())
            if event.state == "complete":
                stage.complete += 1
            else:
                stage.failed += 1
            stage.seconds += event.duration
            host.sent += event.sent
            host.received += event.received

    def take(self) -> list[HostFigures]:
        """What was added up since the last time, by address; the next begins with nothing (one job's)."""
        with self._lock:
            hosts, self._hosts = self._hosts, {}
        return [hosts[address] for address in sorted(hosts)]


def _size(count: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
