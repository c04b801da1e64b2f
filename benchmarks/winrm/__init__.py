"""The WinRM benchmark: us against pywinrm's own Session.run_ps, on a WS-Management responder on loopback."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from benchmarks.records import Record, Target, judge

USER = "Administrator"
COMMANDS = 50
"""In one round; fewer than one shell takes, so that what is measured is a warm command."""

ROUNDS = 5
SCRIPT = "hostname"
OURS, PEER = "transport", "pywinrm"

Run = Callable[[], bytes]
Scheme = Literal["http", "https"]
Login = Literal["ntlm", "basic"]


@dataclass(frozen=True)
class Way:
    """One way to a host, and what is measured on it."""

    scheme: Scheme
    login: Login

    @property
    def name(self) -> str:
        """Short."""
        return f"{self.scheme}-{self.login}"


WAYS = (Way("http", "ntlm"), Way("http", "basic"), Way("https", "ntlm"), Way("https", "basic"))
KINDS: dict[str, tuple[str, str, tuple[Target, ...]]] = {
    "requests": ("HTTP requests a warm command", "requests", (Target("at most", 3, kind="value"),)),
    "connections": (
        "new TCP connections a warm command",
        "connections",
        (Target("at most", 0, kind="value"),),
    ),
    "time": ("a warm command", "ms", (Target("at most", 1, PEER),)),
}
MEASURES = [f"{kind}-{way.name}" for way in WAYS for kind in KINDS]


class Server:
    """The responder in its own process."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, password: str) -> None:
        self._process = process
        self.authority = directory / "authority.pem"
        self.password = password
        self.ports: dict[str, int] = self._ask({"password": password, "directory": str(directory)})

    def counts(self, scheme: Scheme) -> dict[str, Any]:
        """What it has counted on that port."""
        return dict(self._ask(scheme))

    def _ask(self, question: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("The server has no pipes.")
        print(question if isinstance(question, str) else json.dumps(question), file=stdin, flush=True)
        return json.loads(stdout.readline())


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named (all when none); see :mod:`benchmarks.__main__`."""
    records: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory, _server(Path(directory)) as server:
        for way in WAYS:
            kinds = [kind for kind in KINDS if not only or f"{kind}-{way.name}" in only]
            if not kinds:
                continue
            values = _take(server, way, rounds or ROUNDS, console)
            for kind in kinds:
                title, unit, targets = KINDS[kind]
                records.append(
                    judge(
                        measure=f"{kind}-{way.name}",
                        title=f"{title}, {way.scheme.upper()} with {way.login}",
                        unit=unit,
                        ours=OURS,
                        rounds={name: [each[kind] for each in taken] for name, taken in values.items()},
                        targets=targets,
                        failures={},
                    )
                )
    return records


def _take(server: Server, way: Way, rounds: int, console: Console) -> dict[str, list[dict[str, float]]]:
    values: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
    with _ours(server, way) as ours:
        contestants = [(OURS, ours), (PEER, _theirs(server, way))]
        for _, command in contestants:
            command()  # the first is not warm
        for number in range(rounds):
            # Whoever comes first in a round comes last in the next.
            for name, command in contestants if number % 2 == 0 else reversed(contestants):
                console.print(f"{way.name}: round {number + 1}, {name}", highlight=False)
                values[name].append(_round(server, way, command))
    return values


def _round(server: Server, way: Way, command: Run) -> dict[str, float]:
    before, began = server.counts(way.scheme), time.perf_counter()
    for _ in range(COMMANDS):
        if command() != b"WINHOST\r\n":
            raise RuntimeError("The command gave something else.")
    took, after = time.perf_counter() - began, server.counts(way.scheme)
    return {
        "requests": (after["requests"] - before["requests"]) / COMMANDS,
        "connections": (after["connections"] - before["connections"]) / COMMANDS,
        "time": took / COMMANDS * 1000,
    }


@contextmanager
def _ours(server: Server, way: Way) -> Iterator[Run]:
    from dlpx_remote.transports.winrm import WinrmTarget, connect

    target = WinrmTarget(
        "127.0.0.1",
        USER,
        scheme=way.scheme,
        port=server.ports[way.scheme],
        authentication=way.login,
        password=lambda: server.password,
        ca_file=server.authority if way.scheme == "https" else None,
        unencrypted=way.scheme == "http" and way.login == "basic",
    )
    with connect(target) as connection:
        yield lambda: connection.run(SCRIPT, interpreter="powershell").stdout


def _theirs(server: Server, way: Way) -> Run:
    import winrm

    url = f"{way.scheme}://127.0.0.1:{server.ports[way.scheme]}/wsman"
    options = {"ca_trust_path": str(server.authority)} if way.scheme == "https" else {}
    session = winrm.Session(
        url,
        (USER, server.password),
        transport=way.login,
        proxy=None,
        **options,
    )
    return lambda: bytes(session.run_ps(SCRIPT).std_out)


@contextmanager
def _server(directory: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.winrm.server"]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Server(process, directory, secrets.token_urlsafe(16))
        finally:
            if process.stdin is not None:
                process.stdin.close()  # it ends then
            process.wait(20)
