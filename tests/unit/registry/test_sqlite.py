"""What the SQLite log does beyond the port."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from services.mesh.errors import StoreUnavailable
from services.registry.stores.sqlite import SqliteEventStore


async def test_a_log_keeps_its_id(tmp_path: Path) -> None:
    """The id belongs to the file, so that readers know a new log from an old one."""
    path = tmp_path / "log.sqlite3"
    async with SqliteEventStore.open(path) as store:
        first = store.log_id
    async with SqliteEventStore.open(path) as store:
        assert store.log_id == first
    async with SqliteEventStore.open(tmp_path / "other.sqlite3") as store:
        assert store.log_id != first


async def test_a_log_has_one_owner(tmp_path: Path) -> None:
    """A second registry on the same file is refused when it starts, not when it first writes."""
    path = tmp_path / "log.sqlite3"
    async with SqliteEventStore.open(path):
        with pytest.raises(StoreUnavailable, match="locked"):
            async with SqliteEventStore.open(path):
                pass
    async with SqliteEventStore.open(path):
        pass


async def test_a_commit_is_synced(tmp_path: Path) -> None:
    """The log is in WAL mode and synced at each commit, which WAL alone does not do."""
    async with SqliteEventStore.open(tmp_path / "log.sqlite3") as store:
        (mode,) = await store._database.read(lambda connection: connection.execute("PRAGMA journal_mode").fetchone())
        (level,) = await store._database.read(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert ("wal", 2) == (mode, level)


@pytest.mark.parametrize("content", [b"not a database" * 100, "newer"])
async def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path, content: bytes | str) -> None:
    """Neither another file nor a later release's log is written over."""
    path = tmp_path / "log.sqlite3"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version=99")
        connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        async with SqliteEventStore.open(path):
            pass
    assert path.read_bytes() == before


async def test_a_failing_disk_is_unavailable(tmp_path: Path) -> None:
    """Callers learn that the log does not answer, and nothing of why."""
    async with SqliteEventStore.open(tmp_path / "log.sqlite3") as store:
        await store._database.write(lambda connection: connection.execute("DROP TABLE events"))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.read(0, 1)
