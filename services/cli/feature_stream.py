"""Writing many rows: numbered batches ahead of their acknowledgements, sent again when the service comes back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, cast

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
from services.cli.client import failure, open_channel
from services.cli.errors import Failure
from services.cli.feature_file import Rows
from services.cli.targets import Target
from services.cli.values import values_field
from services.mesh.status import from_status

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

    def write(self, rows: Iterator[Rows]) -> Written:
        """Send all rows and return what became of them. Failure if the service refuses the stream or stays away."""
        deadline = time.monotonic() + self._patience_s
        with open_channel(self._target) as channel:
            features = FeatureServiceStub(channel)
            while True:
                settled = self._settled
                try:
                    self._stream(features, rows)
                except grpc.RpcError as error:
                    if self._settled > settled:
                        deadline = time.monotonic() + self._patience_s
                    if (
                        cast("grpc.Call", error).code() is not grpc.StatusCode.UNAVAILABLE
                        or time.monotonic() > deadline
                    ):
                        raise failure(error, self._target) from error
                    time.sleep(_RETRY_S)
                else:
                    return self.result

    @property
    def _settled(self) -> int:
        return self.result.written + self.result.superseded + self.result.rejected

    def _stream(self, features: FeatureServiceStub, rows: Iterator[Rows]) -> None:
        # Not grpc.aio: there a write to a stream that has just failed takes the place of the status, which says why.
        requests: SimpleQueue[StreamFeaturesRequest | None] = SimpleQueue()
        call = features.StreamFeatures(iter(requests.get, None))
        try:
            for sequence, sent in self._unacknowledged:
                requests.put(self._request(sequence, sent))
            self._fill(rows, requests)
            while self._unacknowledged:
                self._settle(self._next(call))
                self._fill(rows, requests)
        finally:
            requests.put(None)

    def _fill(self, rows: Iterator[Rows], requests: SimpleQueue[StreamFeaturesRequest | None]) -> None:
        while len(self._unacknowledged) < WINDOW and (part := next(rows, None)) is not None:
            self._sequence += 1
            self._unacknowledged.append((self._sequence, part))
            requests.put(self._request(self._sequence, part))

    def _request(self, sequence: int, rows: Rows) -> StreamFeaturesRequest:
        return StreamFeaturesRequest(sequence=sequence, batch=encode(self._view, rows))

    def _next(self, call: Any) -> StreamFeaturesResponse:  # noqa: ANN401 - grpc's type for it is private
        """Return the next acknowledgement. Failure if the service ends the stream instead, or takes too long."""
        alarm = threading.Timer(self._patience_s, call.cancel)
        alarm.start()
        try:
            return cast("StreamFeaturesResponse", next(call))
        except StopIteration:
            raise Failure(f"the {self._target} ended the stream before it acknowledged every row") from None
        except grpc.RpcError as error:
            if cast("grpc.Call", error).code() is not grpc.StatusCode.CANCELLED:
                raise
            raise Failure(f"the {self._target} acknowledged nothing for {self._patience_s:g} s") from error
        finally:
            alarm.cancel()

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
