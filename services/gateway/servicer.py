"""The gateway's rpcs: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceServicer
from services.gateway.convert import decode_predict, encode_explanation, encode_prediction
from services.gateway.convert_listing import encode_endpoints
from services.gateway.convert_outcomes import decode_outcome
from services.gateway.noting import note_unread
from services.gateway.outcomes import OutcomeFlow
from services.gateway.predict import PredictFlow
from services.gateway.streams import answer_all
from services.mesh import context as calls
from services.mesh.admission.gate import Gate
from services.mesh.admission.priority import priority_of
from services.mesh.deadline import LONGEST_S, Deadline
from services.mesh.errors import InvalidArgument, MeshError, MissingField
from services.mesh.methods import ServerContext
from services.mesh.security.guard import check_name
from services.mesh.status import to_status


class PredictionServicer(PredictionServiceServicer):
    """Answers predictions by the flow, and takes what came true of them. `gate` lets in the requests of streams.

    Once `draining` is set streams end when what they have sent is answered.
    """

    def __init__(
        self,
        flow: PredictFlow,
        outcomes: OutcomeFlow,
        gate: Gate,
        *,
        max_stream_requests: int,
        draining: asyncio.Event,
    ) -> None:
        self._draining = draining
        self._flow = flow
        self._outcomes = outcomes
        self._gate = gate
        self._max_stream_requests = max_stream_requests

    async def Predict(self, request: gateway_pb.PredictRequest, context: ServerContext) -> gateway_pb.PredictResponse:
        """Answer one request."""
        running = calls.current()
        assert running is not None
        try:
            call = decode_predict(request, running.metadata, running.deadline)
        except MeshError as error:
            note_unread(error)
            raise
        return encode_prediction(await self._flow.run(call))

    async def Explain(self, request: gateway_pb.ExplainRequest, context: ServerContext) -> gateway_pb.ExplainResponse:
        """Answer one request with every input of the model."""
        running = calls.current()
        assert running is not None
        try:
            call = decode_predict(request.request, running.metadata, running.deadline, explain=True)
        except MeshError as error:
            note_unread(error)
            raise
        return encode_explanation(await self._flow.run(call))

    async def RecordOutcome(
        self, request: gateway_pb.RecordOutcomeRequest, context: ServerContext
    ) -> gateway_pb.RecordOutcomeResponse:
        """Record what came true of one row; answered when the registry has it on its disk."""
        running = calls.current()
        assert running is not None
        existed = await self._outcomes.run(decode_outcome(request), running.deadline)
        return gateway_pb.RecordOutcomeResponse(existed=existed)

    async def ListEndpoints(
        self, request: gateway_pb.ListEndpointsRequest, context: ServerContext
    ) -> gateway_pb.ListEndpointsResponse:
        """Answer the endpoints of the newest snapshot."""
        listed = encode_endpoints(self._flow.table)
        running = calls.current()
        if running is not None and running.caller is not None and running.caller.names is not None:
            allowed = [each for each in listed.endpoints if running.caller.may_use(each.name)]
            return gateway_pb.ListEndpointsResponse(endpoints=allowed, snapshot_revision=listed.snapshot_revision)
        return listed

    async def PredictStream(
        self, requests: AsyncIterator[gateway_pb.PredictStreamRequest], context: ServerContext
    ) -> AsyncIterator[gateway_pb.PredictStreamResponse]:
        """Answer each request of the stream as it is made."""
        under_way: set[str] = set()

        async def answer(message: gateway_pb.PredictStreamRequest) -> gateway_pb.PredictStreamResponse:
            if not message.id:
                return _failed(message, MissingField("a request of a stream needs an id", field="id"))
            if message.id in under_way:
                # Nobody could tell their answers apart.
                return _failed(message, InvalidArgument("another request of this id is under way", field="id"))
            under_way.add(message.id)
            try:
                return await self._answer(message)
            finally:
                under_way.remove(message.id)

        answers = answer_all(requests, answer, limit=self._max_stream_requests, draining=self._draining)
        async for response in answers:
            yield response

    async def _answer(self, message: gateway_pb.PredictStreamRequest) -> gateway_pb.PredictStreamResponse:
        running = calls.current()
        assert running is not None
        try:
            if running.caller is not None:
                check_name(running.caller, message.request.endpoint, "request.endpoint")
            with self._gate.admit(priority_of(running.metadata)):
                try:
                    call = decode_predict(message.request, running.metadata, _deadline(message))
                except MeshError as error:
                    note_unread(error)
                    raise
                response = encode_prediction(await self._flow.run(call))
        except MeshError as error:
            return _failed(message, error)
        return gateway_pb.PredictStreamResponse(id=message.id, response=response)


def _failed(message: gateway_pb.PredictStreamRequest, error: MeshError) -> gateway_pb.PredictStreamResponse:
    return gateway_pb.PredictStreamResponse(id=message.id, error=to_status(error))


def _deadline(message: gateway_pb.PredictStreamRequest) -> Deadline | None:
    if message.timeout_ms < 0:
        raise InvalidArgument("timeout_ms is negative", field="timeout_ms")
    return Deadline.after(min(message.timeout_ms / 1000, LONGEST_S)) if message.timeout_ms else None
