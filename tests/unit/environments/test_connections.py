"""Sharing open connections: who gets which, and what happens when there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.connections import Connections, ConnectionsClosed
from dlpx_remote.environments.model import (
    Authentication,
    Environment,
    EnvironmentUser,
    HostType,
    SecretReference,
    WindowsAccess,
)
from dlpx_remote.environments.secrets import Secrets, SecretUnavailable
from dlpx_remote.errors import NotFound
from dlpx_remote.transports.base import AuthenticationFailed, ConnectionRefused
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.network import Link
from dlpx_remote.transports.ssh.target import Hop, SshTarget
from tests.unit.environments.local import LocalConnection

BY_PASSWORD = Authentication(password_from=SecretReference("prompt"))


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
    """A network of local connections, that remembers for whom it opened them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.local: Callable[[Path], LocalConnection] = LocalConnection
        self.targets: list[SshTarget] = []
        self.opened: list[LocalConnection] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def open(self, hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        if hop.last:
            self.targets.append(target)
        if self.gate is not None:
            self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return LocalLink()

    def connection(self, target: SshTarget, hop: Hop, link: Link) -> LocalConnection:
        self.opened.append(self.local(self.home))
        return self.opened[-1]


class LocalLink:
    """A session that is open until it is ended."""

    def __init__(self) -> None:
        self.active = True

    def is_active(self) -> bool:
        return self.active

    def end(self) -> None:
        self.active = False


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
    return Connections(lookup, options.pop("secrets"), network=host, **options)


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


def test_a_slow_host_holds_up_nobody_else(host: Host) -> None:
    gate = threading.Event()
    opening = host.open

    def open_slowly(hop: Hop, target: SshTarget, before: Link | None, deadline: Deadline) -> Link:
        if hop.host.startswith("db1"):
            gate.wait(10)
        return opening(hop, target, before, deadline)

    host.open = open_slowly  # type: ignore[method-assign]
    with make(host, environment(1), environment(2)) as connections:
        slow = threading.Thread(
            target=connections.connection, args=("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        )
        slow.start()
        assert connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20").address
        assert slow.is_alive()
        gate.set()
        slow.join()


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


def test_windows_hosts_are_reached_by_winrm(host: Host) -> None:
    windows = environment(1, host_type=HostType.WINDOWS, users=(BY_PASSWORD,))
    with make(host, windows) as connections:
        target = connections.windows_target(windows, windows.primary_user)
    assert (target.scheme, target.effective_port, target.authentication) == ("https", 2222, "ntlm")
    assert host.targets == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"host_key": "off"}, "The certificate of db1 is not checked"),
        ({"host_key": "off", "fingerprint": "0" * 40}, ""),
        ({"windows": WindowsAccess(scheme="http")}, ""),
        (
            {"windows": WindowsAccess(scheme="http", login="basic", unencrypted=True)},
            "can be read by everybody on the network",
        ),
    ],
)
def test_what_is_not_safe_about_a_windows_host_is_warned_of_once(
    host: Host, changes: dict[str, Any], warning: str
) -> None:
    windows = environment(1, host_type=HostType.WINDOWS, users=(BY_PASSWORD,), **changes)
    said: list[str] = []
    with make(host, windows, on_warning=said.append) as connections:
        for _ in range(2):
            with pytest.raises(SecretUnavailable):  # nobody is there to be asked
                connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    assert len(said) == (1 if warning else 0)
    assert all(warning in sentence for sentence in said)


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
        connection = connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        host.opened[0].is_open = False
        assert connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10") is connection
        assert connection.run("true").exit_code == 0
    assert [one.scripts for one in host.opened] == [[], ["true"]]
    assert [one.closed for one in host.opened] == [1, 1]


def test_discarding_closes_one_environment_only(host: Host) -> None:
    with make(host, environment(1), environment(2)) as connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20")
        connections.discard("UNIX_HOST_ENVIRONMENT-1")
        assert [connection.closed for connection in host.opened] == [1, 0]


def test_a_change_by_this_engine_is_noticed_at_once(host: Host) -> None:
    both = environment(1, users=(Authentication(), Authentication()))
    primary = [both.users[0]]
    with make(host, both) as connections:

        def run() -> str:
            return connections.connection_named(lambda *_: (both, primary[0]), "db1", None)[1].address

        assert run().startswith("user0@")
        primary[0] = both.users[1]
        connections.look_again()
        assert run().startswith("user1@")


def test_environments_on_one_account_share_a_connection_until_the_last_is_discarded(host: Host) -> None:
    same = {
        "host": "one.example.com",
        "users": (Authentication(password_from=SecretReference("env", "PASSWORD")),),
    }
    with make(host, environment(1, **same), environment(2, **same)) as connections:
        first = connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        assert connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20") is first
        connections.discard("UNIX_HOST_ENVIRONMENT-1")
        assert [one.closed for one in host.opened] == [0]
        connections.discard("UNIX_HOST_ENVIRONMENT-2")
        assert [one.closed for one in host.opened] == [1]


OTHERS = {
    "password": Authentication(password_from=SecretReference("env", "OTHER")),
    "the same, typed": Authentication(password_from=SecretReference("prompt")),
    "key": Authentication(key="/keys/other"),
    "agent": Authentication(agent=True),
    "passphrase": Authentication(key="/keys/id", passphrase_from=SecretReference("env", "PHRASE")),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_those_with_other_credentials_share_nothing(other: Authentication, host: Host) -> None:
    for own in (
        Authentication(password_from=SecretReference("env", "PASSWORD")),
        Authentication(key="/keys/id"),
        other if other.password_from and other.password_from.kind == "prompt" else Authentication(),
    ):
        at = {"host": "one.example.com"}
        with make(host, environment(1, users=(own,), **at), environment(2, users=(other,), **at)) as ours:
            first = ours.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
            assert ours.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20") is not first


@pytest.mark.parametrize(
    "other",
    [{"host_key": "off"}, {"fingerprint": "SHA256:" + "a" * 43}, {"port": 22}, {"jump": ("bob@gate",)}],
    ids=str,
)
def test_those_that_are_reached_or_checked_in_another_way_share_nothing(
    other: dict[str, Any], host: Host
) -> None:
    at = {"host": "one.example.com"}
    with make(host, environment(1, **at), environment(2, **at | other)) as connections:
        first = connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        assert connections.connection("UNIX_HOST_ENVIRONMENT-2", "HOST_USER-20") is not first


def test_what_is_changed_by_others_is_noticed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlpx_remote.environments.connections.TRUSTED", 0.0)
    configured = [environment(1)]
    connections = Connections(lambda *_: (configured[0], configured[0].users[0]), Secrets(), network=host)
    with connections:
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        configured[0] = environment(1, host="moved.example.com")
        connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
        assert [target.host for target in host.targets] == ["db1.example.com", "moved.example.com"]
        assert [one.closed for one in host.opened] == [1, 0]


def test_what_is_configured_is_not_read_for_every_command(host: Host) -> None:
    reads = 0

    def lookup(*_: str) -> tuple[Environment, EnvironmentUser]:
        nonlocal reads
        reads += 1
        return environment(1), environment(1).users[0]

    with Connections(lookup, Secrets(), network=host) as connections:
        for _ in range(100):
            connections.connection("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-10")
    assert reads < 5  # once a second


def test_after_closing_there_is_no_connection(host: Host) -> None:
    connections = make(host, environment())
    connections.close()
    connections.close()
    with pytest.raises(ConnectionsClosed, match="have been closed"):
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
