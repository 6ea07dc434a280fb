"""The one writer: checks a change against the present definitions, appends it to the log, then shows it.

A lock puts writes in a row. What the log has acknowledged is shown, and nothing else ever is.
"""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.mesh.errors import InvalidArgument
from services.registry.catalog import Catalog, check_catalog
from services.registry.changes import Change, Event, decode, encode
from services.registry.errors import InvalidDefinition, NotEmpty, RevisionConflict
from services.registry.faults import Faults
from services.registry.newest import Newest
from services.registry.stores import EventStore

logger = logging.getLogger(__name__)
PAGE = 1000
MAX_ACTOR = 256
MAX_REASON = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Revision:
    """All definitions as of event `number` of the log `log_id`."""

    log_id: str
    number: int
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and why."""

    actor: str
    reason: str = ""

    @classmethod
    def asking(cls, actor: str, reason: str) -> Author:
        """One who says who it is; raises InvalidArgument for what is no text to be read in the log."""
        _check_text(actor, "actor", MAX_ACTOR)
        _check_text(reason, "reason", MAX_REASON)
        return cls(actor, reason)


Decide = Callable[[Catalog], tuple[Change | None, T]]
"""Of the present definitions: the change to make, if any, and the answer to the caller; raises to refuse."""


class Ledger:
    """The log in `store` and the definitions it amounts to, in `newest`.

    `admit` may refuse a revision before it is written, `now` answers the time in UTC; no event is larger than
    `max_event_bytes`, so that each can be sent.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        now: Callable[[], datetime],
        admit: Callable[[Revision], None],
        max_event_bytes: int,
    ) -> None:
        self._store = store
        self._now = now
        self._admit = admit
        self._max_event_bytes = max_event_bytes
        self._lock = asyncio.Lock()
        self.newest = Newest(Revision(store.log_id, 0, Catalog()))

    async def open(self) -> None:
        """Read the whole log."""
        async with self._lock:
            await self._catch_up()
        logger.info("log read", extra={"revision": self.newest.value.number})

    def close(self) -> None:
        """Let watchers end; writes may still come."""
        self.newest.close()

    async def write(self, decide: Decide[T], author: Author, *, expected_revision: int | None = None) -> tuple[int, T]:
        """Make the change that `decide` asks for; answers the revision after it, and what `decide` answers.

        Raises RevisionConflict if the log is not at `expected_revision`, whatever `decide` raises, and
        StoreUnavailable if the log cannot be written; then nothing has changed.
        """
        return await _to_its_end(self._write(decide, author, expected_revision))

    async def load(self, events: Sequence[Event]) -> int:
        """Write a copy of another log into this one, which must be empty; answers the revision after it.

        All or none: raises NotEmpty, or InvalidDefinition where the events do not amount to valid definitions.
        """
        return await _to_its_end(self._load(events))

    async def events(self, after: int, limit: int, max_bytes: int) -> list[Event]:
        """Events after a revision, oldest first: at most `limit`, and about `max_bytes` of payload, but one at least."""
        page: list[Event] = []
        size = 0
        for event in await self._store.read(after, limit):
            size += len(event.payload.encode())
            if page and size > max_bytes:
                break
            page.append(event)
        return page

    async def _write(self, decide: Decide[T], author: Author, expected: int | None) -> tuple[int, T]:
        async with self._lock:
            # A write that failed may yet have reached the log.
            await self._catch_up()
            present = self.newest.value
            if expected is not None and expected != present.number:
                raise RevisionConflict(
                    f"the registry is at revision {present.number}, not {expected}: look again, then retry",
                    field="expected_revision",
                    revision=present.number,
                )
            change, answer = decide(present.catalog)
            if change is None:
                return present.number, answer
            await self._append(present, change, author)
            return present.number + 1, answer

    async def _append(self, present: Revision, change: Change, author: Author) -> None:
        kind, payload = encode(change)
        if len(payload.encode()) > self._max_event_bytes:
            raise InvalidArgument(f"the change is larger than {self._max_event_bytes} bytes: make it in parts")
        event = Event(present.number + 1, self._now(), author.actor, author.reason, kind, payload)
        following = Revision(present.log_id, event.revision, present.catalog.after(change))
        self._admit(following)
        await self._store.append(present.number, (event,))
        self.newest.set(following)
        logger.info("definitions changed", extra={"revision": event.revision, "change": kind, "actor": author.actor})

    async def _load(self, events: Sequence[Event]) -> int:
        async with self._lock:
            await self._catch_up()
            present = self.newest.value
            if present.number:
                raise NotEmpty(f"the registry is at revision {present.number}; import into an empty one")
            following = _replayed(present, events)
            self._admit(following)
            await self._store.append(0, events)
            self.newest.set(following)
            logger.info("log imported", extra={"revision": following.number})
            return following.number

    async def _catch_up(self) -> None:
        present = latest = self.newest.value
        while events := await self._store.read(latest.number, PAGE):
            for event in events:
                latest = Revision(latest.log_id, event.revision, latest.catalog.after(decode(event)))
        if latest is not present:
            self.newest.set(latest)


def _replayed(empty: Revision, events: Sequence[Event]) -> Revision:
    """What the events amount to; InvalidDefinition if they are no whole log of valid definitions."""
    catalog = empty.catalog
    for number, event in enumerate(events, start=1):
        if event.revision != number:
            raise InvalidDefinition(f"event {event.revision} stands where {number} belongs", field="event.revision")
        try:
            catalog = catalog.after(decode(event))
        except KeyError as error:
            raise InvalidDefinition(
                f"event {number} is about {error}, which is not there", field="event.payload"
            ) from error
    faults = Faults()
    check_catalog(catalog, faults)
    faults.check()
    return Revision(empty.log_id, len(events), catalog)


async def _to_its_end(work: Coroutine[object, object, T]) -> T:
    """Await work that must not stop half-way when the caller goes."""
    return await asyncio.shield(asyncio.ensure_future(work))


def _check_text(text: str, field: str, most: int) -> None:
    if len(text) > most:
        raise InvalidArgument(f"it has {len(text)} characters; the log takes {most}", field=field)
    # Whoever shows the log would have to keep them from steering a terminal.
    controls = sorted({mark for mark in text if unicodedata.category(mark) == "Cc" and mark not in "\t\n"})
    if controls:
        raise InvalidArgument(f"it holds the control character {controls[0]!r}: leave it out", field=field)
