"""Artifacts: bytes under their own SHA-256, verified on the way in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from services.mesh.errors import InvalidArgument
from services.registry.errors import DigestMismatch, MissingArtifact
from services.registry.names import is_sha256

MAX_CHUNK_BYTES = 1024 * 1024


class ArtifactStore(Protocol):
    """Where artifacts lie."""

    async def put(self, path: str, data: AsyncIterator[bytes]) -> None:
        """Write the bytes, whole or not at all: nothing is left if `data` raises."""

    async def get(self, path: str) -> bytes:
        """The bytes at `path`; KeyError if there are none."""

    async def size(self, path: str) -> int:
        """The length of what is at `path`; KeyError if there is nothing."""

    async def delete(self, path: str) -> None:
        """Remove what is at `path`; nothing if there is nothing."""


class Artifacts:
    """The artifacts in `store`, each of at most `max_bytes`."""

    def __init__(self, store: ArtifactStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes

    async def upload(self, sha256: str, size_bytes: int, chunks: AsyncIterator[bytes]) -> bool:
        """Store the chunks if they are what is promised; True, without reading them, if they were there before."""
        if not is_sha256(sha256):
            raise InvalidArgument("a SHA-256 is 64 digits of lower-case hex", field="header.sha256")
        if not 1 <= size_bytes <= self._max_bytes:
            raise InvalidArgument(f"an artifact has 1 to {self._max_bytes} bytes", field="header.size_bytes")
        stored = (await self.sizes([sha256])).get(sha256)
        if stored is None:
            await self._store.put(_path(sha256), _verified(chunks, sha256, size_bytes))
        elif stored != size_bytes:
            raise DigestMismatch(f"what has this digest has {stored} bytes", field="header.size_bytes")
        return stored is not None

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Length in bytes of those artifacts that are there."""
        wanted = sorted({digest for digest in digests if is_sha256(digest)})
        found = await asyncio.gather(*(self._size(digest) for digest in wanted))
        return {digest: size for digest, size in zip(wanted, found, strict=True) if size is not None}

    async def read(self, sha256: str) -> bytes:
        """The bytes of an artifact that is small; KeyError if it is not there."""
        return await self._store.get(_path(sha256))

    async def delete(self, sha256: str) -> None:
        """Remove an artifact; raises MissingArtifact if it is not there."""
        if not await self.sizes([sha256]):
            raise MissingArtifact(f"there is no artifact {sha256[:64]!r}", field="artifact")
        await self._store.delete(_path(sha256))

    async def _size(self, sha256: str) -> int | None:
        try:
            return await self._store.size(_path(sha256))
        except KeyError:
            return None


def _path(sha256: str) -> str:
    return f"artifacts/{sha256}"


async def _verified(chunks: AsyncIterator[bytes], sha256: str, size_bytes: int) -> AsyncIterator[bytes]:
    """The chunks; raises at the first sign, and at the end at the latest, that they are not what was promised."""
    digest, received = hashlib.sha256(), 0
    async for chunk in chunks:
        if len(chunk) > MAX_CHUNK_BYTES:
            raise InvalidArgument(f"a chunk has at most {MAX_CHUNK_BYTES} bytes", field="chunk")
        received += len(chunk)
        if received > size_bytes:
            raise DigestMismatch(f"more than the promised {size_bytes} bytes came", field="header.size_bytes")
        digest.update(chunk)
        yield chunk
    if received != size_bytes:
        raise DigestMismatch(f"{received} bytes came, {size_bytes} were promised", field="header.size_bytes")
    if digest.hexdigest() != sha256:
        raise DigestMismatch(f"the bytes have digest {digest.hexdigest()}", field="header.sha256")
