"""The port of the event log: an append-only list of events, numbered from 1 without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.registry.changes import Event


class EventStore(Protocol):
    """One log. Failures other than a conflict are StoreUnavailable; then a write may or may not have happened."""

    log_id: str
    """Random, made with the log and kept in it."""

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        """Write the events, numbered on from `expected_revision`, all or none; durable when it returns.

        Raises RevisionConflict if the last event is another, and ValueError if the numbers do not follow.
        """

    async def read(self, after: int, limit: int) -> list[Event]:
        """At most `limit` events after the revision `after`, oldest first."""

    async def last_revision(self) -> int:
        """Number of the last event; 0 if there is none."""


def check_numbers(expected_revision: int, events: Sequence[Event]) -> None:
    """ValueError unless the events are numbered on from `expected_revision`."""
    numbers = [event.revision for event in events]
    if numbers != list(range(expected_revision + 1, expected_revision + 1 + len(events))):
        raise ValueError(f"events {numbers} do not follow revision {expected_revision}")
