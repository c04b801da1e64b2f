"""Keys in paramiko's form: made from private keys, with and without certificate; and public ones, to compare.

Knows bytes and files; asks nobody for a passphrase and offers nothing to a host.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import io
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko.pkey import PublicBlob

from dlpx_remote.transports.ssh import hostcerts

_MAGIC = b"openssh-key-v1\0"


def as_key(private: object) -> paramiko.PKey | None:
    """A private key that has been read, whatever form its file had; None for a type that is not supported."""
    if isinstance(private, rsa.RSAPrivateKey):
        return paramiko.RSAKey(key=private)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return paramiko.ECDSAKey(vals=(private, private.public_key()))
    if isinstance(private, ed25519.Ed25519PrivateKey):
        text = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        return paramiko.Ed25519Key.from_private_key(io.StringIO(text.decode()))
    return None


def without_certificate(key: paramiko.PKey, other: PublicBlob | None = None) -> paramiko.PKey:
    """The same key without its certificate, or with another one."""
    if isinstance(key, paramiko.AgentKey):  # cannot be copied
        plain: paramiko.PKey = paramiko.AgentKey(agent=key.agent, blob=key.blob, comment=key.comment)
    else:
        plain = copy.copy(key)
    plain.public_blob = other
    return plain


def public_key(certificate: bytes) -> bytes:
    """The key that a certificate in its wire form is for, in its wire form.

    Raises:
        CertificateRefused: it is no certificate that can be read.
    """
    return hostcerts.certified_key(hostcerts.read(certificate))


def public_key_of_file(path: Path) -> bytes | None:
    """The public key that belongs to an identity file, in its wire form; None where a passphrase guards it.

    From ``PATH.pub``, from the file itself where that is a public key, or from the readable part of OpenSSH's
    form of a private key.
    """
    for file in (path.with_name(f"{path.name}.pub"), path):
        with contextlib.suppress(OSError, ValueError, IndexError, binascii.Error):
            data = file.read_bytes()
            if data.startswith((b"ssh-", b"ecdsa-", b"sk-")):
                return base64.b64decode(data.split()[1], validate=True)
            if b"BEGIN OPENSSH PRIVATE KEY" in data:
                return _readable_part(data)
    return None


def _readable_part(data: bytes) -> bytes:
    body = b"".join(line for line in data.splitlines() if not line.startswith(b"-----"))
    message = paramiko.Message(base64.b64decode(body).removeprefix(_MAGIC))
    for _ in range(3):  # cipher, key derivation and its options
        message.get_binary()
    message.get_int()
    return bytes(message.get_binary())
