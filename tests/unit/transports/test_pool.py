"""The pool on a network that does as it is told: who shares, who waits, what is closed when, and its repr."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandResult,
    ConnectionRefused,
    ConnectTimeout,
    Deadlines,
    NotSent,
    OutcomeUnknown,
)
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.network import Link
from dlpx_remote.transports.ssh.pool import HANDSHAKES, ConnectionsClosed, Pool, PooledConnection
from dlpx_remote.transports.ssh.target import Hop, SshTarget
from tests.unit.environments.local import LocalConnection


class FakeLink:
    """A session; ended once."""

    def __init__(self, hop: Hop, before: Link | None) -> None:
        self.hop = hop
        self.before = before
        self.active = True
        self.ends = 0

    def is_active(self) -> bool:
        return self.active and (self.before is None or self.before.is_active())

    def end(self) -> None:
        self.active = False
        self.ends += 1


class FakeConnection(LocalConnection):
    """Runs what it is told to; lost with its session."""

    def __init__(self, link: FakeLink, network: FakeNetwork) -> None:
        self._link = link
        self._network = network
        super().__init__(Path())

    @property
    def is_open(self) -> bool:
        return self._link.is_active()

    @is_open.setter
    def is_open(self, value: bool) -> None:
        pass

    def run(self, script: str | bytes, **options: Any) -> CommandResult:
        return self._network.run(self, str(script), **options)

    def lose(self) -> None:
        self._link.active = False

    def close(self) -> None:
        self._link.end()


class FakeNetwork:
    """Opens whatever is asked for, unless told otherwise; counts what is going on at each server."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.connections: list[FakeConnection] = []
        self.errors: dict[str, Exception] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.entered: list[str] = []
        self.seconds: list[float | None] = []
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.takes = 0.0
        self.run: Callable[..., CommandResult] = lambda *_, **__: CommandResult(0, b"", b"")
        self._lock = threading.Lock()

    def open(self, hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        with self._lock:
            self.entered.append(hop.host)
            self.seconds.append(deadline.remaining())
            self.inside[hop.host] += 1
            self.most[hop.host] = max(self.most[hop.host], self.inside[hop.host])
        try:
            time.sleep(self.takes)
            self.hold.wait(10)
            if hop.host in self.errors:
                raise self.errors[hop.host]
        finally:
            with self._lock:
                self.inside[hop.host] -= 1
        link = FakeLink(hop, before)
        self.links.append(link)
        return link

    def connection(self, target: SshTarget, hop: Hop, link: Link) -> FakeConnection:
        assert isinstance(link, FakeLink)
        self.connections.append(FakeConnection(link, self))
        return self.connections[-1]


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def pool(network: FakeNetwork) -> Iterator[Pool]:
    made = Pool(network)
    yield made
    made.close()
    assert repr(made) == "<Pool: closed>"
    assert [link.hop for link in network.links if link.is_active()] == []


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def target(host: str = "db1", **changes: Any) -> SshTarget:
    return SshTarget(**{"host": host, "user": "anna", "port": 22, "key": "/keys/id", **changes})


GATE = ("jo@gate:2222",)


def at_once(number: int, what: Callable[[], object]) -> list[object]:
    """What each of ``number`` threads got, or the error it met."""
    got: list[object] = []

    def one() -> None:
        try:
            got.append(what())
        except Exception as error:
            got.append(error)

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def in_use(connection: PooledConnection, network: FakeNetwork) -> tuple[threading.Thread, threading.Event]:
    """Have a command run on it until the event is set."""
    running, end = threading.Event(), threading.Event()

    def run(*_: object, **__: object) -> CommandResult:
        running.set()
        end.wait(10)
        return CommandResult(0, b"", b"")

    network.run = run
    thread = threading.Thread(target=connection.run, args=("sleep",))
    thread.start()
    assert running.wait(10)
    return thread, end


def test_nothing_is_opened_before_it_is_used(pool: Pool, network: FakeNetwork) -> None:
    connection = pool.connection(target())
    assert repr(pool) == "<Pool: nothing open>"
    assert (connection.address, connection.is_open) == ("anna@db1:22", False)
    assert network.entered == []


def test_what_is_open_is_shared_by_all_threads(pool: Pool, network: FakeNetwork) -> None:
    network.takes = 0.05
    results = at_once(16, lambda: pool.connection(target()).run("true"))
    assert all(isinstance(result, CommandResult) for result in results)
    assert network.entered == ["db1"]
    assert repr(pool) == "<Pool: anna@db1:22 idle>"


def test_it_is_in_use_while_a_command_runs(pool: Pool, network: FakeNetwork) -> None:
    thread, end = in_use(pool.connection(target()), network)
    assert repr(pool) == "<Pool: anna@db1:22 in use by 1>"
    end.set()
    thread.join()
    assert repr(pool) == "<Pool: anna@db1:22 idle>"


@pytest.mark.parametrize(
    "other",
    [
        {"user": "bob"},
        {"port": 2222},
        {"host": "db2"},
        {"jump": GATE},
        {"key": "/keys/other"},
        {"agent": True},
        {"default_keys": False},
        {"password": lambda: "one"},
        {"passphrase": lambda: "one"},
        {"host_key_policy": "off"},
        {"fingerprint": "SHA256:a"},
        {"known_hosts": Path("/known")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_decides_who_gets_in_keeps_apart(other: dict[str, Any], pool: Pool) -> None:
    assert pool.connection(target()) is pool.connection(target())
    assert pool.connection(target(**other)) is not pool.connection(target())


def test_two_names_for_one_way_share(pool: Pool, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host alias\n  HostName db1\n  User anna\n")
    named = pool.connection(target("alias", user=None, port=None, ssh_config=config))
    assert named is pool.connection(target(ssh_config=config))


def test_a_host_that_is_down_is_told_to_all_who_wait_and_tried_again(
    pool: Pool, network: FakeNetwork
) -> None:
    network.errors["db1"] = ConnectionRefused("nothing listens")
    network.takes = 0.2
    errors = at_once(8, lambda: pool.connection(target()).run("true"))
    assert all(isinstance(error, ConnectionRefused) for error in errors)
    assert len(network.entered) < 8  # one, but for a thread that was late
    del network.errors["db1"]
    assert pool.connection(target()).run("true").exit_code == 0


def test_a_refused_login_is_not_tried_again(pool: Pool, network: FakeNetwork) -> None:
    network.errors["db1"] = AuthenticationFailed("refused")
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            pool.connection(target()).run("true")
    assert network.entered == ["db1"]
    assert repr(pool) == "<Pool: anna@db1:22 refused>"


def test_after_it_was_discarded_a_refused_login_may_be_tried_again(pool: Pool, network: FakeNetwork) -> None:
    network.errors["gate"] = AuthenticationFailed("refused")
    connection = pool.connection(target(jump=GATE))
    with pytest.raises(AuthenticationFailed):
        connection.run("true")
    pool.discard([connection])
    del network.errors["gate"]
    assert connection.run("true").exit_code == 0


def test_few_handshakes_reach_one_server_at_once(pool: Pool, network: FakeNetwork) -> None:
    network.takes = 0.01
    threads = [
        threading.Thread(target=pool.connection(target(host, user=f"user{number}")).open)
        for number in range(12)
        for host in ("db1", "db2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(network.links) == 24
    assert network.most == {"db1": HANDSHAKES, "db2": HANDSHAKES}


def test_a_jump_host_is_logged_in_to_once_for_all_behind_it(pool: Pool, network: FakeNetwork) -> None:
    network.takes = 0.01
    hosts = [f"db{number}" for number in range(5)]
    threads = [threading.Thread(target=pool.connection(target(host, jump=GATE)).open) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.entered.count("gate") == 1
    assert sorted(network.entered) == [*hosts, "gate"]
    assert "jo@gate:2222 jump host of 5" in repr(pool)


def test_those_with_other_credentials_do_not_share_a_jump_host(pool: Pool, network: FakeNetwork) -> None:
    pool.connection(target("db1", jump=GATE)).open()
    pool.connection(target("db2", jump=GATE, key="/keys/other")).open()
    assert network.entered == ["gate", "db1", "gate", "db2"]


def test_a_password_is_for_the_last_host_only_so_the_way_there_is_shared(
    pool: Pool, network: FakeNetwork
) -> None:
    pool.connection(target("db1", jump=GATE, password=lambda: "one")).open()
    pool.connection(target("db1", jump=GATE, password=lambda: "two")).open()
    assert network.entered == ["gate", "db1", "db1"]


def test_a_jump_host_ends_with_the_last_that_goes_through_it(pool: Pool, network: FakeNetwork) -> None:
    chain = (*GATE, "jo@inner:2222")
    one, two = (pool.connection(target(host, jump=chain)) for host in ("db1", "db2"))
    one.open()
    two.open()
    pool.discard([one])
    assert [link.hop.host for link in network.links if link.is_active()] == ["gate", "inner", "db2"]
    pool.discard([two])
    assert [link.hop.host for link in network.links if link.is_active()] == []
    assert repr(pool) == "<Pool: nothing open>"
    two.open()
    assert network.entered == ["gate", "inner", "db1", "db2", "gate", "inner", "db2"]


def test_a_host_that_fails_behind_a_jump_host_leaves_none(pool: Pool, network: FakeNetwork) -> None:
    network.errors["db1"] = ConnectTimeout("silent")
    with pytest.raises(ConnectTimeout):
        pool.connection(target(jump=GATE)).open()
    assert [link.hop.host for link in network.links if link.is_active()] == []


def test_a_lost_jump_host_is_replaced_with_all_behind_it(pool: Pool, network: FakeNetwork) -> None:
    one, two = (pool.connection(target(host, jump=GATE)) for host in ("db1", "db2"))
    one.open()
    two.open()
    network.links[0].active = False
    assert "anna@db1:22 lost" in repr(pool)
    one.run("true")
    two.run("true")
    assert network.entered == ["gate", "db1", "db2", "gate", "db1", "db2"]


def test_a_chain_has_one_connect_deadline(network: FakeNetwork) -> None:
    network.takes = 0.2
    with Pool(network, deadlines=Deadlines(connect=5)) as pool:
        pool.connection(target(jump=GATE)).open()
    first, second = network.seconds
    assert first is not None
    assert second is not None
    assert second < first


def test_a_connection_that_turns_out_to_be_lost_is_replaced_once(pool: Pool, network: FakeNetwork) -> None:
    connection = pool.connection(target())
    connection.open()

    def lost(used: FakeConnection, *_: object, **__: object) -> CommandResult:
        if used is network.connections[0]:
            used.lose()
            raise NotSent("lost")
        return CommandResult(3, b"", b"")

    network.run = lost
    assert connection.run("exit 3").exit_code == 3
    assert network.entered == ["db1", "db1"]


@pytest.mark.parametrize("error", [OutcomeUnknown("cut"), NotSent("full")], ids=lambda e: type(e).__name__)
def test_nothing_is_sent_again_that_may_have_run_or_was_refused(
    error: Exception, pool: Pool, network: FakeNetwork
) -> None:
    connection, runs = pool.connection(target()), 0
    connection.open()

    def fail(used: FakeConnection, *_: object, **__: object) -> CommandResult:
        nonlocal runs
        runs += 1
        if isinstance(error, OutcomeUnknown):
            used.lose()
        raise error

    network.run = fail
    with pytest.raises(type(error)):
        connection.run("true")
    assert (runs, network.entered) == (1, ["db1"])


def test_a_new_connection_that_is_lost_at_once_is_not_replaced_for_ever(
    pool: Pool, network: FakeNetwork
) -> None:
    def lose(used: FakeConnection, *_: object, **__: object) -> CommandResult:
        used.lose()
        raise NotSent("lost")

    network.run = lose
    connection = pool.connection(target())
    with pytest.raises(NotSent):
        connection.run("true")
    assert network.entered == ["db1"]


def test_what_runs_on_a_lost_connection_ends_before_it_is_closed(pool: Pool, network: FakeNetwork) -> None:
    connection = pool.connection(target())
    thread, end = in_use(connection, network)
    first = network.links[0]
    first.active = False
    connection.open()
    assert (first.ends, repr(pool)) == (0, "<Pool: anna@db1:22 idle>")
    end.set()
    thread.join()
    assert first.ends > 0


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_what_is_not_used_for_long_is_closed_and_nothing_keeps_watching(network: FakeNetwork) -> None:
    with Pool(network, idle=0.05) as pool:
        connection = pool.connection(target(jump=GATE))
        connection.run("true")
        _until(lambda: repr(pool) == "<Pool: nothing open>")
        _until(lambda: not any(link.is_active() for link in network.links))
        _until(lambda: not any(thread.name == "idle connections" for thread in threading.enumerate()))
        assert connection.run("true").exit_code == 0  # and opened again when it is needed
    assert network.entered == ["gate", "db1", "gate", "db1"]
    assert not any(thread.name == "idle connections" for thread in threading.enumerate())


def test_what_is_in_use_is_not_idle(network: FakeNetwork) -> None:
    with Pool(network, idle=0.05) as pool:
        thread, end = in_use(pool.connection(target()), network)
        thread.join(0.3)
        assert repr(pool) == "<Pool: anna@db1:22 in use by 1>"
        end.set()
        thread.join()
        _until(lambda: repr(pool) == "<Pool: nothing open>")


def test_without_an_idle_time_out_nothing_watches(network: FakeNetwork) -> None:
    with Pool(network, idle=None) as pool:
        pool.connection(target()).open()
        assert not any(thread.name == "idle connections" for thread in threading.enumerate())


def test_after_closing_there_is_no_connection(network: FakeNetwork) -> None:
    pool = Pool(network)
    connection = pool.connection(target())
    connection.open()
    pool.close()
    pool.close()
    with pytest.raises(ConnectionsClosed, match="no host can be reached"):
        connection.run("true")
    assert not network.links[0].is_active()


def test_what_opens_while_everything_is_closed_is_closed_too(network: FakeNetwork) -> None:
    network.hold.clear()
    pool = Pool(network)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.extend(at_once(1, pool.connection(target(jump=GATE)).open)))
    thread.start()
    _until(lambda: bool(network.entered))
    assert repr(pool) == "<Pool: jo@gate:2222 opening, anna@db1:22 opening>"
    pool.close()
    network.hold.set()
    thread.join()
    assert isinstance(got[0], ConnectionsClosed)
    assert [link.is_active() for link in network.links] == [False]


def test_an_interrupt_while_opening_leaves_the_next_free_to_try(pool: Pool, network: FakeNetwork) -> None:
    network.errors["db1"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        pool.connection(target()).open()
    del network.errors["db1"]
    assert pool.connection(target()).run("true").exit_code == 0
