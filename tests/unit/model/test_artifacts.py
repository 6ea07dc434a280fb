from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.model.artifacts import Artifacts
from services.model.errors import DigestMismatch, UnknownArtifact

CONTENT = b"the model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Storage(dict[str, bytes]):
    """Object storage that counts its reads."""

    reads = 0

    async def fetch(self, sha256: str) -> bytes:
        self.reads += 1
        return self[sha256]


async def test_an_artifact_is_fetched_once_and_kept_over_a_restart(tmp_path: Path) -> None:
    """A process starts from its disk, without object storage."""
    storage = Storage({DIGEST: CONTENT})
    path = await Artifacts(tmp_path, storage.fetch).path(DIGEST)
    assert CONTENT == path.read_bytes()
    storage.clear()
    assert path == await Artifacts(tmp_path, storage.fetch).path(DIGEST)
    assert 1 == storage.reads


async def test_bytes_of_another_digest_are_refused_and_not_kept(tmp_path: Path) -> None:
    """Object storage is not trusted."""
    with pytest.raises(DigestMismatch, match=DIGEST):
        await Artifacts(tmp_path, Storage({DIGEST: b"other"}).fetch).path(DIGEST)
    assert [] == list(tmp_path.iterdir())


async def test_a_file_that_went_bad_is_fetched_anew(tmp_path: Path) -> None:
    """The disk is not trusted either."""
    storage = Storage({DIGEST: CONTENT})
    artifacts = Artifacts(tmp_path, storage.fetch)
    (await artifacts.path(DIGEST)).write_bytes(b"rotten")
    assert CONTENT == (await artifacts.path(DIGEST)).read_bytes()
    assert 2 == storage.reads


async def test_an_artifact_that_nobody_has_is_named(tmp_path: Path) -> None:
    """Its absence is told apart from storage that does not answer."""
    with pytest.raises(UnknownArtifact, match=DIGEST):
        await Artifacts(tmp_path, Storage().fetch).path(DIGEST)


async def test_only_what_is_named_is_retained(tmp_path: Path) -> None:
    """Versions that are gone leave the disk."""
    other = hashlib.sha256(b"other").hexdigest()
    artifacts = Artifacts(tmp_path, Storage({DIGEST: CONTENT, other: b"other"}).fetch)
    kept = await artifacts.path(DIGEST)
    await artifacts.path(other)
    await artifacts.retain([DIGEST])
    assert [kept] == list(tmp_path.iterdir())


def test_what_an_ended_process_left_unfinished_is_removed(tmp_path: Path) -> None:
    """Half a download does not stay for ever."""
    (tmp_path / ".abc").write_bytes(b"half")
    Artifacts(tmp_path, Storage().fetch)
    assert [] == list(tmp_path.iterdir())
