"""Message encryption over HTTP: the multipart form of MS-WSMV 2.2.9.1 around what a security context seals.

Knows the form only; sealing is the context's, which comes from ``pyspnego``.
"""

from __future__ import annotations

import re
import struct
from typing import Protocol

SPNEGO = "application/HTTP-SPNEGO-session-encrypted"
MIME_TYPE = f'multipart/encrypted;protocol="{SPNEGO}";boundary="Encrypted Boundary"'

_HEAD = re.compile(
    rb"\s*--\s*Encrypted Boundary\r\n"
    rb"\s*Content-Type:\s*(?P<protocol>\S+)\r\n"
    rb"\s*OriginalContent:\s*type=(?P<type>[^;\r\n]+);\s*charset=(?P<charset>[^;\r\n]+);\s*Length=(?P<length>\d+)\r\n"
    rb"--\s*Encrypted Boundary\r\n"
    rb"\s*Content-Type:\s*application/octet-stream\r\n",
    re.IGNORECASE,
)
_TAIL = re.compile(rb"--\s*Encrypted Boundary--\s*\Z")


class Sealer(Protocol):
    """The part of a security context that is needed here."""

    def wrap_winrm(self, data: bytes, /) -> tuple[bytes, bytes, int]:
        """Signature, sealed data and padding length."""

    def unwrap_winrm(self, header: bytes, data: bytes, /) -> bytes:
        """The plain data. Raises where the signature does not fit."""


class NotEncrypted(Exception):
    """The body is not in the form of an encrypted message; the text says what is wrong."""


def is_encrypted(content_type: str) -> bool:
    """Whether a Content-Type announces an encrypted message."""
    return content_type.lower().startswith(("multipart/encrypted", "multipart/x-multi-encrypted"))


def unseal(body: bytes, context: Sealer) -> bytes:
    """The plain message.

    Raises:
        NotEncrypted: wrong form, or a length that is not the announced one.
        Exception: what the context raises where the signature does not fit.
    """
    head = _HEAD.match(body)
    tail = _TAIL.search(body)
    if head is None or tail is None:
        raise NotEncrypted("The body is not a multipart/encrypted message of MS-WSMV 2.2.9.1.")
    sealed = body[head.end() : tail.start()]
    if len(sealed) < 4:
        raise NotEncrypted("The encrypted part is empty.")
    (size,) = struct.unpack("<I", sealed[:4])
    if size > len(sealed) - 4:
        raise NotEncrypted("The signature is longer than the encrypted part.")
    plain = context.unwrap_winrm(sealed[4 : 4 + size], sealed[4 + size :])
    if len(plain) != int(head.group("length")):
        raise NotEncrypted(
            f"The message has {len(plain)} bytes, not {int(head.group('length'))} as announced."
        )
    return plain


def seal(plain: bytes, context: Sealer, *, spoil: bool = False) -> bytes:
    """The encrypted message; ``spoil`` flips a bit of it, so that its signature does not fit."""
    signature, data, padding = context.wrap_winrm(plain)
    if spoil:
        data = bytes([data[0] ^ 1]) + data[1:]
    length = len(plain) + padding
    head = (
        "--Encrypted Boundary\r\n"
        f"\tContent-Type: {SPNEGO}\r\n"
        f"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={length}\r\n"
        "--Encrypted Boundary\r\n"
        "\tContent-Type: application/octet-stream\r\n"
    ).encode()
    return head + struct.pack("<I", len(signature)) + signature + data + b"--Encrypted Boundary--\r\n"
