"""Host certificates: whether one that a host showed is good for it (OpenSSH's PROTOCOL.certkeys).

Only the certificate itself is judged here; which authorities are trusted is known by ``hostkeys``. Opens no
connection and reads no file.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from dlpx_remote.transports.ssh.patterns import matches


class CertificateRefused(Exception):
    """The certificate is not good for this host; the text says why, to go after "which"."""


def read(certificate: bytes) -> SSHCertificate:
    """The certificate in its wire form, read.

    Raises:
        CertificateRefused: it cannot be read.
    """
    kind = certificate[4 : 4 + int.from_bytes(certificate[:4], "big")]
    try:
        found = serialization.load_ssh_public_identity(kind + b" " + base64.b64encode(certificate))
        if not isinstance(found, SSHCertificate):
            raise CertificateRefused("is no certificate")
        for key in (found.public_key, found.signature_key):  # read only when they are asked for
            key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateRefused(f"cannot be read: {error}") from error
    return found


def authority_key(certificate: SSHCertificate) -> bytes:
    """The public key that signed it, as it goes over the wire."""
    text = certificate.signature_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return base64.b64decode(text.split()[1])


def certified_key(certificate: SSHCertificate) -> bytes:
    """The public key that it is for, as it goes over the wire."""
    text = certificate.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return base64.b64decode(text.split()[1])


def check(certificate: SSHCertificate, name: str, key: bytes) -> None:
    """Whether a certificate, whose authority is trusted, is good for the host ``name``.

    Args:
        certificate: what the host showed.
        name: of the host, without a port.
        key: the public key that the host proved to have, in its wire form.

    Raises:
        CertificateRefused: forged, of another key, for users, expired, not valid yet, or for other hosts.
    """
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, ValueError, AssertionError, UnsupportedAlgorithm) as error:
        raise CertificateRefused("is not signed by the authority that it names") from error
    if getattr(certificate, "_inner_sig_type", b"ssh-rsa") == b"ssh-rsa":
        raise CertificateRefused("is signed with SHA-1; let the authority sign it with rsa-sha2-512")
    if certified_key(certificate) != key:
        raise CertificateRefused("is for another key than the host has")
    if certificate.type is not SSHCertificateType.HOST:
        raise CertificateRefused("is for a user, not for a host")
    if certificate.critical_options:
        raise CertificateRefused(
            f"has conditions that are not understood: {_listed(certificate.critical_options)}"
        )
    now = time.time()
    if now < certificate.valid_after:
        raise CertificateRefused(f"is not valid before {_when(certificate.valid_after)}")
    if now >= certificate.valid_before:
        raise CertificateRefused(f"expired at {_when(certificate.valid_before)}")
    names = [principal.decode("utf-8", "replace") for principal in certificate.valid_principals]
    if not any(matches(pattern, name) for pattern in names):
        raise CertificateRefused(f"is for {', '.join(names) or 'no name at all'}, not for {name}")


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _listed(names: Iterable[bytes]) -> str:
    return ", ".join(sorted(name.decode("utf-8", "replace") for name in names))
