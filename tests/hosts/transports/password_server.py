"""An SSH server in this process that asks for passwords: a real account's password cannot be set in a test.

It counts every attempt, which no real server tells its clients.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from tests.hosts.transports import network


@dataclass
class Account:
    """What the server accepts, and what was tried.

    Attributes:
        password: the right one.
        methods: methods it offers.
        prompts: questions of keyboard-interactive, each with whether the answer is shown.
        second_factor: ask for a password after the key.
        key_last: let nobody in but with a key after the password.
        attempts: method and secret of each attempt.
    """

    password: str
    methods: str = "password"
    prompts: tuple[tuple[str, bool], ...] = (("Password: ", False),)
    second_factor: bool = False
    key_last: bool = False
    attempts: list[tuple[str, str]] = field(default_factory=list)


class _Server(paramiko.ServerInterface):
    def __init__(self, account: Account) -> None:
        self._account = account

    def get_allowed_auths(self, username: str) -> str:
        return self._account.methods

    def check_auth_password(self, username: str, password: str) -> int:
        self._account.attempts.append(("password", password))
        return self._judge(password)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._account.attempts.append(("publickey", key.get_name()))
        if self._account.key_last and self._account.methods == "publickey":
            return AUTH_SUCCESSFUL
        if self._account.second_factor:
            self._account.methods = "password"
            return AUTH_PARTIALLY_SUCCESSFUL
        return AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> int | InteractiveQuery:
        return InteractiveQuery("", "", *self._account.prompts)

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self._account.attempts.append(("keyboard-interactive", ",".join(responses)))
        return self._judge(responses[0] if responses else "")

    def _judge(self, password: str) -> int:
        if not password == self._account.password:  # noqa: SIM201  # a test slows the comparison
            return AUTH_FAILED
        if self._account.key_last:
            self._account.methods = "publickey"
            return AUTH_PARTIALLY_SUCCESSFUL
        return AUTH_SUCCESSFUL


@contextmanager
def password_server(account: Account) -> Iterator[int]:
    """The server; yields its port. Its host key is new every time."""
    host_key = paramiko.ECDSAKey.generate()

    def behave(connection: socket.socket) -> None:
        with suppress(paramiko.SSHException, EOFError):
            transport = paramiko.Transport(connection)
            transport.set_log_channel("tests.password_server")
            transport.add_server_key(host_key)
            try:
                transport.start_server(server=_Server(account))
                transport.join()
            finally:
                transport.close()

    with network.server(behave) as port:
        yield port
