"""The formats of JSON Schema Draft 7, all of them checked.

jsonschema checks most with packages that it finds installed. For ``iri`` and ``iri-reference`` it would need
one that takes more than a second to import; they are checked here, by the rule for URIs that they come down
to. Imported late, by whoever measures a value: many commands never do.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from jsonschema import Draft7Validator, FormatChecker
from rfc3986_validator import validate_rfc3986

_PLANES = "".join(f"{chr(plane << 16)}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 14))
_UCSCHAR = f"\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef{_PLANES}\U000e1000-\U000efffd"
_IPRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_ANYWHERE = re.compile(f"[{_UCSCHAR}]+")
_IN_QUERY = re.compile(f"[{_UCSCHAR}{_IPRIVATE}]+")
_PARTS = re.compile(r"([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)


def format_checker() -> FormatChecker:
    """Checks every format of Draft 7."""
    checker = FormatChecker(())
    checker.checkers = dict(Draft7Validator.FORMAT_CHECKER.checkers)
    checker.checks("iri")(lambda value: _is_iri(value, "URI"))
    checker.checks("iri-reference")(lambda value: _is_iri(value, "URI_reference"))
    return checker


def _is_iri(value: object, rule: str) -> bool:
    """RFC 3987, section 2.2: a URI in which some characters beyond ASCII stand for their percent-encoding."""
    if not isinstance(value, str):
        return True
    parts = _PARTS.fullmatch(value)
    if parts is None or value.endswith("\n"):
        return False
    path, query, fragment = (part or "" for part in parts.groups())
    uri = _encoded(_ANYWHERE, path) + _encoded(_IN_QUERY, query) + _encoded(_ANYWHERE, fragment)
    return bool(validate_rfc3986(uri, rule))


def _encoded(characters: re.Pattern[str], text: str) -> str:
    return characters.sub(lambda found: quote(found.group()), text)
