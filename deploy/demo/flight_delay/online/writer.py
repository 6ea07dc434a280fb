"""Writes updates over one stream of the feature service and knows when the store has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploy.demo.flight_delay.online.messages import feature_batches
from deploy.demo.flight_delay.replay import Updates
from predictmesh.features.v1.features_service_pb2 import StreamFeaturesRequest, StreamFeaturesResponse
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from services.cli.errors import Failure
from services.mesh.status import from_status

PATIENCE_S = 10.0


@dataclass
class Counts:
    """Rows sent, and what became of them."""

    sent: int = 0
    written: int = 0
    superseded: int = 0


class FeatureWriter:
    """One StreamFeatures call. Batches are applied in the order in which they are handed over."""

    def __init__(self, features: FeatureServiceStub) -> None:
        open_stream: Any = features.StreamFeatures
        self._call = open_stream()
        self._sequence = self._acknowledged = 0
        self.counts = Counts()

    async def apply(self, updates: Iterable[Updates]) -> None:
        """Write all rows and return when the store has applied them. Failure if one is rejected or nothing happens."""
        for update in updates:
            self.counts.sent += len(update)
            for batch in feature_batches(update):
                self._sequence += 1
                await self._call.write(StreamFeaturesRequest(sequence=self._sequence, batch=batch))
        while self._acknowledged < self._sequence:
            self._note(await self._read())

    async def _read(self) -> StreamFeaturesResponse:
        try:
            async with asyncio.timeout(PATIENCE_S):
                response = await self._call.read()
        except TimeoutError:
            raise Failure(f"the feature service acknowledged nothing for {PATIENCE_S:g} s") from None
        if not isinstance(response, StreamFeaturesResponse):
            raise Failure("the feature service ended the stream before it acknowledged every row")
        return response

    def _note(self, response: StreamFeaturesResponse) -> None:
        for rejection in response.rejected:
            status = rejection.batch_status if rejection.HasField("batch_status") else rejection.rows[0].status
            raise Failure(f"the feature service rejects rows: {from_status(status).message}")
        self._acknowledged = response.acknowledged_sequence
        self.counts.written += response.written_rows
        self.counts.superseded += response.superseded_rows
