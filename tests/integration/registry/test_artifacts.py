"""Uploading artifacts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from services.mesh.errors import MeshError, Reason
from tests.support.definitions import CONTENT, SHA256
from tests.support.registry import Client, registry, stream
from tests.support.waiting import eventually


def stored(tmp_path: Path) -> list[str]:
    """Names of the files in object storage, but for the snapshot."""
    return [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file() and path.name != "current"]


async def test_an_upload_lies_under_its_digest(empty: Client, tmp_path: Path) -> None:
    """What was sent in chunks is one file."""
    response = await empty.upload()
    assert (response.sha256, response.size_bytes, response.existed) == (SHA256, len(CONTENT), False)
    assert (tmp_path / "objects" / "artifacts" / SHA256).read_bytes() == CONTENT


async def test_what_is_there_is_not_sent_again(empty: Client, tmp_path: Path) -> None:
    """The header alone is enough."""
    await empty.upload()
    header = pb.ArtifactHeader(sha256=SHA256, size_bytes=len(CONTENT))
    response = await empty.stub.UploadArtifact(stream([pb.UploadArtifactRequest(header=header)]))
    assert response.existed
    assert (await empty.upload()).existed
    assert stored(tmp_path) == [SHA256]


async def test_a_large_artifact_streams(empty: Client, tmp_path: Path) -> None:
    """Many full chunks arrive whole."""
    chunk = bytes(range(256)) * 4096
    digest = hashlib.sha256(chunk * 20).hexdigest()
    header = pb.ArtifactHeader(sha256=digest, size_bytes=20 * len(chunk))
    parts = [pb.UploadArtifactRequest(header=header), *[pb.UploadArtifactRequest(chunk=chunk)] * 20]
    await empty.stub.UploadArtifact(stream(parts))
    assert hashlib.sha256((tmp_path / "objects" / "artifacts" / digest).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("header", "reason", "path"),
    [
        ({"sha256": "0" * 64}, Reason.DIGEST_MISMATCH, "header.sha256"),
        ({"size_bytes": 5}, Reason.DIGEST_MISMATCH, "header.size_bytes"),
        ({"size_bytes": 500}, Reason.DIGEST_MISMATCH, "header.size_bytes"),
        ({"sha256": "../../etc/passwd"}, Reason.INVALID_ARGUMENT, "header.sha256"),
        ({"sha256": SHA256.upper()}, Reason.INVALID_ARGUMENT, "header.sha256"),
        ({"size_bytes": 0}, Reason.INVALID_ARGUMENT, "header.size_bytes"),
        ({"size_bytes": -1}, Reason.INVALID_ARGUMENT, "header.size_bytes"),
        ({"size_bytes": 2**62}, Reason.INVALID_ARGUMENT, "header.size_bytes"),
    ],
)
async def test_a_broken_promise_leaves_nothing(
    empty: Client, tmp_path: Path, header: dict[str, Any], reason: Reason, path: str
) -> None:
    """Bytes that are not what the header says are not stored, in whole or in part."""
    with pytest.raises(MeshError) as caught:
        await empty.upload(**header)
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, path)
    assert stored(tmp_path) == []


HEADER = pb.UploadArtifactRequest(header=pb.ArtifactHeader(sha256=SHA256, size_bytes=2**21))


@pytest.mark.parametrize(
    ("parts", "reason", "path"),
    [
        ([], Reason.MISSING_FIELD, "header"),
        ([pb.UploadArtifactRequest(chunk=b"x")], Reason.MISSING_FIELD, "header"),
        ([HEADER, HEADER], Reason.INVALID_ARGUMENT, "chunk"),
        ([HEADER, pb.UploadArtifactRequest()], Reason.INVALID_ARGUMENT, "chunk"),
        ([HEADER, pb.UploadArtifactRequest(chunk=b"x" * (2**20 + 1))], Reason.INVALID_ARGUMENT, "chunk"),
    ],
)
async def test_parts_out_of_order_leave_nothing(
    empty: Client, tmp_path: Path, parts: list[pb.UploadArtifactRequest], reason: Reason, path: str
) -> None:
    """First one header, then chunks of at most 1 MiB."""
    with pytest.raises(MeshError) as caught:
        await empty.stub.UploadArtifact(stream(parts))
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, path)
    assert stored(tmp_path) == []


async def test_a_caller_that_goes_leaves_nothing(empty: Client, tmp_path: Path) -> None:
    """An upload broken off half-way is cleaned up, and can be made again."""
    halfway = asyncio.Event()

    async def parts() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(header=pb.ArtifactHeader(sha256=SHA256, size_bytes=len(CONTENT)))
        yield pb.UploadArtifactRequest(chunk=CONTENT[:8])
        halfway.set()
        await asyncio.Event().wait()

    uploading = asyncio.ensure_future(empty.stub.UploadArtifact(parts()))
    await halfway.wait()
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    await eventually(lambda: stored(tmp_path) == [])
    assert not (await empty.upload()).existed


async def test_an_artifact_has_a_largest_size(tmp_path: Path) -> None:
    """The limit is the operator's."""
    async with registry(tmp_path, max_artifact_bytes=10) as client:
        with pytest.raises(MeshError, match="10 bytes"):
            await client.upload()


async def test_two_uploads_of_one_artifact_are_one(empty: Client, tmp_path: Path) -> None:
    """Neither disturbs the other."""
    await asyncio.gather(*(empty.upload() for _ in range(4)))
    assert stored(tmp_path) == [SHA256]
