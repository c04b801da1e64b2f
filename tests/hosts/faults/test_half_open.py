"""A host that falls silent while its TCP connection still stands: noticed, and never taken for a result."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.transports.base import Deadlines, NotSent, OutcomeUnknown, OutputLost, TransportError
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect, session
from tests.hosts.faults.conftest import Reach, ServerFactory
from tests.hosts.faults.leftovers import session_processes, wait_until_empty
from tests.hosts.faults.proxy import Fault, Proxy
from tests.hosts.sshd import Sshd

ALIVE = Deadlines(alive=1.5)
PATIENCE = 60.0


@pytest.fixture
def server(server_with: ServerFactory) -> Sshd:
    return server_with()


@contextmanager
def _through(server: Sshd, target: SshTarget, deadlines: Deadlines) -> Iterator[tuple[Proxy, SshConnection]]:
    with Proxy(server.address, server.port) as proxy:
        moved = dataclasses.replace(target, host="127.0.0.1", port=proxy.port)
        with connect(moved, deadlines=deadlines) as connection:
            yield proxy, connection


def _come_by(server: Sshd, reach: Reach) -> None:
    """The next connection takes away what the lost one has left for those who ask."""
    wait_until_empty(lambda: session_processes(server))
    with connect(reach(server)) as connection:
        assert connection.run("echo next").stdout == b"next\n"


def _wait_until_lost(connection: SshConnection) -> None:
    waited = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        if not connection.is_open:
            return
        waited.wait(0.05)
    raise AssertionError("the loss was never noticed")


@pytest.mark.parametrize(
    ("settle", "error", "says"),
    [(0.0, OutcomeUnknown, r"no sign of life for 1\.5 s"), (30.0, OutputLost, "ended with exit code 3")],
)
def test_what_became_of_a_running_command_is_asked_for_on_another_connection(
    server: Sshd, reach: Reach, tmp_path: Path, settle: float, error: type[TransportError], says: str
) -> None:
    began = tmp_path / "began"
    deadlines = dataclasses.replace(ALIVE, settle=settle)
    with _through(server, reach(server), deadlines) as (proxy, connection):

        def stall() -> None:
            waited = threading.Event()
            while not began.exists():
                waited.wait(0.02)
            proxy.links[0].strike("stall")

        threading.Thread(target=stall, daemon=True).start()
        with pytest.raises(error, match=says):
            connection.run(f"touch {began}; sleep 3; exit 3", timeout=PATIENCE)
        assert not connection.is_open
    _come_by(server, reach)


def test_an_idle_connection_is_known_to_be_lost(server: Sshd, reach: Reach) -> None:
    with _through(server, reach(server), ALIVE) as (proxy, connection):
        connection.run("true")
        proxy.links[0].strike("stall")
        _wait_until_lost(connection)
        with pytest.raises(TransportError):
            connection.run("true", timeout=PATIENCE)
    _come_by(server, reach)


def test_a_silent_command_on_a_live_host_is_left_alone(server: Sshd, reach: Reach) -> None:
    with _through(server, reach(server), Deadlines(alive=0.9)) as (_, connection):
        assert connection.run("sleep 2; echo done", timeout=PATIENCE).stdout == b"done\n"
        assert connection.is_open


def test_a_writer_that_is_stuck_does_not_hide_the_silence(server: Sshd, reach: Reach) -> None:
    """The host takes nothing more, and a thread of ours waits for it to: the other end still is not there."""
    with _through(server, reach(server), ALIVE) as (proxy, connection):
        connection.run("true")
        proxy.links[0].strike("stall")
        with pytest.raises(TransportError):
            connection.run("true", variables={f"V{number}": "x" * 100_000 for number in range(200)})
        assert not connection.is_open
    _come_by(server, reach)


@pytest.mark.parametrize(
    "use",
    [
        lambda connection, there: connection.run(f"touch {there}"),
        lambda connection, there: connection.put(Path(__file__), str(there)),
        lambda connection, there: connection.get("/etc/passwd", there),
    ],
    ids=["run", "put", "get"],
)
def test_nothing_is_sent_to_a_host_that_has_forgotten_the_connection(
    server: Sshd,
    reach: Reach,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[SshConnection, Path], object],
) -> None:
    """As one does that was reset and is up again: it says so when something comes."""
    monkeypatch.setattr(session, "FRESH", 0.0)
    there = tmp_path / "there"
    with _through(server, reach(server), Deadlines(settle=0.0)) as (proxy, connection):
        connection.run("true")
        proxy.links[0].arm(Fault("reset", "up", 1))
        with pytest.raises(NotSent, match="is closed or was lost"):
            use(connection, there)
        assert not connection.is_open
    assert not there.exists()
    _come_by(server, reach)


def test_a_host_that_gives_no_sign_of_life_in_time_is_sent_nothing(
    server: Sshd, reach: Reach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FRESH", 0.0)
    with _through(server, reach(server), Deadlines(settle=0.0)) as (proxy, connection):
        connection.run("true")
        proxy.links[0].strike("stall")
        with pytest.raises(NotSent, match="no sign of life in time"):
            connection.run(f"touch {tmp_path}/there", timeout=0.5)
    assert not (tmp_path / "there").exists()
    _come_by(server, reach)


def test_many_ask_at_once_and_each_gets_an_answer(
    server: Sshd, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FRESH", 0.0)
    with (
        connect(reach(server), deadlines=Deadlines(alive=0.3)) as connection,
        ThreadPoolExecutor(8) as threads,
    ):
        said = list(threads.map(lambda number: connection.run(f"sleep 0.2; echo {number}").stdout, range(40)))
    assert said == [b"%d\n" % number for number in range(40)]
