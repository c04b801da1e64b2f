"""The root of the engine's error tree.

Every room derives its own errors from :class:`RemoteError`, so that a caller can catch one class and the
command line can print any of them the same way: what happened, then what to do about it.
"""

from __future__ import annotations


class RemoteError(Exception):
    """Something went wrong that a person can be told about.

    Args:
        message: one sentence that says what happened, with names (host, user, plugin, operation).
        action: what to do about it; empty when there is nothing to say.
        output: what a script or plugin printed, when that helps; already redacted.
    """

    def __init__(self, message: str, action: str = "", output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.action = action
        self.output = output

    def __str__(self) -> str:
        return f"{self.message} {self.action}".rstrip()


class InvalidRequest(RemoteError):
    """The caller asked for something that cannot be: a bad name, a missing value, a wrong combination."""


class NotFound(InvalidRequest):
    """An object was named that the engine does not know."""


class AlreadyExists(InvalidRequest):
    """An object of that name is already there."""
