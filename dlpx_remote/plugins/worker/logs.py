"""Brings what a plugin prints and logs into the engine's log, redacted and with its origin attached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dlpx_remote.plugins.worker.limits import KIB, size_in_words
from dlpx_remote.redaction import redact

LOGGER = logging.getLogger("dlpx_remote.plugin")
"""Records carry the attributes ``plugin``, ``job``, ``operation`` and ``plugin_logger``."""

_LONGEST_LINE = 64 * KIB


@dataclass(frozen=True)
class LogLine:
    """One line or record of a plugin.

    Attributes:
        plugin: the plugin's name.
        job: as given when the worker was started.
        operation: the operation that ran; empty outside one.
        level: ``logging``'s number.
        logger: the plugin's logger; ``output`` for what it printed.
        message: redacted.
    """

    plugin: str
    job: str
    operation: str
    level: int
    logger: str
    message: str


LogCallback = Callable[[LogLine], None]


class PluginLog:
    """The log of one worker.

    Args:
        plugin: the plugin's name.
        job: the job's.
        limit: bytes that one operation may log.
        on_log: called with each line; what it raises is not caught.
    """

    def __init__(self, plugin: str, job: str, limit: int, on_log: LogCallback | None) -> None:
        self._plugin = plugin
        self._job = job
        self._limit = limit
        self._on_log = on_log
        self._operation = ""
        self._left = limit
        self._dropped = 0
        self._rest = bytearray()

    def begin(self, operation: str) -> None:
        """What comes from now on belongs to ``operation``, which has the whole limit for itself."""
        self._operation = operation
        self._left = self._limit

    def end(self) -> None:
        """The operation is over: bring out an unfinished line, and say how much was dropped."""
        if self._rest:
            self._line(bytes(self._rest))
            self._rest.clear()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._emit(
                logging.WARNING,
                "output",
                f"{size_in_words(dropped)} more were printed or logged and not kept: "
                f"an operation may log {size_in_words(self._limit)}.",
            )
        self._operation = ""

    def printed(self, data: bytes) -> None:
        """Take a piece of what the plugin's processes wrote to stdout and stderr."""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest[:] = rest
        for line in lines:
            self._line(line)

    def logged(self, level: int, logger: str, message: str) -> None:
        """Take a record that came through the SDK's logging handler."""
        if self._spend(len(message)):
            self._emit(level, logger, message)

    def _line(self, line: bytes) -> None:
        if line.strip() and self._spend(len(line)):
            self._emit(logging.INFO, "output", line.decode("utf-8", "replace").rstrip("\r"))

    def _spend(self, size: int) -> bool:
        if size > self._left:
            self._left = 0
            self._dropped += size
            return False
        self._left -= size
        return True

    def _emit(self, level: int, logger: str, message: str) -> None:
        text = redact(message)
        origin = {"plugin": self._plugin, "job": self._job, "operation": self._operation}
        LOGGER.log(level, "%s", text, extra={**origin, "plugin_logger": logger})
        if self._on_log is not None:
            self._on_log(LogLine(**origin, level=level, logger=logger, message=text))
