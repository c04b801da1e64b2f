"""What can go wrong with a plugin's code, as the engine tells it: one family below :class:`PluginError`."""

from __future__ import annotations

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import redact


class PluginError(RemoteError):
    """A plugin operation did not succeed. Texts are redacted here, whoever wrote them.

    Args:
        message: what happened.
        action: what to do.
        output: what the plugin printed, or its stack trace.
        plugin: the plugin's name.
        operation: for example ``discovery.repository``; empty outside an operation.

    Attributes:
        plugin, operation: as given.
    """

    def __init__(
        self, message: str, action: str = "", output: str = "", *, plugin: str = "", operation: str = ""
    ) -> None:
        super().__init__(redact(message), redact(action), redact(output))
        self.plugin = plugin
        self.operation = operation


class PluginUserError(PluginError):
    """The plugin raised ``UserError``: message, action and output are the author's own words."""


class PluginFailed(PluginError):
    """The plugin raised something else, or cannot be imported; ``output`` has its stack trace.

    Attributes:
        kind: the class of what was raised.
    """

    def __init__(
        self,
        message: str,
        action: str = "",
        output: str = "",
        *,
        plugin: str = "",
        operation: str = "",
        kind: str = "",
    ) -> None:
        super().__init__(message, action, output, plugin=plugin, operation=operation)
        self.kind = kind


class WrongResult(PluginError):
    """The plugin returned something else than the operation asks for."""


class OperationMissing(PluginError):
    """The engine needs an operation that the plugin does not implement."""


class OperationTimeout(PluginError):
    """An operation took longer than it may; its processes were ended."""


class OperationAborted(PluginError):
    """An operation's end was asked for; its processes were ended."""


class WorkerDied(PluginError):
    """The plugin's process ended, or broke off its conversation, in the middle of an operation.

    Attributes:
        exit_code: of the process, None when a signal ended it or it is not known.
        signal: name of the signal that ended it, without ``SIG``.
    """

    def __init__(
        self,
        message: str,
        action: str = "",
        output: str = "",
        *,
        plugin: str = "",
        operation: str = "",
        exit_code: int | None = None,
        signal: str | None = None,
    ) -> None:
        super().__init__(message, action, output, plugin=plugin, operation=operation)
        self.exit_code = exit_code
        self.signal = signal


class TooLarge(PluginError):
    """An operation's arguments or result are larger than they may be."""


class WorkersUnavailable(RemoteError):
    """No process for plugin code can be started on this machine at all."""
