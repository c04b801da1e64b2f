"""Reads files that options name, and says in words why one cannot be read."""

from __future__ import annotations

from pathlib import Path

from dlpx_remote.errors import InvalidRequest


def text_of(file: Path, what: str, action: str) -> str:
    """The text of a file.

    Args:
        file: in UTF-8.
        what: begins the sentence that says that it cannot be read.
        action: what to do then.

    Raises:
        InvalidRequest: it cannot be read, or is no text.
    """
    try:
        return file.read_text("utf-8")
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError:
        why = "it is no text in UTF-8"
    raise InvalidRequest(f"{what} cannot be read: {why}.", action)
