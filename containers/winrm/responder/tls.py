"""Certificates for tests: an authority of one's own, good and bad server certificates, client certificates.

Everything lives in memory; what a library wants as a file is written for the moment and removed.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Identity:
    """A certificate and its key.

    Attributes:
        certificate: PEM.
        key: PEM, unencrypted.
        issuer: PEM of the authority's certificate.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    issuer: bytes = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode())

    @property
    def thumbprint(self) -> str:
        """SHA-1 in upper case, as Windows shows it."""
        # What Windows calls a certificate by; nothing rests on its strength.
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA1()).hex().upper()

    @property
    def fingerprint(self) -> str:
        """SHA-256 in lower case."""
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256()).hex()

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key into a directory, for clients that want files; both paths."""
        paths = directory / f"{name}.pem", directory / f"{name}.key"
        for path, content in zip(paths, (self.certificate, self.key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return paths


class Authority:
    """A certificate authority.

    Args:
        name: its common name.
    """

    def __init__(self, name: str = "WinRM test authority") -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = _name(name)
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            _builder(self._name, self._name, self._key, now - datetime.timedelta(days=3650))
            .not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, path: Path) -> Path:
        """Write the certificate to a file, for clients that want one; its path."""
        path.write_bytes(self.certificate)
        return path

    def server(
        self, names: Iterable[str] = LOOPBACK, *, expired: bool = False, not_yet: bool = False
    ) -> Identity:
        """A server's certificate.

        Args:
            names: host names and IP addresses that it is good for.
            expired: its time ended yesterday.
            not_yet: its time begins tomorrow, as a client whose clock is late sees it.
        """
        listed = list(names)
        return self._issue(
            listed[0], listed, ExtendedKeyUsageOID.SERVER_AUTH, expired=expired, not_yet=not_yet
        )

    def client(self, user: str) -> Identity:
        """A client's certificate, which lets ``user`` in."""
        return self._issue(user, [], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        subject: str,
        names: list[str],
        purpose: x509.ObjectIdentifier,
        *,
        expired: bool = False,
        not_yet: bool = False,
    ) -> Identity:
        key = generate_private_key(SECP256R1())
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        begin = now + day if not_yet else now - 30 * day
        end = now - day if expired else now + 365 * day
        builder = (
            _builder(_name(subject), self._name, key, begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Identity(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            self.certificate,
        )


def context(identity: Identity, clients: bytes | None) -> ssl.SSLContext:
    """A server's TLS.

    Args:
        identity: the server's.
        clients: PEM of the authority whose client certificates are taken; None for none.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="winrm-tls-") as directory:
        certificate, key = identity.write(Path(directory), "server")
        made.load_cert_chain(certificate, key)
    if clients is not None:
        made.load_verify_locations(cadata=clients.decode())
        made.verify_mode = ssl.CERT_OPTIONAL
    return made


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, begin: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
