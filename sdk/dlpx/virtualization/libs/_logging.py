"""The logging handler that brings a plugin's log records to the engine."""

from __future__ import annotations

import logging

from dlpx.virtualization.libs.backend import get_backend

__all__ = ["PlatformHandler"]


class PlatformHandler(logging.Handler):
    """Sends each record to the engine, which attaches plugin, job and operation.

    The record's text is what the handler's formatter makes of it, traceback included. Outside an engine (in a
    unit test of the plugin) records are dropped: logging must not make a plugin fail.
    """

    def emit(self, record: logging.LogRecord) -> None:
        backend = get_backend()
        if backend is None:
            return
        try:
            backend.log(record.levelno, record.name, self.format(record))
        except Exception:
            self.handleError(record)
