"""What every event store does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.registry.changes import Event
from services.registry.errors import RevisionConflict
from services.registry.stores import EventStore
from services.registry.stores.memory import MemoryEventStore
from services.registry.stores.sqlite import SqliteEventStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """An empty log of each kind."""
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with SqliteEventStore.open(tmp_path / "deep" / "log.sqlite3") as opened:
            yield opened


def event(revision: int, **parts: str) -> Event:
    """An event whose every field is to be kept."""
    time = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    texts = {"actor": "zoë", "reason": "", "type": "resources_applied", "payload": '{"n": "\\u0000 ü"}'}
    return Event(revision, time, **texts | parts)


async def test_a_new_log_is_empty_and_has_an_id(store: EventStore) -> None:
    """A log begins at revision 0."""
    assert await store.last_revision() == 0
    assert await store.read(0, 10) == []
    assert len(store.log_id) == 32


async def test_what_is_appended_is_read_as_it_was(store: EventStore) -> None:
    """Every field comes back, times to the microsecond, oldest event first."""
    events = [event(1), event(2, actor="", reason="because", payload="{}")]
    await store.append(0, events)
    assert await store.read(0, 10) == events
    assert await store.last_revision() == 2


async def test_reading_goes_page_by_page(store: EventStore) -> None:
    """A page begins after a revision and has a limit."""
    events = [event(revision) for revision in range(1, 8)]
    await store.append(0, events)
    assert await store.read(2, 3) == events[2:5]
    assert await store.read(7, 3) == []
    assert await store.read(2**64 - 1, 3) == []


async def test_an_append_to_another_revision_is_refused_whole(store: EventStore) -> None:
    """Whoever has not seen the last event writes nothing, and learns where the log is."""
    await store.append(0, [event(1), event(2)])
    with pytest.raises(RevisionConflict) as caught:
        await store.append(1, [event(2), event(3)])
    assert caught.value.metadata["revision"] == "2"
    assert await store.read(0, 10) == [event(1), event(2)]


async def test_numbers_have_no_gaps(store: EventStore) -> None:
    """Events are numbered on from the expected revision."""
    with pytest.raises(ValueError, match="do not follow"):
        await store.append(0, [event(1), event(3)])
    assert await store.last_revision() == 0


async def test_of_many_writers_at_one_revision_one_wins(store: EventStore) -> None:
    """Optimistic concurrency: all others get a conflict."""
    attempts = [store.append(0, [event(1, actor=f"writer {number}")]) for number in range(10)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, RevisionConflict) for result in results) == 9
    assert await store.last_revision() == 1


async def test_a_large_event_is_kept(store: EventStore) -> None:
    """A payload of some megabytes is no special case."""
    large = event(1, payload="x" * 5_000_000)
    await store.append(0, [large])
    assert await store.read(0, 1) == [large]
