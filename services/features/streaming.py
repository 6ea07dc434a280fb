"""Streams of numbered batches: prepared while the store works on earlier ones, acknowledged once applied, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from services.features.ingest import Batch, Ingest, PreparedBatch, Rejected
from services.mesh.errors import InvalidArgument, MeshError, ShuttingDown

# A batch and its number; decoding may raise what is wrong with the batch.
NumberedBatch = tuple[int, Callable[[], Batch]]


@dataclass(slots=True)
class Rejection:
    """What was not written of one batch: all of it for `error`, or else the rows."""

    sequence: int
    error: MeshError | None
    rows: Rejected = field(default_factory=dict)


@dataclass(slots=True)
class Acknowledgement:
    """Every batch up to `sequence` is applied, but for the rejections. The counts are since the last one."""

    sequence: int
    written: int = 0
    superseded: int = 0
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A batch ready to be written, or why it cannot be."""

    sequence: int
    prepared: PreparedBatch | None
    error: MeshError | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """The client has sent all, or the stream cannot go on."""

    error: MeshError | None


class Streaming:
    """Runs the streams of this process. `window` is the number of batches that one holds unacknowledged."""

    def __init__(self, ingest: Ingest, *, window: int, max_rows: int) -> None:
        self._ingest = ingest
        self._window = window
        self._max_rows = max_rows
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def drain(self) -> None:
        """End every stream once what it has sent is applied and acknowledged; refuse new ones."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def run(self, batches: AsyncIterator[NumberedBatch]) -> AsyncIterator[Acknowledgement]:
        """Write batches and yield what has been applied.

        Ends with InvalidArgument for a number out of order, StoreUnavailable when the store fails, ShuttingDown when
        drained; what was applied before is acknowledged first, what was not is to be sent again.
        """
        if self._draining:
            raise ShuttingDown("The service is draining")
        arrivals: asyncio.Queue[_Arrival | _End] = asyncio.Queue()
        room = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(batches, arrivals, room))
        self._readers.add(reader)
        try:
            end = None
            while end is None:
                waiting, end = await self._take(arrivals)
                for group in self._groups(waiting):
                    yield await self._apply(group)
                    for _ in group:
                        room.release()
            await reader
            if end.error is not None:
                raise end.error
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(
        self, batches: AsyncIterator[NumberedBatch], arrivals: asyncio.Queue[_Arrival | _End], room: asyncio.Semaphore
    ) -> None:
        """Prepare batches as they come, while there is room."""
        last = 0
        error: MeshError | None = None
        try:
            async for sequence, decode in batches:
                if sequence <= last:
                    raise InvalidArgument(f"Batch {sequence} came after batch {last}", field="sequence")
                last = sequence
                await room.acquire()
                arrivals.put_nowait(self._arrival(sequence, decode))
        except MeshError as failure:
            error = failure
        except asyncio.CancelledError:
            error = ShuttingDown("The service is draining; send what is not acknowledged to another replica")
        finally:
            arrivals.put_nowait(_End(error))

    def _arrival(self, sequence: int, decode: Callable[[], Batch]) -> _Arrival:
        try:
            return _Arrival(sequence, self._ingest.prepare(decode()))
        except MeshError as error:
            return _Arrival(sequence, None, error)

    async def _take(self, arrivals: asyncio.Queue[_Arrival | _End]) -> tuple[list[_Arrival], _End | None]:
        """Return everything that waits, at least one thing."""
        waiting: list[_Arrival] = []
        arrival = await arrivals.get()
        while isinstance(arrival, _Arrival):
            waiting.append(arrival)
            if arrivals.empty():
                return waiting, None
            arrival = arrivals.get_nowait()
        return waiting, arrival

    def _groups(self, waiting: list[_Arrival]) -> list[list[_Arrival]]:
        """Cut what waits into writes: neighbours of one view, up to the rows of one batch."""
        groups: list[list[_Arrival]] = []
        rows = 0
        for arrival in waiting:
            size = len(arrival.prepared.rows) if arrival.prepared else 0
            if groups and _same_view(groups[-1][-1], arrival) and rows + size <= self._max_rows:
                groups[-1].append(arrival)
                rows += size
            else:
                groups.append([arrival])
                rows = size
        return groups

    async def _apply(self, group: list[_Arrival]) -> Acknowledgement:
        acknowledgement = Acknowledgement(group[-1].sequence)
        ready = [each.prepared for each in group if each.prepared is not None and each.prepared.rows]
        if ready:
            keys = [key for each in ready for key in each.keys]
            rows = [row for each in ready for row in each.rows]
            counts = await self._ingest.apply(ready[0].view, ready[0].ttl_ms, keys, rows)
            acknowledgement.written, acknowledgement.superseded = counts
        for each in group:
            rejected = each.prepared.rejected if each.prepared else {}
            if each.error is not None or rejected:
                acknowledgement.rejections.append(Rejection(each.sequence, each.error, rejected))
        return acknowledgement


def _same_view(one: _Arrival, other: _Arrival) -> bool:
    if one.prepared is None or other.prepared is None:
        return False
    return (one.prepared.view, one.prepared.ttl_ms) == (other.prepared.view, other.prepared.ttl_ms)
