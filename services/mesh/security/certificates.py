"""The files of a certificate, read and checked: what is half written, or does not belong together, is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from services.mesh.errors import InvalidArgument

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class TlsFiles(NamedTuple):
    """PEM files: a certificate (its own first, then what it was issued by), its key, and the authorities to trust.

    Without `ca` nobody is verified, and calls to others are not TLS.
    """

    cert: Path
    key: Path
    ca: Path | None = None


@dataclass(frozen=True)
class Material:
    """What TLS is made of, as PEM. It holds from `not_before` to `not_after`, when the first of its chain ends."""

    cert: bytes
    key: bytes = field(repr=False)
    ca: bytes | None
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]


def read(files: TlsFiles) -> Material:
    """Read what the files hold now; raises InvalidArgument that says which of them is amiss, and why."""
    # Imported only where it is used: it costs a process several megabytes.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    cert, key = _bytes("tls_cert_file", files.cert), _bytes("tls_key_file", files.key)
    chain = _certificates("tls_cert_file", files.cert, cert)
    try:
        own = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError) as error:  # the latter where it is encrypted
        raise InvalidArgument(f"tls_key_file {files.key}: no private key in PEM without a password") from error
    if own != chain[0].public_key():
        raise InvalidArgument(f"tls_key_file {files.key}: not the key of the certificate in {files.cert}")
    ca = None
    if files.ca is not None:
        ca = _bytes("tls_ca_file", files.ca)
        _certificates("tls_ca_file", files.ca, ca)
    not_after = min(certificate.not_valid_after_utc for certificate in chain)
    return Material(cert, key, ca, chain[0].not_valid_before_utc, not_after, _names(chain[0]))


def _bytes(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{setting} {path}: {error.strerror}") from error


def _certificates(setting: str, path: Path, pem: bytes) -> Sequence[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidArgument(f"{setting} {path}: no certificate in PEM") from error


def _names(certificate: Certificate) -> tuple[str, ...]:
    """Return what the certificate names its holder: its alternative names, or the common one where it has none."""
    from cryptography.x509 import ExtensionNotFound, SubjectAlternativeName  # noqa: PLC0415

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return (certificate.subject.rfc4514_string(),)
    return tuple(str(name.value) for name in names)
