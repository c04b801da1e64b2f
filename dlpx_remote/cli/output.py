"""Everything the command prints goes through here: the redactor, the terminal's safety, then the stream.

Text that came from a host or a plugin may hold anything; control characters are shown, not sent to the
terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any

from dlpx_remote.redaction import redact

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNBOUNDED_WIDTH = 1000


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class ReaderGone(BaseException):
    """Whoever read stdout has closed it; the command ends without a word."""


def say(text: str = "") -> None:
    """A line for people on stdout."""
    _write(plain(text) + "\n")


def complain(text: str) -> None:
    """A line on stderr: errors, warnings, and what is not the result."""
    complain_as_is(as_log_line(plain(text)) if _json_on_stderr else plain(text))


def complain_as_is(line: str) -> None:
    """A line on stderr that is redacted already."""
    sys.stdout.flush()
    print(line, file=sys.stderr)


_json_on_stderr = False


def speak_json(wanted: bool) -> None:
    """Whether each thing said on stderr is a JSON object in a line, as the log is then."""
    global _json_on_stderr
    _json_on_stderr = wanted


def as_log_line(text: str) -> str:
    """What is said to people, in the form of the log."""
    level = text.partition(":")[0].lower()
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(),
            "level": level if level in ("error", "warning") else "info",
            "logger": "dlpx_remote.cli",
            "process": os.getpid(),
            "message": text,
        },
        ensure_ascii=False,
    )


def warn(text: str) -> None:
    """A sentence that a person ought to read although nothing failed."""
    complain(f"Warning: {text}")


def plain(text: str) -> str:
    """``text`` redacted, with control characters other than newline and tab made visible."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", redact(text).replace("\r\n", "\n"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; as wide as it needs where stdout is no terminal, so that no cell is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(_cell(value))) for value in row))
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _UNBOUNDED_WIDTH)
    with console.capture() as captured:
        console.print(drawn)
    _write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def as_json(value: Any) -> None:
    """``value`` as one JSON document on stdout."""
    _write(json.dumps(to_plain(value), indent=2, ensure_ascii=False) + "\n")


def to_plain(value: Any) -> Any:
    """``value`` in the types of JSON, every text redacted; dataclasses become objects by field name."""
    from dlpx_remote.engine import SecretReference

    if isinstance(value, SecretReference):
        return redact(str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, Mapping):
        return {redact(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | PurePath):
        return redact(str(value))
    raise TypeError(f"no JSON form for {type(value).__name__}")


def raw(stdout: bytes, stderr: bytes) -> None:
    """A script's own output, byte for byte."""
    try:
        for stream, data in ((sys.stdout, stdout), (sys.stderr, stderr)):
            stream.flush()
            rest = memoryview(data)
            while rest:  # where Python was told not to buffer, a write may take only a part
                rest = rest[stream.buffer.write(rest) :]
            stream.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def count(number: int, what: str) -> str:
    """``1 host``, ``2 hosts``, ``2 repositories``."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("y") else f"{number} {what}s"


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise ReaderGone from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def branches(
    children: Sequence[Mapping[str, Any]], line: Callable[[Mapping[str, Any]], str], before: str = ""
) -> Iterator[str]:
    """The lines of a tree below its root.

    Args:
        children: each with its own ``children``.
        line: what is said of one.
        before: what stands before each line.
    """
    for position, child in enumerate(children, start=1):
        last = position == len(children)
        yield f"{before}{'└── ' if last else '├── '}{line(child)}"
        yield from branches(child["children"], line, before + ("    " if last else "│   "))
