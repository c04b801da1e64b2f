"""What a worker asks of the engine on behalf of a plugin, and what comes back: the values and the protocol.

Who answers is not this room's business; the operations room does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class LibraryCall:
    """A call of one of the SDK's library functions.

    Attributes:
        function: ``run_bash``, ``run_powershell``, ``run_expect``, ``run_sync``, ``retrieve_credentials`` or
            ``upgrade_password``.
        operation: the plugin operation that is running.
        environment: reference of the connection's environment; empty where the function takes none.
        user: reference of the connection's user.
        body: the script; for ``retrieve_credentials`` the supplier as JSON, for ``upgrade_password`` the
            password.
        variables: of the script; secrets.
        options: the function's other arguments by name.
    """

    function: str
    operation: str
    environment: str = ""
    user: str = ""
    body: bytes = field(default=b"", repr=False)
    variables: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LibraryReply:
    """The result of a library call.

    Attributes:
        data: plain JSON, small: ``exit_code`` of a script, ``kind`` of credentials.
        bodies: stdout and stderr of a script; the parts of credentials; a supplier as JSON.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    bodies: tuple[bytes, ...] = field(default=(), repr=False)


class LibraryRefusal(Exception):
    """A library call failed, in a way that the plugin is told of.

    Args:
        kind: ``failed`` becomes a ``LibraryError``, which a plugin may catch; ``mistake`` a
            ``PluginRuntimeError``.
        id: names the failure, for programs; see ``operations/library.py`` for the list.
        message: a sentence; redacted by whoever raises this.
    """

    def __init__(self, kind: Literal["failed", "mistake"], id: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.id = id
        self.message = message


class LibraryHandler(Protocol):
    """Answers the library calls of one worker."""

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
        """Carry out ``call`` within ``timeout`` seconds.

        Raises:
            LibraryRefusal: to be told to the plugin. Anything else ends the operation and the worker.
        """
        ...
