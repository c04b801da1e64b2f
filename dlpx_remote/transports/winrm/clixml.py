"""Turns what PowerShell writes to stderr into text for people. Pure: bytes in, bytes out.

A ``powershell.exe`` that was started with ``-EncodedCommand`` writes CLIXML there: a line ``#< CLIXML`` and
``<Objs>`` documents, between which programs that it starts write plain text. Errors are kept, warnings too
(with the prefix that PowerShell shows them with); progress and information records are dropped. What cannot
be read as CLIXML stays as it came: nothing is lost. Form: MS-PSRP 2.2.5.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

MARKER = b"#< CLIXML"

_DEEPEST = 4
"""Levels of CLIXML in CLIXML: a PowerShell started by a PowerShell, and so on."""

_BEGIN = re.compile(rb"#< CLIXML\r?\n(?=<Objs[\s>])")
_NEXT = re.compile(rb"(?:\r?\n)?(?:#< CLIXML\r?\n)?(?=<Objs[\s>])")
_LONGEST_BEGIN = len(b"#< CLIXML\r\n<Objs ")
_END = b"</Objs>"
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PREFIXES = {"error": "", "warning": "WARNING: ", "verbose": "VERBOSE: ", "debug": "DEBUG: "}


def unescape(text: str) -> str:
    """``_xHHHH_`` as the UTF-16 unit it stands for; surrogates are joined, a lone one becomes U+FFFD."""
    if "_x" not in text:
        return text
    units = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decode(data: bytes) -> bytes:
    """All of what a command wrote to stderr, as text in UTF-8."""
    stream = ClixmlStream()
    return stream.feed(data) + stream.rest()


class ClixmlStream:
    """Decodes stderr while it comes."""

    def __init__(self, depth: int = 0) -> None:
        self._pending = b""
        self._inside = False
        self._depth = depth

    def feed(self, data: bytes) -> bytes:
        """The text that is certain by now."""
        self._pending += data
        return b"".join(self._pieces())

    def rest(self) -> bytes:
        """What was kept back, once nothing more will come; a document that was cut off stays as it is."""
        rest, self._pending = self._pending, b""
        return rest

    def _pieces(self) -> Iterator[bytes]:
        while self._pending:
            if not self._inside:
                found = _BEGIN.search(self._pending)
                if found is None:
                    keep = _possible_beginning(self._pending)
                    yield self._pending[: len(self._pending) - keep]
                    self._pending = self._pending[len(self._pending) - keep :]
                    return
                yield self._pending[: found.start()]
                self._pending = self._pending[found.start() :]
                self._inside = True
            start = _BEGIN.match(self._pending) or _NEXT.match(self._pending)
            if start is None:
                if _may_be_next(self._pending):
                    return
                self._inside = False
                continue
            end = self._pending.find(_END, start.end())
            if end < 0:
                return
            document = self._pending[start.end() : end + len(_END)]
            text = _text_of(document, self._depth)
            if text is None:
                text = self._pending[: end + len(_END)]
            self._pending = self._pending[end + len(_END) :]
            yield text


def _possible_beginning(data: bytes) -> int:
    """How many bytes at the end of ``data`` may be the beginning of CLIXML."""
    tail = data[-_LONGEST_BEGIN:]
    at = tail.rfind(b"#")
    if at < 0:
        return 0
    candidate = tail[at:]
    for form in (b"#< CLIXML\r\n<Objs", b"#< CLIXML\n<Objs"):
        if form.startswith(candidate):
            return len(candidate)
    return 0


def _may_be_next(data: bytes) -> bool:
    markers = (b"", b"#< CLIXML\r\n", b"#< CLIXML\n")
    forms = (feed + marker + b"<Objs" for feed in (b"", b"\n", b"\r\n") for marker in markers)
    return any(form.startswith(data) for form in forms)


def _text_of(document: bytes, depth: int) -> bytes | None:
    """The readable part of one ``<Objs>`` document; None where it is none."""
    if b"<!" in document:  # no document type, hence no entities of its own
        return None
    try:
        root = ET.fromstring(document.decode("utf-8", "replace"))  # noqa: S314
    except ET.ParseError:
        return None
    parts = []
    for element in root:
        prefix = _PREFIXES.get(element.get("S", "").lower())
        if prefix is not None:
            parts.append(prefix + _words(element) + ("\r\n" if prefix else ""))
        if element.tail and element.tail.strip():  # a program wrote between two records
            parts.append(element.tail)
    text = "".join(parts).encode("utf-8", "replace")
    if MARKER in text and depth < _DEEPEST:
        stream = ClixmlStream(depth + 1)
        text = stream.feed(text) + stream.rest()
    return text


def _words(element: ET.Element) -> str:
    """The string itself, or what an object calls itself."""
    if _name(element) == "S":
        return unescape(element.text or "")
    for child in element.iter():
        if _name(child) == "ToString":
            return unescape(child.text or "") + "\r\n"
    return "".join(unescape(child.text or "") for child in element.iter() if _name(child) == "S") + "\r\n"


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
