"""Writing many rows: numbered batches ahead of their acknowledgements, sent again when the service comes back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import grpc

from predictmesh.features.v1.features_service_pb2 import (
    FeatureBatch,
    RejectedRow,
    StreamFeaturesRequest,
    StreamFeaturesResponse,
)
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.registry.v1.feature_view_pb2 import FeatureView, KeyType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.client import connect_async, failure
from services.cli.errors import Failure
from services.cli.feature_file import Rows
from services.cli.targets import Target
from services.cli.values import values_field
from services.mesh.status import from_status

if TYPE_CHECKING:
    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub

Call: TypeAlias = "grpc.aio.StreamStreamCall[StreamFeaturesRequest, StreamFeaturesResponse]"

WINDOW = 8
"""Batches on their way at most."""
SHOWN_REJECTIONS = 10
_RETRY_S = 0.5


@dataclass
class Written:
    """What became of the rows. `rejected` counts them all, `reasons` tells of the first few."""

    written: int = 0
    superseded: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)


class FeatureStream:
    """Sends the rows of a view to the feature service; `advance` is called with the rows that are settled.

    A row is settled when the store has applied it, or it was rejected. While the service is unavailable the stream is
    opened again for up to `patience_s` seconds without progress, and what was not acknowledged is sent again.
    """

    def __init__(self, target: Target, view: FeatureView, patience_s: float, advance: Callable[[int], None]) -> None:
        self._target, self._view, self._patience_s, self._advance = target, view, patience_s, advance
        self._unacknowledged: deque[tuple[int, Rows]] = deque()
        self._sequence = 0
        self.result = Written()

    async def write(self, rows: Iterator[Rows]) -> Written:
        """Send all rows and return what became of them. Failure if the service refuses the stream or stays away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        async with connect_async(self._target, FeatureServiceStub) as features:
            while True:
                settled = self._settled
                try:
                    await self._stream(features, rows)
                except grpc.aio.AioRpcError as error:
                    if self._settled > settled:
                        deadline = loop.time() + self._patience_s
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or loop.time() > deadline:
                        raise failure(error, self._target) from error
                    await asyncio.sleep(_RETRY_S)
                else:
                    return self.result

    @property
    def _settled(self) -> int:
        return self.result.written + self.result.superseded + self.result.rejected

    async def _stream(self, features: FeatureServiceAsyncStub, rows: Iterator[Rows]) -> None:
        call = features.StreamFeatures()
        for sequence, sent in self._unacknowledged:
            await self._send(call, sequence, sent)
        for part in rows:
            self._sequence += 1
            self._unacknowledged.append((self._sequence, part))
            await self._send(call, self._sequence, part)
            while len(self._unacknowledged) >= WINDOW:
                await self._read(call)
        await call.done_writing()
        while self._unacknowledged:
            await self._read(call)

    async def _send(self, call: Call, sequence: int, rows: Rows) -> None:
        try:
            await call.write(StreamFeaturesRequest(sequence=sequence, batch=encode(self._view, rows)))
        except asyncio.InvalidStateError:
            # The call ended before this batch.
            await _raise_end(call, self._target)

    async def _read(self, call: Call) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                response = await call.read()
        except TimeoutError:
            raise Failure(f"the {self._target} acknowledged nothing for {self._patience_s:g} s") from None
        if isinstance(response, StreamFeaturesResponse):
            self._settle(response)
        else:
            await _raise_end(call, self._target)

    def _settle(self, response: StreamFeaturesResponse) -> None:
        self.result.written += response.written_rows
        self.result.superseded += response.superseded_rows
        firsts = dict(self._unacknowledged)
        for rejection in response.rejected:
            rows = firsts.get(rejection.sequence)
            if rows is None:
                continue
            refused = list(rejection.rows)
            if rejection.HasField("batch_status"):
                refused = [RejectedRow(row=row, status=rejection.batch_status) for row in range(len(rows))]
            self._reject(rows.first, refused)
        while self._unacknowledged and self._unacknowledged[0][0] <= response.acknowledged_sequence:
            self._advance(len(self._unacknowledged.popleft()[1]))

    def _reject(self, first: int, refused: list[RejectedRow]) -> None:
        self.result.rejected += len(refused)
        for row in refused[: SHOWN_REJECTIONS - len(self.result.reasons)]:
            error = from_status(row.status)
            self.result.reasons.append(f"row {first + row.row}: {error.message} [{error.reason}]")


async def _raise_end(call: Call, target: Target) -> NoReturn:
    """Raise why the service ended the stream before it acknowledged all."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        raise Failure(f"the {target} ended the stream before it acknowledged every row")
    raise grpc.aio.AioRpcError(
        code, await call.initial_metadata(), await call.trailing_metadata(), details=await call.details()
    )


def encode(view: FeatureView, rows: Rows) -> FeatureBatch:
    """Return the batch of `rows`."""
    keys = []
    for key in view.entity.keys:
        values = rows.columns[key.name].to_pylist()
        is_int = key.type == KeyType.KEY_TYPE_INT64
        keys.append(Tensor(name=key.name, ints=values) if is_int else Tensor(name=key.name, strings=values))
    batch = FeatureBatch(view=view.name, keys=keys, event_time_us=rows.event_times.to_pylist())
    for definition in view.fields:
        column = rows.columns[definition.name]
        tensor = batch.values.add(name=definition.name, data_type=definition.data_type)
        name = values_field(definition.data_type)
        filler: object = {"bools": False, "strings": ""}.get(name, 0)
        if column.null_count:
            tensor.null_rows.extend(row for row, null in enumerate(column.is_null().to_pylist()) if null)
        if definition.length:
            tensor.shape.extend((len(rows), definition.length))
            nothing = [filler] * definition.length
            lists = (nothing if values is None else values for values in column.to_pylist())
            getattr(tensor, name).extend(value for values in lists for value in values)
        else:
            getattr(tensor, name).extend((column.fill_null(filler) if column.null_count else column).to_pylist())
    return batch
