"""A library backend that records what it was asked and answers what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dlpx.virtualization.common import KeyPairCredentials, PasswordCredentials, RemoteConnection
from dlpx.virtualization.libs.backend import CommandOutput


@dataclass
class RecordingBackend:
    """Attributes: ``calls`` holds one tuple a call, its name first; ``output`` or ``error`` is the answer."""

    output: CommandOutput = field(default_factory=lambda: CommandOutput(0, b"", b""))
    credentials: PasswordCredentials | KeyPairCredentials = field(
        default_factory=lambda: PasswordCredentials("postgres", "s3cret")
    )
    error: Exception | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def _answer(self, *call: object) -> CommandOutput:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return self.output

    def run_bash(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes], use_login_shell: bool
    ) -> CommandOutput:
        return self._answer("run_bash", connection, command, variables, use_login_shell)

    def run_powershell(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        return self._answer("run_powershell", connection, command, variables)

    def run_expect(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        return self._answer("run_expect", connection, command, variables)

    def run_sync(
        self,
        connection: RemoteConnection,
        source_directory: str,
        rsync_user: str | None,
        exclude_paths: tuple[str, ...],
        sym_links_to_follow: tuple[str, ...],
    ) -> None:
        self._answer("run_sync", connection, source_directory, rsync_user, exclude_paths, sym_links_to_follow)

    def retrieve_credentials(
        self, credentials_supplier: dict[str, Any]
    ) -> PasswordCredentials | KeyPairCredentials:
        self._answer("retrieve_credentials", credentials_supplier)
        return self.credentials

    def upgrade_password(self, password: str, username: str | None) -> dict[str, Any]:
        self._answer("upgrade_password", password, username)
        return {"type": "NamedPasswordCredential"}

    def log(self, level: int, logger: str, message: str) -> None:
        self._answer("log", level, logger, message)
