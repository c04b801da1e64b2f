"""Sharing open connections: who gets which, and what happens when there is none."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.connections import Connections, ConnectionsClosed, TransportMissing
from dlpx_remote.environments.model import (
    Authentication,
    Environment,
    EnvironmentUser,
    HostType,
    SecretReference,
)
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import NotFound
from dlpx_remote.transports.base import AuthenticationFailed, ConnectionRefused
from dlpx_remote.transports.ssh.target import SshTarget
from tests.unit.environments.local import LocalConnection


def environment(number: int = 1, **changes: Any) -> Environment:
    users = changes.pop("users", (Authentication(),))
    return Environment(
        **{
            "reference": f"UNIX_HOST_ENVIRONMENT-{number}",
            "host_reference": f"UNIX_HOST-{number}",
            "name": f"db{number}",
            "host": f"db{number}.example.com",
            "port": 2222,
            "host_type": HostType.UNIX,
            "users": tuple(
                EnvironmentUser(f"HOST_USER-{number}{place}", f"user{place}", authentication, place == 0)
                for place, authentication in enumerate(users)
            ),
            **changes,
        }
    )


class Host:
    """Opens local connections, and remembers for whom."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.targets: list[SshTarget] = []
        self.opened: list[LocalConnection] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def connect(self, target: SshTarget) -> LocalConnection:
        self.targets.append(target)
        if self.gate is not None:
            self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.opened.append(LocalConnection(self.home))
        return self.opened[-1]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def make(host: Host, *environments: Environment, **options: Any) -> Connections:
    known = {entry.reference: entry for entry in environments}

    def lookup(environment_reference: str, user_reference: str) -> tuple[Environment, EnvironmentUser]:
        if environment_reference not in known:
            raise NotFound("no such environment")
        entry = known[environment_reference]
        return entry, next(user for user in entry.users if user.reference == user_reference)

    options.setdefault("secrets", Secrets())
    return Connections(lookup, options.pop("secrets"), open_connection=host.connect, **options)


def test_one_environment_and_user_share_one_connection(host: Host) -> None:
    two_users = environment(1, users=(Authentication(), Authentication()))
    with make(host, two_users, environment(2)) as connections:
        first = connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10") is first
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-11") is not first
        assert connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20") is not first
    assert [connection.closed for connection in host.opened] == [1, 1, 1]


def test_threads_that_ask_at_once_get_the_same_one(host: Host) -> None:
    host.gate = threading.Event()
    got: list[object] = []
    with make(host, environment()) as connections:
        threads = [
            threading.Thread(
                target=lambda: got.append(connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10"))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        host.gate.set()
        for thread in threads:
            thread.join()
    assert len(got) == 8
    assert len(host.opened) == len(set(map(id, got))) == 1


def test_a_slow_host_holds_up_nobody_else(host: Host, tmp_path: Path) -> None:
    gate = threading.Event()

    def connect(target: SshTarget) -> LocalConnection:
        if target.host.startswith("db1"):
            gate.wait(10)
        return LocalConnection(tmp_path)

    host.connect = connect  # type: ignore[method-assign]
    with make(host, environment(1), environment(2)) as connections:
        slow = threading.Thread(
            target=connections.connection, args=("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        )
        slow.start()
        assert connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20").address
        assert slow.is_alive()
        gate.set()
        slow.join()


@pytest.mark.parametrize("jump", [(), ("bob@gate:2222",)])
def test_few_handshakes_reach_one_server_at_once(host: Host, jump: tuple[str, ...]) -> None:
    """Sixteen environments on one host, or behind one jump host; the server would drop some of sixteen."""
    lock, inside, most = threading.Lock(), 0, 0
    opened = host.connect

    def connect(target: SshTarget) -> LocalConnection:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1
        return opened(target)

    host.connect = connect  # type: ignore[method-assign]
    at = {"jump": jump} if jump else {"host": "one.example.com"}
    with make(host, *(environment(number, **at) for number in range(1, 17))) as connections:
        threads = [
            threading.Thread(
                target=connections.connection,
                args=(f"UNIX_HOST_ENVIRONMENT-{number}", f"HOST_USER-{number}0"),
            )
            for number in range(1, 17)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(host.opened) == 16
    assert most <= 4


def test_the_target_is_made_of_what_is_configured(host: Host, tmp_path: Path) -> None:
    authentication = Authentication(
        key="/keys/id",
        passphrase_from=SecretReference("env", "PHRASE"),
        password_from=SecretReference("env", "PASSWORD"),
    )
    configured = environment(
        1,
        users=(authentication,),
        jump=("bob@gate:22",),
        host_key="accept-new",
        fingerprint="SHA256:" + "a" * 43,
    )
    secrets = Secrets(environment={"PHRASE": "phrase-of-the-key", "PASSWORD": "password-of-anna"})
    with make(host, configured, secrets=secrets, known_hosts=tmp_path / "known_hosts") as connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    (target,) = host.targets
    assert (target.host, target.port, target.user) == ("db1.example.com", 2222, "user0")
    assert (target.key, target.agent, target.default_keys) == ("/keys/id", False, False)
    assert (target.jump, target.host_key_policy) == (("bob@gate:22",), "accept-new")
    assert target.fingerprint == configured.fingerprint
    assert target.known_hosts == tmp_path / "known_hosts"
    assert target.password is not None
    assert target.passphrase is not None
    assert (target.password(), target.passphrase()) == ("password-of-anna", "phrase-of-the-key")
    assert "password-of-anna" not in repr(target)


def test_with_nothing_given_the_default_keys_are_offered(host: Host) -> None:
    with make(host, environment()) as connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    assert host.targets[0].default_keys
    assert host.targets[0].password is None


def test_a_secret_is_not_looked_for_before_the_host_asks(host: Host) -> None:
    missing = Authentication(password_from=SecretReference("env", "NOWHERE"))
    with make(host, environment(1, users=(missing,)), secrets=Secrets(environment={})) as connections:
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10").address


def test_unknown_references_are_told(host: Host) -> None:
    with make(host) as connections, pytest.raises(NotFound):
        connections.connection("UNIX_HOST_ENVIRONMENT-9", "HOST_USER-1")


def test_windows_hosts_are_refused_in_plain_words(host: Host) -> None:
    windows = environment(1, host_type=HostType.WINDOWS)
    with (
        make(host, windows) as connections,
        pytest.raises(TransportMissing, match="db1 is a Windows environment"),
    ):
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    assert host.targets == []


def test_a_host_that_was_down_is_tried_again(host: Host) -> None:
    host.error = ConnectionRefused("nothing listens")
    with make(host, environment()) as connections:
        for _ in range(2):
            with pytest.raises(ConnectionRefused):
                connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        host.error = None
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10").address
    assert len(host.targets) == 3


def test_those_who_wait_for_a_host_that_is_down_hear_of_it_together(host: Host) -> None:
    """Otherwise each would wait for the whole connect deadline in its turn."""
    host.error = ConnectionRefused("nothing listens")
    host.gate = threading.Event()
    errors: list[Exception] = []

    def ask() -> None:
        try:
            connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        except ConnectionRefused as error:
            errors.append(error)

    with make(host, environment()) as connections:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        threads[0].join(0.3)  # time for the others to come to wait
        host.gate.set()
        for thread in threads:
            thread.join()
    assert len(errors) == 8
    assert len(host.targets) < 8  # one, but for a thread that was late


def test_refused_credentials_are_not_offered_twice(host: Host) -> None:
    host.error = AuthenticationFailed("refused")
    with make(host, environment()) as connections:
        for _ in range(3):
            with pytest.raises(AuthenticationFailed):
                connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    assert len(host.targets) == 1


def test_a_lost_connection_is_replaced(host: Host) -> None:
    with make(host, environment()) as connections:
        first = connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        host.opened[0].is_open = False
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10") is not first
    assert [connection.closed for connection in host.opened] == [1, 1]


def test_discarding_closes_one_environment_only(host: Host) -> None:
    with make(host, environment(1), environment(2)) as connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20")
        connections.discard("UNIX_HOST_ENVIRONMENT-1")
        assert [connection.closed for connection in host.opened] == [1, 0]


def test_after_closing_there_is_no_connection(host: Host) -> None:
    connections = make(host, environment())
    connections.close()
    connections.close()
    with pytest.raises(ConnectionsClosed, match="has been closed"):
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")


def test_a_connection_that_opens_while_everything_is_closed_is_closed_too(host: Host) -> None:
    host.gate = threading.Event()
    connections = make(host, environment())
    errors: list[Exception] = []

    def ask() -> None:
        try:
            connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        except ConnectionsClosed as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not host.targets:
        thread.join(0.01)
    connections.close()
    host.gate.set()
    thread.join()
    assert len(errors) == 1
    assert [connection.closed for connection in host.opened] == [1]


def test_an_unchecked_host_key_is_warned_of_once(host: Host) -> None:
    warnings: list[str] = []
    loose = environment(1, host_key="off", users=(Authentication(), Authentication()))
    with make(host, loose, on_warning=warnings.append) as connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-11")
    assert len(warnings) == 1
    assert "host key of db1 is not checked" in warnings[0]


def test_people_are_asked_before_many_things_run_at_once(host: Host) -> None:
    questions: list[str] = []

    def prompt(question: str) -> str:
        questions.append(question)
        return "typed-by-a-person"

    asked = Authentication(
        key="/keys/id", passphrase_from=SecretReference("prompt"), password_from=SecretReference("prompt")
    )
    elsewhere = Authentication(password_from=SecretReference("env", "NOWHERE"))
    one, two = environment(1, users=(asked,)), environment(2, users=(elsewhere,))
    with make(host, one, two, secrets=Secrets(prompt, environment={})) as connections:
        connections.ask_beforehand([one, two])
    assert questions == ["Passphrase of the key /keys/id", "Password of user0 on db1"]
