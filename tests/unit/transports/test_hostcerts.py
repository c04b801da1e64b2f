"""Certificates that no honest tool makes, and what is said of them."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.transports.ssh.hostcerts import CertificateRefused, authority_key, check, read

HOST, AUTHORITY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def _wire(key: Ed25519PrivateKey) -> bytes:
    text = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def _certificate(
    kind: SSHCertificateType = SSHCertificateType.HOST, option: bytes | None = None, **changes: Any
) -> bytes:
    builder: Any = (
        SSHCertificateBuilder()
        .public_key(HOST.public_key())
        .type(kind)
        .key_id(b"test")
        .valid_principals(changes.get("names", [b"db1"]))
        .valid_after(int(time.time()) - 60)
        .valid_before(int(time.time()) + 86400)
    )
    if option is not None:
        builder = builder.add_critical_option(option, b"")
    return base64.b64decode(builder.sign(AUTHORITY).public_bytes().split()[1])


def _accept(certificate: bytes) -> None:
    found = read(certificate)
    if authority_key(found) != _wire(AUTHORITY):
        raise CertificateRefused("is another authority's")
    check(found, "db1", _wire(HOST))


def test_a_good_one_is_accepted_and_its_authority_told() -> None:
    certificate = read(_certificate())
    check(certificate, "DB1", _wire(HOST))
    assert authority_key(certificate) == _wire(AUTHORITY)


@pytest.mark.parametrize(
    ("certificate", "key", "name", "reason"),
    [
        (_certificate(SSHCertificateType.USER), HOST, "db1", "for a user, not for a host"),
        (_certificate(option=b"force-command"), HOST, "db1", "conditions .* force-command"),
        (_certificate(), AUTHORITY, "db1", "another key than the host has"),
        (_certificate(), HOST, "db2", "is for db1, not for db2"),
        (_certificate(names=[b"[db]1"]), HOST, "d1", r"is for \[db\]1, not for d1"),
    ],
)
def test_one_that_is_not_good_is_refused_with_the_reason(
    certificate: bytes, key: Ed25519PrivateKey, name: str, reason: str
) -> None:
    with pytest.raises(CertificateRefused, match=reason):
        check(read(certificate), name, _wire(key))


@given(st.integers(min_value=0, max_value=10_000), st.integers(min_value=1, max_value=255))
def test_no_byte_can_be_changed(place: int, change: int) -> None:
    forged = bytearray(_certificate())
    forged[place % len(forged)] ^= change
    with pytest.raises(CertificateRefused):
        _accept(bytes(forged))


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateRefused):
        read(data)


def test_a_plain_key_is_no_certificate() -> None:
    with pytest.raises(CertificateRefused, match="is no certificate"):
        read(_wire(HOST))
