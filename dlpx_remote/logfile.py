"""The engine's log file: ``log/engine.log`` in the state directory, rotated, and without a secret in it.

Or ``log/engine.jsonl``, with one JSON object a line.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import RedactingFilter

_SIZE = 10 * 1024 * 1024  # bytes of one file
_FILES = 5
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``process``, ``message``, ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, which :class:`RedactingFilter` has passed."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["trace"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


class LogUnusable(RemoteError):
    """The engine's log cannot be written."""


class EngineLog:
    """Writes what the engine logs to a file for as long as it is open.

    Args:
        directory: made with mode 0700 when missing.
        level: of what is written; command texts are at the debug level.
        as_json: write JSON, into a file of its own.

    Raises:
        LogUnusable: the directory cannot be made.
    """

    def __init__(self, directory: Path, level: int = logging.INFO, *, as_json: bool = False) -> None:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LogUnusable(
                f"The log directory {directory} cannot be used: {error.strerror}.",
                "Move away what is in its place.",
            ) from error
        self._logger = logging.getLogger("dlpx_remote")
        name = "engine.jsonl" if as_json else "engine.log"
        self._handler = _PrivateFile(directory / name, maxBytes=_SIZE, backupCount=_FILES - 1, delay=True)
        self._handler.setLevel(level)
        self._handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(_FORMAT))
        self._handler.addFilter(RedactingFilter())
        self._logger.addHandler(self._handler)
        if self._logger.getEffectiveLevel() > level:
            self._logger.setLevel(level)

    def close(self) -> None:
        """Stop writing. Idempotent."""
        self._logger.removeHandler(self._handler)
        self._handler.close()


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner can read."""

    def _open(self) -> IO[str]:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
