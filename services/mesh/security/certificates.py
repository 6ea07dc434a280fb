"""The files of a certificate, read and checked: what is half written, or does not belong together, is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
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

    @property
    def early(self) -> bool:
        """Whether it does not hold yet."""
        return datetime.now(UTC) < self.not_before

    @property
    def late(self) -> bool:
        """Whether it does not hold any more."""
        return datetime.now(UTC) > self.not_after


def read(files: TlsFiles) -> Material:
    """Read what the files hold now; raises InvalidArgument that says which of them is amiss, and why."""
    # Imported only where it is used: it costs a process several megabytes.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    cert, key = _bytes("tls_cert_file", files.cert), _bytes("tls_key_file", files.key)
    chain = _certificates("tls_cert_file", files.cert, cert)
    with _telling(f"tls_key_file {files.key}: no private key in PEM without a password"):
        own = load_pem_private_key(key, password=None).public_key()
    with _telling(f"tls_cert_file {files.cert}: a certificate of a kind that is not known here"):
        certified, names, not_before = chain[0].public_key(), _names(chain[0]), chain[0].not_valid_before_utc
        not_after = min(certificate.not_valid_after_utc for certificate in chain)
    if own != certified:
        raise InvalidArgument(f"tls_key_file {files.key}: not the key of the certificate in {files.cert}")
    ca = None
    if files.ca is not None:
        ca = _bytes("tls_ca_file", files.ca)
        _certificates("tls_ca_file", files.ca, ca)
    return Material(cert, key, ca, not_before, not_after, names)


def _bytes(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{setting} {path}: {error.strerror}") from error


def _certificates(setting: str, path: Path, pem: bytes) -> Sequence[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    with _telling(f"{setting} {path}: no certificate in PEM"):
        return load_pem_x509_certificates(pem)


@contextmanager
def _telling(fault: str) -> Iterator[None]:
    """Raise InvalidArgument instead of what cryptography raises: errors of many kinds, which share no base."""
    try:
        yield
    except Exception as error:
        raise InvalidArgument(fault) from error


def _names(certificate: Certificate) -> tuple[str, ...]:
    """Return what the certificate names its holder: its alternative names, or the common one where it has none."""
    from cryptography.x509 import ExtensionNotFound, SubjectAlternativeName  # noqa: PLC0415

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return (certificate.subject.rfc4514_string(),)
    return tuple(str(name.value) for name in names)
