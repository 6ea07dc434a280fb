"""The rpcs of the feature service."""

from __future__ import annotations

from collections.abc import AsyncIterator

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.features.v1 import features_service_pb2_grpc as pb_grpc
from services.features.convert import (
    decode_batch,
    decode_deletion,
    decode_numbered,
    decode_query,
    encode_acknowledgement,
    encode_values,
    encode_written,
)
from services.features.deleting import Deleting
from services.features.ingest import Ingest
from services.features.serving import Serving
from services.features.streaming import Streaming
from services.mesh.methods import ServerContext


class FeatureServicer(pb_grpc.FeatureServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(self, serving: Serving, ingest: Ingest, streaming: Streaming, deleting: Deleting) -> None:
        self._serving = serving
        self._ingest = ingest
        self._streaming = streaming
        self._deleting = deleting

    async def GetFeatures(self, request: pb.GetFeaturesRequest, context: ServerContext) -> pb.GetFeaturesResponse:
        """Read the values of one plan for a batch of rows."""
        return encode_values(await self._serving.read(decode_query(request)))

    async def WriteFeatures(self, request: pb.WriteFeaturesRequest, context: ServerContext) -> pb.WriteFeaturesResponse:
        """Write rows of one view."""
        return encode_written(await self._ingest.write(decode_batch(request.batch)))

    async def StreamFeatures(
        self, request_iterator: AsyncIterator[pb.StreamFeaturesRequest], context: ServerContext
    ) -> AsyncIterator[pb.StreamFeaturesResponse]:
        """Write numbered batches and acknowledge them."""
        batches = (decode_numbered(request) async for request in request_iterator)
        async for acknowledgement in self._streaming.run(batches):
            yield encode_acknowledgement(acknowledgement)

    async def DeleteEntity(self, request: pb.DeleteEntityRequest, context: ServerContext) -> pb.DeleteEntityResponse:
        """Delete all values of one entity key."""
        return pb.DeleteEntityResponse(deleted_views=await self._deleting.delete(*decode_deletion(request)))
