"""A host per test, and clients of two libraries for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from winrm.protocol import Protocol

from containers.winrm.responder import WinRMHost
from tests.secret_scan import secret

USER = "Administrator"


@pytest.fixture(scope="session")
def password() -> str:
    """Of ``USER``."""
    return secret("password of a WinRM user")


@pytest.fixture
def host(password: str) -> Iterator[WinRMHost]:
    """A host over HTTP, without a PowerShell."""
    with WinRMHost({USER: password}, real_powershell=False) as host:
        yield host


class Client:
    """pywinrm's protocol layer, with one shell on ``host`` or at ``url``."""

    def __init__(
        self, host: WinRMHost | None, password: str, scheme: str = "basic", *, url: str = "", **options: Any
    ) -> None:
        options = {"operation_timeout_sec": 2, "read_timeout_sec": 5, **options}
        chosen: Any = scheme
        options = {"username": USER, "password": password, "proxy": None, **options}
        address = host.url if host and not url else url
        self.protocol = Protocol(address, transport=chosen, **options)
        self.shell = self.protocol.open_shell(codepage=65001)

    def start(self, command: str, *arguments: str) -> str:
        """Start a command; its identifier."""
        return str(self.protocol.run_command(self.shell, command, arguments))

    def send(self, command: str, data: bytes, *, end: bool = True) -> None:
        """Send stdin."""
        self.protocol.send_command_input(self.shell, command, data, end=end)

    def receive(self, command: str) -> tuple[bytes, bytes, int, bool]:
        """One Receive: stdout, stderr, exit code, whether it was the last."""
        result: tuple[bytes, bytes, int, bool] = self.protocol.get_command_output_raw(self.shell, command)
        return result

    def signal(self, command: str) -> None:
        """Terminate."""
        self.protocol.cleanup_command(self.shell, command)

    def run(self, command: str, *arguments: str, stdin: bytes | None = None) -> tuple[bytes, bytes, int]:
        """From start to signal: stdout, stderr, exit code."""
        identifier = self.start(command, *arguments)
        if stdin is not None:
            self.send(identifier, stdin)
        result: tuple[bytes, bytes, int] = self.protocol.get_command_output(self.shell, identifier)
        self.signal(identifier)
        return result

    def close(self) -> None:
        """Delete the shell, and end the connection."""
        self.protocol.close_shell(self.shell)


@pytest.fixture
def client(host: WinRMHost, password: str) -> Iterator[Client]:
    """A client with an open shell, by Basic."""
    client = Client(host, password)
    yield client
    client.protocol.transport.close_session()
