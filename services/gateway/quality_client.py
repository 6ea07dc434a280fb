"""The gateway's calls to the registry's quality service: predictions, and what came true of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from predictmesh.registry.v1 import quality_service_pb2 as quality_pb
from services.gateway.convert_outcomes import decode_results, encode_outcome, encode_record
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, Internal, InvalidArgument, MeshError
from services.mesh.resilience import Hop
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceAsyncStub
    from services.gateway.outcomes import Outcome
    from services.gateway.records import Record
    from services.mesh.replicas import Connection

logger = logging.getLogger(__name__)
# The registry answers when it is on its disk.
KEEP_TIMEOUT_S = 5.0
# How long callers may have to wait while predictions are encoded, but for a single one.
TURN_S = 0.0005


class QualityClient:
    """Hands both to the registry; either may be sent again."""

    def __init__(self, replicas: Sequence[Connection[QualityServiceAsyncStub]], *, max_message_bytes: int) -> None:
        # Of a message of predictions: with one more that is as large it is still small enough.
        self._enough_bytes = max_message_bytes // 4
        self.hop = Hop("registry", replicas)

    async def keep(self, records: Sequence[Record]) -> None:
        """Keep predictions; raises MeshErrors, and then some may be kept."""
        predictions = await self._encoded(records)
        for request in _requests(predictions, self._enough_bytes):
            await self._keep(request)

    async def _encoded(self, records: Sequence[Record]) -> list[quality_pb.PredictionRecord]:
        """Return the records' messages, without features that are too large; callers are answered in between."""
        messages = []
        turn_ends = time.perf_counter() + TURN_S
        for record in records:
            message = encode_record(record)
            if record.served is not None and message.ByteSize() > self._enough_bytes:
                message.ClearField("features")
                names.FEATURES_LOST.inc()
            messages.append(message)
            if time.perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.perf_counter() + TURN_S
        return messages

    async def _keep(self, request: quality_pb.RecordPredictionsRequest) -> None:
        """Keep the predictions of a message; without features if the registry takes only smaller messages than we do."""
        try:
            await self._send(request)
        except MeshError as error:
            if not _is_too_large(error):
                raise
            logger.warning("the registry takes no message of this size", extra={"bytes": request.ByteSize()})
            for prediction in request.predictions:
                if prediction.HasField("features"):
                    prediction.ClearField("features")
                    names.FEATURES_LOST.inc()
            await self._send_bare(request)

    async def _send_bare(self, request: quality_pb.RecordPredictionsRequest) -> None:
        try:
            await self._send(request)
        except MeshError as error:
            if _is_too_large(error):
                # Not to be sent again, which would hold up all others for ever.
                raise InvalidArgument(error.message) from error
            raise

    async def _send(self, request: quality_pb.RecordPredictionsRequest) -> None:
        async def attempt(stub: QualityServiceAsyncStub, timeout: float) -> quality_pb.RecordPredictionsResponse:
            return await stub.RecordPredictions(request, timeout=timeout)

        await self.hop.call(attempt, Deadline.after(KEEP_TIMEOUT_S))

    async def record(self, outcomes: Sequence[Outcome], deadline: Deadline) -> Sequence[bool | MeshError]:
        """Record outcomes; return for each whether it had been there before, or why it is refused."""
        request = quality_pb.RecordOutcomesRequest(outcomes=map(encode_outcome, outcomes))

        async def attempt(stub: QualityServiceAsyncStub, timeout: float) -> quality_pb.RecordOutcomesResponse:
            return await stub.RecordOutcomes(request, timeout=timeout)

        response, _ = await self.hop.call(attempt, deadline)
        results = decode_results(response)
        if len(results) != len(outcomes):
            raise Internal("the registry did not answer each outcome")
        return results


def _is_too_large(error: MeshError) -> bool:
    """Whether gRPC has refused the message for its size; one of our services that is overloaded says when to come back."""
    return error.code is Code.RESOURCE_EXHAUSTED and error.retry_after_s is None


def _requests(
    predictions: Sequence[quality_pb.PredictionRecord], enough_bytes: int
) -> Iterator[quality_pb.RecordPredictionsRequest]:
    """Yield the predictions in messages that end as soon as they have enough bytes."""
    part: list[quality_pb.PredictionRecord] = []
    size = 0
    for prediction in predictions:
        part.append(prediction)
        size += prediction.ByteSize()
        if size >= enough_bytes:
            yield quality_pb.RecordPredictionsRequest(predictions=part)
            part, size = [], 0
    if part:
        yield quality_pb.RecordPredictionsRequest(predictions=part)
