"""Artifacts on the local disk: fetched once, and verified at every use."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import TypeAlias

from services.model.errors import DigestMismatch, UnknownArtifact

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Gets the bytes of a digest from object storage; KeyError when it has none."""

_UNFINISHED = "."


class Artifacts:
    """A directory of verified artifacts, so that a process starts without object storage."""

    def __init__(self, directory: Path, fetch: Fetch) -> None:
        self._directory = directory
        self._fetch = fetch
        directory.mkdir(parents=True, exist_ok=True)
        for unfinished in directory.glob(f"{_UNFINISHED}*"):
            unfinished.unlink(missing_ok=True)

    async def path(self, sha256: str) -> Path:
        """Say where the verified artifact lies; raises UnknownArtifact or DigestMismatch, or what fetching raises."""
        path = self._directory / sha256
        if await asyncio.to_thread(_is_whole, path, sha256):
            return path
        try:
            content = await self._fetch(sha256)
        except KeyError as error:
            raise UnknownArtifact(f"object storage has no artifact {sha256}", sha256=sha256) from error
        await asyncio.to_thread(_keep, path, sha256, content)
        return path

    async def retain(self, digests: Collection[str]) -> None:
        """Delete the artifacts that are not among these."""
        await asyncio.to_thread(_delete_others, self._directory, frozenset(digests))


def _is_whole(path: Path, sha256: str) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _keep(path: Path, sha256: str, content: bytes) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise DigestMismatch(f"object storage holds bytes of digest {actual} under {sha256}", sha256=sha256)
    # Renamed when whole: another loader of the same digest sees all of it or nothing.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_UNFINISHED, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _delete_others(directory: Path, digests: frozenset[str]) -> None:
    for path in directory.iterdir():
        if path.name not in digests and not path.name.startswith(_UNFINISHED):
            path.unlink(missing_ok=True)
