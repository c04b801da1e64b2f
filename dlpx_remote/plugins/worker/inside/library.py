"""The SDK's library functions inside a worker: each becomes a question to the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dlpx.virtualization.common import KeyPairCredentials, PasswordCredentials, RemoteConnection
from dlpx.virtualization.common.exceptions import PluginRuntimeError
from dlpx.virtualization.libs.backend import CommandOutput
from dlpx.virtualization.libs.exceptions import LibraryError
from dlpx_remote.plugins.worker.inside.failures import LibraryRefused
from dlpx_remote.plugins.worker.inside.process import Conversation


class EngineBackend:
    """A ``LibraryBackend`` that has the engine do everything."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def run_bash(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes], use_login_shell: bool
    ) -> CommandOutput:
        options = {"use_login_shell": use_login_shell}
        return self._script("run_bash", connection, command, variables, options)

    def run_powershell(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        return self._script("run_powershell", connection, command, variables, {})

    def run_expect(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        return self._script("run_expect", connection, command, variables, {})

    def run_sync(
        self,
        connection: RemoteConnection,
        source_directory: str,
        rsync_user: str | None,
        exclude_paths: tuple[str, ...],
        sym_links_to_follow: tuple[str, ...],
    ) -> None:
        options = {
            "source_directory": source_directory,
            "rsync_user": rsync_user,
            "exclude_paths": exclude_paths,
            "sym_links_to_follow": sym_links_to_follow,
        }
        self._ask("run_sync", connection, b"", {}, options)

    def retrieve_credentials(
        self, credentials_supplier: dict[str, Any]
    ) -> PasswordCredentials | KeyPairCredentials:
        try:
            supplier = json.dumps(credentials_supplier).encode()
        except (TypeError, ValueError, RecursionError):
            raise PluginRuntimeError(
                "libs.retrieve_credentials takes a credentials supplier as the engine handed it out, "
                "not a dict of the plugin's own making."
            ) from None
        data, parts = self._ask("retrieve_credentials", None, supplier, {}, {})
        texts = [part.decode() for part in parts]
        return KeyPairCredentials(*texts) if data["kind"] == "key_pair" else PasswordCredentials(*texts)

    def upgrade_password(self, password: str, username: str | None) -> dict[str, Any]:
        _, parts = self._ask("upgrade_password", None, password.encode(), {}, {"username": username})
        supplier: dict[str, Any] = json.loads(parts[0])
        return supplier

    def log(self, level: int, logger: str, message: str) -> None:
        self._conversation.log(level, logger, message)

    def _script(
        self,
        function: str,
        connection: RemoteConnection,
        command: bytes,
        variables: Mapping[str, bytes],
        options: Mapping[str, Any],
    ) -> CommandOutput:
        data, (stdout, stderr) = self._ask(function, connection, command, variables, options)
        return CommandOutput(data["exit_code"], stdout, stderr)

    def _ask(
        self,
        function: str,
        connection: RemoteConnection | None,
        body: bytes,
        variables: Mapping[str, bytes],
        options: Mapping[str, Any],
    ) -> tuple[Mapping[str, Any], tuple[bytes, ...]]:
        data = {
            "environment": "" if connection is None else connection.environment.reference,
            "user": "" if connection is None else connection.user.reference,
            "variables": list(variables),
            "options": dict(options),
        }
        try:
            return self._conversation.ask(function, data, (body, *variables.values()))
        except LibraryRefused as refused:
            if refused.kind == "mistake":
                raise PluginRuntimeError(refused.message) from None
            raise LibraryError(refused.id or refused.kind, refused.message) from None
