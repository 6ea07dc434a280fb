"""Object storage: artifacts by digest and the newest snapshot, in a directory, S3, GCS or Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from services.mesh.errors import StoreUnavailable

SNAPSHOT = "snapshots/current"


def artifact_path(sha256: str) -> str:
    """Return where the artifact of a digest (hex) lies."""
    return f"artifacts/{sha256}"


class Objects:
    """A bucket or directory. Failures other than absence are StoreUnavailable."""

    def __init__(self, store: obstore.store.ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> Objects:
        """Open file://DIR (made if it is not there; relative to the working directory), s3://, gs:// or az://."""
        if url.startswith("file://"):
            directory = Path(url.removeprefix("file://"))
            directory.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(directory.resolve()))
        return cls(from_url(url))

    async def get(self, path: str) -> bytes:
        """Return the bytes at `path`; KeyError if there are none."""
        try:
            return bytes(await (await obstore.get_async(self._store, path)).bytes_async())
        except FileNotFoundError as error:
            raise KeyError(path) from error
        except BaseError as error:
            raise StoreUnavailable(f"object storage cannot read {path}") from error

    async def put(self, path: str, data: bytes | AsyncIterator[bytes]) -> None:
        """Write `data` at `path`, whole or not at all: nothing is left if an iterator raises."""
        try:
            await obstore.put_async(self._store, path, data)
        except BaseError as error:
            raise StoreUnavailable(f"object storage cannot write {path}") from error

    async def delete(self, path: str) -> None:
        """Remove what is at `path`; nothing if there is nothing."""
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise StoreUnavailable(f"object storage cannot delete {path}") from error

    async def size(self, path: str) -> int:
        """Return the length in bytes of what is at `path`; KeyError if there is nothing."""
        try:
            return int((await obstore.head_async(self._store, path))["size"])
        except FileNotFoundError as error:
            raise KeyError(path) from error
        except BaseError as error:
            raise StoreUnavailable(f"object storage cannot look for {path}") from error

    async def exists(self, path: str) -> bool:
        """Return whether there is something at `path`."""
        try:
            await self.size(path)
        except KeyError:
            return False
        return True
