"""What went wrong inside a worker, as text that cannot itself go wrong.

A plugin may raise anything: an exception whose ``str()`` raises, whose text has ten megabytes, whose chain is
a thousand long. Everything here is bounded, and falls back to less when even that fails.
"""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

from dlpx_remote.plugins.worker.limits import size_in_words
from dlpx_remote.plugins.worker.protocol import Frame

_IMPORTING = ("<frozen importlib", "/importlib/__init__.py")
_NOT_THE_PLUGINS = (*_IMPORTING, str(Path(__file__).parents[2]), "/dlpx/virtualization/")
_MAX_CHAIN = 20
_MAX_TRACE_LINES = 400


class LibraryRefused(Exception):
    """The engine did not carry out a library call.

    Attributes:
        kind: ``failed`` (a plugin may catch it), ``mistake`` (of the plugin's) or ``too_large``.
        message: a sentence.
        id: names the failure, for programs.
    """

    def __init__(self, kind: str, message: str, id: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.id = id


class WrongResult(Exception):
    """The plugin returned something else than the operation asks for.

    Attributes:
        found: what came, as the object of a sentence.
        expected: what should have come, as the object of a sentence.
    """

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


class OutputTooLarge(Exception):
    """The operation's result is larger than it may be; sizes in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size_in_words(size)}, at most {size_in_words(limit)}")
        self.size = size
        self.limit = limit


class NotImplementedByPlugin(Exception):
    """The plugin has no function for the operation."""


class ImportFailed(Exception):
    """The plugin's entry point could not be imported; the cause is the plugin's own exception."""


def frame(error: BaseException, limit: int, operator_error: type[BaseException] | None = None) -> Frame:
    """The ``failed`` message for ``error``; its texts together have at most about ``limit`` bytes."""
    try:
        return _frame(error, limit, operator_error)
    except BaseException:  # no memory, or an exception made to be undescribable
        reason = "no_memory" if isinstance(error, MemoryError) else "exception"
        return Frame("failed", {"reason": reason, "type": _type_name(error)}, (b"", b"", b""))


def _frame(error: BaseException, limit: int, operator_error: type[BaseException] | None) -> Frame:
    data: dict[str, object] = {"type": _type_name(error)}
    parts: tuple[str, str, str] = ("", "", "")
    if isinstance(error, WrongResult):
        data["reason"] = "wrong_result"
        parts = (error.found, error.expected, "")
    elif isinstance(error, OutputTooLarge):
        data |= {"reason": "too_large", "size": error.size, "limit": error.limit}
    elif isinstance(error, NotImplementedByPlugin):
        data["reason"] = "missing"
    elif isinstance(error, ImportFailed):
        cause = error.__cause__ or error
        data |= {"reason": "import", "type": _type_name(cause)}
        parts = (text_of(cause), "", trace_of(cause, limit))
    elif operator_error is not None and isinstance(error, operator_error):
        data["reason"] = "operator_error"
        parts = (_attribute(error, "message"), _attribute(error, "action"), _attribute(error, "output"))
    else:
        data["reason"] = "no_memory" if isinstance(error, MemoryError) else "exception"
        parts = (text_of(error), "", trace_of(error, limit))
    bodies = []
    left = limit
    for part in parts:
        text = shortened(part, left).encode("utf-8", "backslashreplace")
        left = max(0, left - len(text))
        bodies.append(text)
    return Frame("failed", data, tuple(bodies))


def text_of(error: BaseException) -> str:
    """``str(error)``, or what is known of it when that raises."""
    try:
        return str(error)
    except BaseException as second:
        return f"<{_type_name(error)}, whose text could not be made: {_type_name(second)}>"


def trace_of(error: BaseException, limit: int) -> str:
    """The stack trace of ``error`` and its causes as Python prints it, with the plugin's own frames only."""
    try:
        described = traceback.TracebackException.from_exception(error, limit=-_MAX_TRACE_LINES, compact=True)
        _keep_own_frames(described, _MAX_CHAIN)
        pieces = []
        size = 0
        for piece in described.format():
            pieces.append(shortened(piece, limit))
            size += len(piece)
            if size > limit:
                break
        return shortened("".join(pieces), limit)
    except BaseException:
        with contextlib.suppress(BaseException):
            return "".join(traceback.format_tb(error.__traceback__, -20)) + _type_name(error)
        return ""


def shortened(text: str, limit: int) -> str:
    """``text`` with at most about ``limit`` bytes, and a note where something was cut off."""
    if len(text) <= limit // 4:
        return text
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit:
        return text
    note = f"\n… (cut off: {size_in_words(len(encoded))}, at most {size_in_words(limit)} are kept)"
    return encoded[: max(0, limit - len(note) - 8)].decode("utf-8", "ignore") + note


def _keep_own_frames(described: traceback.TracebackException, chain: int) -> None:
    own = [entry for entry in described.stack if not _passes(entry.filename, _NOT_THE_PLUGINS)]
    if own or any(_passes(entry.filename, _IMPORTING) for entry in described.stack):
        described.stack[:] = own
    for other in (described.__cause__, described.__context__):
        if other is not None and chain:
            _keep_own_frames(other, chain - 1)
    for nested in described.exceptions or ():
        if chain:
            _keep_own_frames(nested, chain - 1)


def _passes(file: str, parts: tuple[str, ...]) -> bool:
    return any(part in file for part in parts)


def _attribute(error: BaseException, name: str) -> str:
    try:
        value = getattr(error, name, "")
        return "" if value is None else str(value)
    except BaseException as second:
        return f"<{name} could not be read: {_type_name(second)}>"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
