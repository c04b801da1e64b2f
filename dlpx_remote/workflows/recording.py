"""What a host answered, kept in a file, so that a plugin's tests run again without the host.

A recording holds scripts and output as they may be shown: everything secret is masked, and of variables only
the names are kept. When it is played, each call must be the one that was recorded at that place; the first
that is not ends the operation with a difference that can be read.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.plugins.worker.library import LibraryCall, LibraryRefusal, LibraryReply
from dlpx_remote.redaction import redact

_FORMAT = 1
_AGAIN = "Record it again with --dlpx-recording record if the plugin is right."


class RecordingUnusable(RemoteError):
    """A recording cannot be read or written."""


class RecordingMismatch(RemoteError):
    """A plugin asked a host for something else than it did when the answers were recorded."""


class Recording:
    """The answers of one host, in the order in which they were given.

    Attributes:
        connection: as operations were handed it.
        calls: what was asked and answered, one JSON object each.
    """

    def __init__(self, connection: Mapping[str, Any], calls: list[dict[str, Any]] | None = None) -> None:
        self.connection = dict(connection)
        self.calls = calls or []

    @classmethod
    def read(cls, file: Path) -> Recording:
        """The recording in ``file``.

        Raises:
            RecordingUnusable: there is none, or it is damaged or of another version.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise RecordingUnusable(
                    f"The recording {file} has format {content['format']}; this version reads {_FORMAT}.",
                    "Record it again with --dlpx-recording record.",
                )
            return cls(content["connection"], list(content["calls"]))
        except FileNotFoundError:
            raise RecordingUnusable(
                f"There is no recording {file}.",
                "Make it with --dlpx-recording record, on a machine with a host.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordingUnusable(
                f"The recording {file} cannot be read: {error}.",
                "Record it again with --dlpx-recording record.",
            ) from error

    def write(self, file: Path) -> None:
        """Keep it in ``file``, whole or not at all.

        Raises:
            RecordingUnusable: the file cannot be written.
        """
        content = {"format": _FORMAT, "connection": self.connection, "calls": self.calls}
        beside = file.with_name(f".{file.name}.new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            beside.replace(file)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise RecordingUnusable(
                f"The recording {file} cannot be written: {error.strerror}.",
                "Check permissions and free space.",
            ) from error


class Recorded(LibraryCalls):
    """Library calls answered by a host, each added to a recording."""

    def __init__(self, calls: LibraryCalls, recording: Recording) -> None:
        self._calls = calls
        self._recording = recording

    def close(self) -> None:
        """See :class:`LibraryCalls`."""
        self._calls.close()

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
        """Let the host answer, and remember what it said."""
        entry = _asked(call)
        try:
            reply = self._calls.handle(call, timeout)
        except LibraryRefusal as refusal:
            entry["refused"] = {"kind": refusal.kind, "id": refusal.id, "message": redact(refusal.message)}
            self._recording.calls.append(entry)
            raise
        entry["answer"] = dict(reply.data)
        entry["bodies"] = [redact(body.decode("utf-8", "surrogateescape")) for body in reply.bodies]
        self._recording.calls.append(entry)
        return reply


class Played(LibraryCalls):
    """Library calls answered by a recording, without a host."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._next = 0

    def close(self) -> None:
        """Nothing is held."""

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:  # noqa: ARG002  # nothing takes time
        """The answer that was recorded at this place.

        Raises:
            RecordingMismatch: another call was recorded here, or none.
        """
        asked, number = _asked(call), self._next + 1
        if self._next >= len(self._recording.calls):
            raise RecordingMismatch(
                f"{call.operation} made library call number {number}, libs.{call.function}, but the "
                f"recording ends after {self._next}.",
                _AGAIN,
                _lines(asked),
            )
        entry = self._recording.calls[self._next]
        recorded = {name: entry.get(name) for name in asked}
        if recorded != asked:
            difference = difflib.unified_diff(
                _lines(recorded).splitlines(),
                _lines(asked).splitlines(),
                "recorded",
                "asked now",
                lineterm="",
            )
            raise RecordingMismatch(
                f"Library call number {number}, libs.{call.function} of {call.operation}, is not the one "
                "that was recorded.",
                _AGAIN,
                "\n".join(difference),
            )
        self._next += 1
        if "refused" in entry:
            raise LibraryRefusal(**entry["refused"])
        bodies = tuple(body.encode("utf-8", "surrogateescape") for body in entry["bodies"])
        return LibraryReply(entry["answer"], bodies)


def _asked(call: LibraryCall) -> dict[str, Any]:
    secret = call.function in ("retrieve_credentials", "upgrade_password")
    return {
        "operation": call.operation,
        "function": call.function,
        "script": "" if secret else redact(call.body.decode("utf-8", "surrogateescape")),
        "variables": sorted(call.variables),
        "options": json.loads(json.dumps(dict(call.options))),
    }


def _lines(asked: Mapping[str, Any]) -> str:
    rest = [f"{name}: {asked[name]}" for name in asked if name != "script"]
    return "\n".join([*rest, *str(asked["script"]).splitlines()])
