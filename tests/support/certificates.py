"""Certificates of an authority of the tests, as the files that a service is given."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.mesh.security.certificates import TlsFiles

DAY = timedelta(days=1)
LOOPBACK = ("127.0.0.1", "localhost")


def spiffe(service: str) -> str:
    """The identity of a service in the cluster."""
    return f"spiffe://cluster.local/ns/predictmesh/sa/{service}"


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, as PEM."""

    cert: bytes
    key: bytes

    def write(self, directory: Path, ca: bytes | None) -> TlsFiles:
        """Write both as a service reads them, each at once, the certificate first; without `ca` nobody is trusted."""
        directory.mkdir(parents=True, exist_ok=True)
        named = {"cert.pem": self.cert, "key.pem": self.key, **({} if ca is None else {"ca.pem": ca})}
        for name, data in named.items():
            fresh = directory / f"{name}.new"
            fresh.write_bytes(data)
            fresh.replace(directory / name)
        return TlsFiles(directory / "cert.pem", directory / "key.pem", None if ca is None else directory / "ca.pem")


class Authority:
    """Issues certificates; `cert` is its own, as PEM."""

    def __init__(self, name: str = "tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = (
            _builder(self._name, self._name, self._key.public_key(), -DAY, 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
        )
        self.cert = _pem(builder.sign(self._key, hashes.SHA256()))

    def issue(self, *names: str, since: timedelta = -DAY, until: timedelta = DAY) -> Leaf:
        """A certificate for hosts, addresses and URIs, which holds from `since` to `until`, both counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = _builder(subject, self._name, key.public_key(), since, until)
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(_pem(builder.sign(self._key, hashes.SHA256())), private)

    def files(self, directory: Path, *names: str) -> TlsFiles:
        """Write a certificate for `names` with the authority itself, for a process that trusts it."""
        return self.issue(*names).write(directory, self.cert)


def settings(files: TlsFiles) -> dict[str, Any]:
    """The settings of a service that name the files."""
    return {"tls_cert_file": files.cert, "tls_key_file": files.key, "tls_ca_file": files.ca}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, since: timedelta, until: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return made.serial_number(x509.random_serial_number()).not_valid_before(now + since).not_valid_after(now + until)


def _name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
