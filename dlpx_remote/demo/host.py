"""What the tour needs to know of a throw-away host, and the keys made for it."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from dlpx_remote.errors import RemoteError

MAKE_TREES = """
set -e
mkdir -p "$HOME/shop uploads/2026" "$HOME/reports"
echo "Uploads of the shop" > "$HOME/shop uploads/.dlpx-source"
echo "an upload" > "$HOME/shop uploads/2026/one.txt"
echo "Monthly reports" > "$HOME/reports/.dlpx-source"
"""
"""Shell script that gives the example plugin ``files`` something to find below ``$HOME``."""


class DemoUnavailable(RemoteError):
    """No throw-away host can be made on this machine as it is."""


@dataclass(frozen=True)
class DemoHost:
    """A host that is up.

    Attributes:
        name: what the tour calls its environment.
        user: login name.
        address: where it listens; always this machine's loopback.
        port: a free one that was given to it.
        fingerprint: of its host key, ``SHA256:…``.
    """

    name: str
    user: str
    address: str
    port: int
    fingerprint: str


@dataclass(frozen=True)
class DemoHosts:
    """All hosts of one demo.

    Attributes:
        what: one sentence about them.
        hosts: in order.
        key: the private key that lets in.
        undo: shell commands that remove them, for ``--keep``.
    """

    what: str
    hosts: tuple[DemoHost, ...]
    key: Path
    undo: tuple[str, ...] = field(default=())


@dataclass
class Keeping:
    """Whether what was made stays at the end: only when that was asked for and all of it came up.

    Attributes:
        wanted: the person asked for it.
        ready: everything is up.
    """

    wanted: bool
    ready: bool = False

    def __bool__(self) -> bool:
        return self.wanted and self.ready


def make_key(place: Path) -> str:
    """Write a new Ed25519 private key to ``place``, readable by its owner only.

    Returns:
        The public key as in ``authorized_keys``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def fingerprint(public_key: str) -> str:
    """``SHA256:…`` of a key as in ``authorized_keys``, the way OpenSSH prints it."""
    blob = base64.b64decode(public_key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")
