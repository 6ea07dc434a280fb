"""A log in memory, for tests and for trying things out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from services.registry.changes import Event
from services.registry.errors import RevisionConflict
from services.registry.stores import check_numbers


class MemoryEventStore:
    """Gone with the process."""

    def __init__(self) -> None:
        self.log_id = uuid.uuid4().hex
        self._events: list[Event] = []

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        """Add the events."""
        check_numbers(expected_revision, events)
        last = len(self._events)
        if last != expected_revision:
            raise RevisionConflict(f"the log is at revision {last}, not {expected_revision}", revision=last)
        self._events.extend(events)

    async def read(self, after: int, limit: int) -> list[Event]:
        """Return a copy of the slice."""
        return self._events[after : after + limit]

    async def last_revision(self) -> int:
        """Return how many there are."""
        return len(self._events)
