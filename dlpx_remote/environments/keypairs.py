"""What can be told of a private key from its text: that it is one, and its public half."""

from __future__ import annotations

import re

_PRIVATE = re.compile(
    r"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----\s.*-----END [A-Z ]*PRIVATE KEY-----\s*", re.DOTALL
)

_BEGIN = re.compile(r"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----")


def looks_like_a_private_key(text: str) -> bool:
    """Whether a text has the first and last line of a private key, in OpenSSH's or PEM form."""
    return _PRIVATE.fullmatch(text) is not None


def begins_like_a_private_key(text: str) -> bool:
    """Whether a text has at least the first line of a private key."""
    return _BEGIN.match(text) is not None


def public_half(text: str) -> str | None:
    """The public key of a private one, as OpenSSH writes it; None where that cannot be read from it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = text.strip().encode() + b"\n"
    load = (
        serialization.load_ssh_private_key
        if b"BEGIN OPENSSH PRIVATE KEY" in data
        else serialization.load_pem_private_key
    )
    try:
        public = load(data, password=None).public_key()
        return public.public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        ).decode()
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        return None
