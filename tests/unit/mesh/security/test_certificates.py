"""Certificates are read as they are, and what cannot be used says which file is amiss."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from services.mesh.errors import InvalidArgument
from services.mesh.security.certificates import TlsFiles, read
from tests.support.certificates import DAY, Authority, spiffe


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    """A certificate that can be used."""
    return Authority().files(tmp_path, spiffe("gateway"), "gateway.local", "127.0.0.1")


def test_certificate_is_read(files: TlsFiles) -> None:
    """Its names and its end are known; what it is made of is passed on as it is."""
    material = read(files)
    assert (spiffe("gateway"), "gateway.local", "127.0.0.1") == material.names
    assert timedelta(hours=23) < material.not_after - datetime.now(UTC) < timedelta(hours=25)
    assert material.not_before < datetime.now(UTC)
    assert files.ca is not None
    assert [file.read_bytes() for file in files if file] == [material.cert, material.key, material.ca]
    assert "PRIVATE KEY" not in repr(material)


def test_chain_ends_with_the_first_of_it(tmp_path: Path) -> None:
    """A certificate that outlives what it was issued by ends with that."""
    authority = Authority()
    long, short = authority.issue("a.local", until=9 * DAY), authority.issue("b.local", until=DAY)
    files = long.write(tmp_path, authority.cert)
    files.cert.write_bytes(long.cert + short.cert)
    assert read(files).not_after - datetime.now(UTC) < 2 * DAY


def test_without_authorities_nobody_is_trusted(tmp_path: Path) -> None:
    """A certificate alone can be shown."""
    assert read(Authority().issue("a.local").write(tmp_path, None)).ca is None


@pytest.mark.parametrize("setting", ["cert", "key", "ca"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), (b"", "PEM"), (b"nonsense", "PEM"), (b"-----BEGIN CERTIFICATE-----\nMII", "PEM")],
    ids=["absent", "empty", "nonsense", "cut short"],
)
def test_file_that_is_amiss_is_named(files: TlsFiles, setting: str, content: bytes | None, complaint: str) -> None:
    """The error says which setting, which file, and why."""
    path: Path = getattr(files, setting)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=f"tls_{setting}_file {re.escape(str(path))}.*{complaint}"):
        read(files)


def test_key_of_another_certificate_is_refused(files: TlsFiles) -> None:
    """As when one file has been replaced and the other not yet."""
    files.key.write_bytes(Authority().issue("a.local").key)
    with pytest.raises(
        InvalidArgument, match=f"tls_key_file .*not the key of the certificate in {re.escape(str(files.cert))}"
    ):
        read(files)


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [("2a8648ce3d0201", "2a8648ce3d0209", "a kind that is not known"), ("a003020102", "a003020107", "no certificate")],
    ids=["algorithm of the key", "version"],
)
def test_certificate_of_an_unknown_kind_is_refused(files: TlsFiles, was: str, becomes: str, complaint: str) -> None:
    """Like any other that cannot be used: cryptography has errors of its own for these."""
    content = ssl.PEM_cert_to_DER_cert(files.cert.read_text())
    assert bytes.fromhex(was) in content
    changed = content.replace(bytes.fromhex(was), bytes.fromhex(becomes), 1)
    files.cert.write_text(ssl.DER_cert_to_PEM_cert(changed))
    with pytest.raises(InvalidArgument, match=f"tls_cert_file {re.escape(str(files.cert))}: .*{complaint}"):
        read(files)


def test_key_with_a_password_is_refused(files: TlsFiles) -> None:
    """Nobody is there to type it; the text does not show the key."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(InvalidArgument, match="without a password"):
        read(files)
