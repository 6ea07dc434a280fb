"""The rpcs of predictions and their outcomes: decode, call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from predictmesh.registry.v1 import quality_service_pb2 as pb
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceServicer
from services.mesh.methods import ServerContext
from services.registry.quality.convert import (
    decode_outcomes,
    decode_records,
    decode_span,
    encode_export,
    encode_quality,
    encode_results,
)
from services.registry.quality.outcomes import Outcomes


class QualityServicer(QualityServiceServicer):
    """Serves `outcomes` of endpoints that pass the check; a message of an export is about `page_bytes`."""

    def __init__(self, outcomes: Outcomes, check_endpoint: Callable[[str], None], *, page_bytes: int) -> None:
        self._outcomes = outcomes
        self._check_endpoint = check_endpoint
        self._page_bytes = page_bytes

    async def RecordPredictions(
        self, request: pb.RecordPredictionsRequest, context: ServerContext
    ) -> pb.RecordPredictionsResponse:
        """Keep predictions."""
        await self._outcomes.keep(decode_records(request))
        return pb.RecordPredictionsResponse()

    async def RecordOutcomes(
        self, request: pb.RecordOutcomesRequest, context: ServerContext
    ) -> pb.RecordOutcomesResponse:
        """Record what came true."""
        return encode_results(await self._outcomes.record(decode_outcomes(request)))

    async def GetQuality(self, request: pb.GetQualityRequest, context: ServerContext) -> pb.GetQualityResponse:
        """Answer how good an endpoint's versions were."""
        self._check_endpoint(request.endpoint)
        return encode_quality(await self._outcomes.quality(request.endpoint, request.window_ms, request.every_ms))

    async def ExportPredictions(
        self, request: pb.ExportPredictionsRequest, context: ServerContext
    ) -> AsyncIterator[pb.ExportPredictionsResponse]:
        """Send predictions with their features and outcomes."""
        self._check_endpoint(request.endpoint)
        start_us, end_us = decode_span(request)
        async for page in self._outcomes.export(
            request.endpoint,
            start_us=start_us,
            end_us=end_us,
            labelled_only=request.labelled_only,
            page_bytes=self._page_bytes,
        ):
            yield encode_export(page)
