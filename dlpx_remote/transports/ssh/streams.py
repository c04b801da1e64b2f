"""Tells a command's reports from its output in one stream of bytes. Pure: no connection, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_REPORT = re.compile(rb":(?=[SEP]:[0-9]|W:|[FGHNX]:.)(.):(.*)", re.DOTALL)
_LONGEST_REPORT = 4096 + 64


@dataclass(frozen=True)
class Report:
    """One report line.

    Attributes:
        kind: ``W`` (watcher runs), ``S`` (script starts), ``H`` (no home), ``E`` (ended); of a runner also
            ``F`` (a fact), ``G`` (another's file is removed), ``N`` (it cannot be used), ``P`` (the command's
            process, where that was not known before) and ``X`` (it cannot start this command).
        value: what is said.
    """

    kind: str
    value: str


class MarkedStream:
    """Splits what comes into pieces of bytes and reports, in order.

    Args:
        token: the command's token.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[bytes | Report]:
        """Pieces that are certain by now; a tail that may be the beginning of a report is kept back."""
        data = self._pending + data
        self._pending = b""
        while data:
            found = data.find(self._token)
            if found < 0:
                keep = self._possible_beginning(data)
                if len(data) > keep:
                    yield data[: len(data) - keep]
                self._pending = data[len(data) - keep :]
                return
            if found:
                yield data[:found]
                data = data[found:]
            end = data.find(b"\n")
            if end < 0:
                if len(data) > _LONGEST_REPORT:
                    yield data[: len(self._token)]
                    data = data[len(self._token) :]
                    continue
                self._pending = data
                return
            report = _REPORT.fullmatch(data[len(self._token) : end])
            if report is None:
                yield data[: end + 1]
            else:
                yield Report(report[1].decode(), report[2].decode("utf-8", "replace"))
            data = data[end + 1 :]

    def rest(self) -> bytes:
        """What was kept back, once nothing more will come."""
        rest, self._pending = self._pending, b""
        return rest

    def _possible_beginning(self, data: bytes) -> int:
        for length in range(min(len(self._token) - 1, len(data)), 0, -1):
            if data.endswith(self._token[:length]):
                return length
        return 0
