"""What an adapter does: each measure, with its own clock, in its own process.

:class:`Peer` names the measures. :class:`BlockingPeer` takes all of them with threads, for a library that
blocks; a library with an event loop of its own overrides what it does in another way.
"""

from __future__ import annotations

import gc
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.records import median
from benchmarks.ssh.hosts import Host

FLEET_WIDTH = 32
"""Threads that open connections to a fleet, for libraries that block."""

_T = TypeVar("_T")


class MeasurementWrong(Exception):
    """The library answered, but not with what was asked for; its time counts for nothing."""


class Session(ABC):
    """An open connection of a library that blocks."""

    @abstractmethod
    def run(self, command: str) -> bytes:
        """Run a command and return its stdout; raise unless it ended with 0."""

    def put(self, source: Path, destination: Path) -> None:
        """Copy a file to the host."""
        raise NotImplementedError

    def get(self, source: Path, destination: Path) -> None:
        """Copy a file of the host here."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """End the connection."""


class Peer:
    """The measures; an adapter need not take all. Times are seconds of the wall clock."""

    def measure(self, request: Mapping[str, Any]) -> dict[str, float]:
        """Take the measure that ``request["measure"]`` names, with the other entries as arguments."""
        arguments = dict(request)
        name = arguments.pop("measure")
        if "host" in arguments:
            arguments["host"] = Host(**arguments["host"])
        if "hosts" in arguments:
            arguments["hosts"] = [Host(**host) for host in arguments["hosts"]]
        takes: dict[str, Callable[..., dict[str, float]]] = {
            "sequential": self.sequential,
            "first_result": self.first_result,
            "in_flight": self.in_flight,
            "fleet": self.fleet,
            "idle": self.idle,
            "discovery": self.discovery,
            "stdout": self.stdout,
            "put": self.put,
            "get": self.get,
        }
        gc.collect()
        return takes[name](**arguments)

    def sequential(self, host: Host, commands: int, warm_up: int) -> dict[str, float]:
        """``true``, one after another on one connection. ``seconds``: the median of a command."""
        raise NotImplementedError

    def first_result(self, host: Host, times: int) -> dict[str, float]:
        """Connect and run ``true``. ``seconds``: the median of both together, without closing."""
        raise NotImplementedError

    def in_flight(self, host: Host, commands: int, width: int) -> dict[str, float]:
        """``true``, always ``width`` at once on one connection. ``seconds``: all ``commands``."""
        raise NotImplementedError

    def fleet(self, hosts: Sequence[Host]) -> dict[str, float]:
        """Connect to all, one command each. ``seconds``: all; ``bytes``: memory a host while all are open."""
        raise NotImplementedError

    def idle(self, hosts: Sequence[Host], seconds: float) -> dict[str, float]:
        """Hold open connections. ``share``: processor time of this process ÷ wall clock."""
        raise NotImplementedError

    def discovery(self, hosts: Sequence[Host]) -> dict[str, float]:
        """Have a plugin look at all, and at some that cannot be reached. ``seconds``: all of it."""
        raise NotImplementedError

    def stdout(self, host: Host, source: str, size: int) -> dict[str, float]:
        """``cat`` a file on a warm connection, all of it kept in memory. ``seconds``."""
        raise NotImplementedError

    def put(self, host: Host, source: str, destination: str) -> dict[str, float]:
        """Copy a file to the host on a warm connection. ``seconds``."""
        raise NotImplementedError

    def get(self, host: Host, source: str, destination: str) -> dict[str, float]:
        """Copy a file of the host here on a warm connection. ``seconds``."""
        raise NotImplementedError


class BlockingPeer(Peer, ABC):
    """Every measure with threads, on :meth:`open`."""

    @abstractmethod
    def open(self, host: Host) -> Session:
        """Connect and log in."""

    def map(self, work: Callable[[Any], _T], items: Sequence[Any], width: int) -> list[_T]:
        """``work`` on every item, ``width`` at once."""
        with ThreadPoolExecutor(width) as pool:
            return list(pool.map(work, items))

    def sequential(self, host: Host, commands: int, warm_up: int) -> dict[str, float]:
        session = self.open(host)
        try:
            for _ in range(warm_up):
                session.run("true")
            return {"seconds": middle([clocked(lambda: session.run("true")) for _ in range(commands)])}
        finally:
            session.close()

    def first_result(self, host: Host, times: int) -> dict[str, float]:
        def once() -> float:
            sessions: list[Session] = []

            def work() -> None:
                sessions.append(self.open(host))
                sessions[0].run("true")

            try:
                return clocked(work)
            finally:
                for session in sessions:
                    session.close()

        once()
        return {"seconds": middle([once() for _ in range(times)])}

    def in_flight(self, host: Host, commands: int, width: int) -> dict[str, float]:
        session = self.open(host)
        try:
            self.map(lambda _: session.run("true"), range(width), width)
            return {
                "seconds": clocked(lambda: self.map(lambda _: session.run("true"), range(commands), width))
            }
        finally:
            session.close()

    def fleet(self, hosts: Sequence[Host]) -> dict[str, float]:
        self._open_and_run(hosts[0]).close()  # modules that are loaded late belong to no host
        before = resident_bytes()
        sessions: list[Session] = []
        try:
            seconds = clocked(lambda: sessions.extend(self.map(self._open_and_run, hosts, FLEET_WIDTH)))
            return {"seconds": seconds, "bytes": (resident_bytes() - before) / len(hosts)}
        finally:
            self.map(lambda session: session.close(), sessions, FLEET_WIDTH)

    def idle(self, hosts: Sequence[Host], seconds: float) -> dict[str, float]:
        sessions = self.map(self._open_and_run, hosts, FLEET_WIDTH)
        try:
            return {"share": processor_share(lambda: time.sleep(seconds))}
        finally:
            self.map(lambda session: session.close(), sessions, FLEET_WIDTH)

    def stdout(self, host: Host, source: str, size: int) -> dict[str, float]:
        with_output: list[bytes] = []
        seconds = self._warm(host, lambda session: with_output.append(session.run(f"cat {source}")))
        check_size(len(with_output[0]), size)
        return seconds

    def put(self, host: Host, source: str, destination: str) -> dict[str, float]:
        return self._warm(host, lambda session: session.put(Path(source), Path(destination)))

    def get(self, host: Host, source: str, destination: str) -> dict[str, float]:
        return self._warm(host, lambda session: session.get(Path(source), Path(destination)))

    def _warm(self, host: Host, work: Callable[[Session], object]) -> dict[str, float]:
        session = self._open_and_run(host)
        try:
            return {"seconds": clocked(lambda: work(session))}
        finally:
            session.close()

    def _open_and_run(self, host: Host) -> Session:
        session = self.open(host)
        session.run("true")
        return session


def clocked(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_share(work: Callable[[], object]) -> float:
    """Processor time of this process while ``work`` goes on, as a share of one core."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - processor) / (time.perf_counter() - wall)


def middle(seconds: Sequence[float]) -> float:
    """The median of at least one number."""
    value = median(seconds)
    if value is None:
        raise MeasurementWrong("nothing was measured")
    return value


def resident_bytes() -> int:
    """Memory of this process that is really there."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_exit(code: int | None, command: str) -> None:
    """Raise unless the command ended well."""
    if code != 0:
        raise MeasurementWrong(f"{command!r} ended with {code}")


def check_size(size: int, expected: int) -> None:
    """Raise unless all of the output came."""
    if size != expected:
        raise MeasurementWrong(f"{size} bytes came instead of {expected}")
