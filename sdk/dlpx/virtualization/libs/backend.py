"""The seam between the library functions and whoever runs the plugin.

``libs.run_bash`` and its like check and normalise their arguments and then call the one backend of this
process. Inside an engine the worker process sets a backend that carries calls to the engine; in a test of a
plugin the test sets one of its own. This module opens no connection and knows no protocol.

How a backend reports failure: it raises. :class:`~dlpx.virtualization.libs.exceptions.LibraryError` for a
failure of the call that a plugin may want to catch (host unreachable, time-out, outcome unknown);
:class:`~dlpx.virtualization.common.exceptions.PluginRuntimeError` for a mistake of the plugin's that only
the engine can see (a credentials supplier that it never handed out, ``upgrade_password`` outside a
migration). Any other exception passes through the SDK to the plugin unchanged. A script that ends with an
exit code other than zero is a result, not a failure: ``check=True`` is the SDK's business, and no backend
raises ``PluginScriptError``.

Plugins may call library functions from several threads at once: a backend must bear that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dlpx.virtualization.common._common_classes import (
    KeyPairCredentials,
    PasswordCredentials,
    RemoteConnection,
)
from dlpx.virtualization.libs.exceptions import LibraryUnavailableError

__all__ = ["CommandOutput", "LibraryBackend", "get_backend", "require_backend", "set_backend"]


@dataclass(frozen=True)
class CommandOutput:
    """What a script left, as the backend gives it; the SDK decodes it for the plugin.

    Attributes:
        exit_code: the script's own.
        stdout: bytes as they came.
        stderr: bytes as they came.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class LibraryBackend(Protocol):
    """Answers library calls. Every argument has its checked type; see the module for how failures are passed.

    ``connection`` is to be resolved by ``connection.environment.reference`` and
    ``connection.user.reference`` only: plugins build connections themselves. ``variables`` are secrets:
    never in a log, an error or a process list.
    """

    def run_bash(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes], use_login_shell: bool
    ) -> CommandOutput:
        """Run a bash script on a Unix host, as the connection's user, in that user's home directory."""

    def run_powershell(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        """Run a PowerShell script on a Windows host; ``command`` is UTF-8 where the plugin gave text."""

    def run_expect(
        self, connection: RemoteConnection, command: bytes, variables: dict[str, bytes]
    ) -> CommandOutput:
        """Run an Expect (Tcl) script on a Unix host."""

    def run_sync(
        self,
        connection: RemoteConnection,
        source_directory: str,
        rsync_user: str | None,
        exclude_paths: tuple[str, ...],
        sym_links_to_follow: tuple[str, ...],
    ) -> None:
        """Copy a directory of the host into the data set of the dSource that the operation is about."""

    def retrieve_credentials(
        self, credentials_supplier: dict[str, Any]
    ) -> PasswordCredentials | KeyPairCredentials:
        """The credentials behind a supplier; refuse (PluginRuntimeError) one that was never handed out."""

    def upgrade_password(self, password: str, username: str | None) -> dict[str, Any]:
        """A supplier for the password, to be stored by a migration; refuse (PluginRuntimeError) elsewhere."""

    def log(self, level: int, logger: str, message: str) -> None:
        """Take one log record: ``logging``'s level, the logger's name, the formatted text with its traceback.

        Called with logging's lock held: return soon, and do not raise for a record that cannot be delivered.
        """


_backend: LibraryBackend | None = None


def set_backend(backend: LibraryBackend | None) -> LibraryBackend | None:
    """Make ``backend`` answer the library calls of this process; None takes it away.

    Returns:
        The backend that was set before, so that a test can put it back.
    """
    global _backend
    previous, _backend = _backend, backend
    return previous


def get_backend() -> LibraryBackend | None:
    """The backend of this process, None where nobody runs the plugin."""
    return _backend


def require_backend(function: str) -> LibraryBackend:
    """The backend of this process.

    Args:
        function: the library function that asks, for the error's text.

    Raises:
        LibraryUnavailableError: nobody runs this plugin; it was imported by itself.
    """
    if _backend is None:
        raise LibraryUnavailableError(
            f"libs.{function} only works while an engine runs the plugin. To try a plugin, run "
            "'dlpx-remote discover --plugin DIRECTORY --host USER@ADDRESS'; in a unit test, set a backend "
            "of your own with dlpx.virtualization.libs.backend.set_backend."
        )
    return _backend
