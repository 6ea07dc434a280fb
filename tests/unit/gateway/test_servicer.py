"""The gateway's rpcs: what they take from the call, and streams whose requests stand for themselves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from prometheus_client import REGISTRY

from predictmesh.gateway.v1 import prediction_service_pb2 as pb
from predictmesh.gateway.v1.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.outcomes import Outcome, OutcomeFlow
from services.gateway.servicer import PredictionServicer
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.admission.priority import PRIORITY, Priority
from services.mesh.errors import Code, DeadlineExceeded, MeshError, NotReady, Reason
from services.mesh.interceptors import server_chain
from services.mesh.local import LocalStub
from services.mesh.methods import Servicer
from services.mesh.telemetry.tracing import open_tracing
from tests.support.predictions import StoredRow, snapshot, version, view
from tests.support.quality import MemoryQuality, record
from tests.support.waiting import eventually
from tests.unit.gateway.world import World

BOUND = {"x:FP32": ["rider:a"]}
DEFINED = snapshot(view("rider", "a:FP32"), versions=[version(BOUND), version(BOUND, number="1.1.0")], live="1.0.0")


@pytest.fixture
def world() -> World:
    """Rider a, whose value is 2, which makes 3."""
    made = World({"a": StoredRow({"rider:a": 2.0})})
    made.flow.use(made.tables.build(DEFINED))
    return made


def outcome_flow(quality: MemoryQuality) -> OutcomeFlow:
    """Return what records outcomes of predictions of which none waits here."""

    async def settle(prediction_id: str) -> None:
        """Do nothing."""

    return OutcomeFlow(quality, settle)


def stub_of(world: World, limit: int = 4, outcomes: OutcomeFlow | None = None, gate: Gate | None = None) -> Any:
    """Return the gateway's methods in the chain of a server."""
    gate = gate or Gate(AdaptiveLimit(100))
    servicer = Servicer(
        add_PredictionServiceServicer_to_server,
        PredictionServicer(
            world.flow,
            outcomes or outcome_flow(MemoryQuality()),
            gate,
            max_stream_requests=limit,
            draining=asyncio.Event(),
        ),
    )
    return LocalStub(servicer, server_chain(open_tracing("gateway", endpoint="", sample_ratio=0), max_in_flight=9))


def asking(rider: str = "a", **parts: Any) -> pb.PredictRequest:
    """Return a request for one rider; none without a name."""
    keys = [Tensor(name="rider_id", strings=[rider])] if rider else []
    return pb.PredictRequest(endpoint="m", entities=keys, **parts)


async def streamed(world: World, *messages: pb.PredictStreamRequest) -> dict[str, pb.PredictStreamResponse]:
    """Return the answers of a stream by id."""

    async def sent() -> AsyncIterator[pb.PredictStreamRequest]:
        for message in messages:
            yield message

    async with asyncio.timeout(5):
        return {answer.id: answer async for answer in stub_of(world).PredictStream(sent())}


def reason(status: Status) -> str:
    """Return the reason in a status."""
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def test_predict(world: World) -> None:
    """The answer carries the trace that the call runs in."""
    answer = await stub_of(world).Predict(asking(), metadata=(("traceparent", f"00-{'a' * 32}-{'b' * 16}-00"),))
    assert [3.0] == list(answer.outputs[0].floats)
    assert "a" * 32 == answer.provenance.trace_id


async def test_version_header(world: World) -> None:
    """A call's metadata pins the version."""
    answer = await stub_of(world).Predict(asking(), metadata=(("x-model-version", "1.1.0"),))
    assert "1.1.0" == answer.provenance.version


async def test_deadline_of_the_call(world: World) -> None:
    """The time that the caller gives is the request's."""
    world.features.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await stub_of(world).Predict(asking(), timeout=0.02)
    await eventually(lambda: world.features.cancelled == 1)


async def test_explain(world: World) -> None:
    """An explanation comes with the prediction itself."""
    answer = await stub_of(world).Explain(pb.ExplainRequest(request=asking()))
    assert [2.0] == [each.value.floats[0] for each in answer.inputs]
    assert [3.0] == list(answer.prediction.outputs[0].floats)


async def test_record_outcome(world: World) -> None:
    """The first is new, the next is known; what the registry says against one reaches its caller."""
    quality = MemoryQuality()
    quality.kept["mine"] = record("mine")
    stub = stub_of(world, outcomes=outcome_flow(quality))
    asked = pb.RecordOutcomeRequest(prediction_id="mine", row=1, label=0.5, time=Timestamp(seconds=7, nanos=8000))
    assert [False, True] == [(await stub.RecordOutcome(asked)).existed for _ in range(2)]
    assert [Outcome("mine", 1, 0.5, 7_000_008)] == quality.outcome_batches[0]
    with pytest.raises(MeshError) as caught:
        await stub.RecordOutcome(pb.RecordOutcomeRequest(prediction_id="other", label=1))
    assert (Code.NOT_FOUND, Reason.UNKNOWN_PREDICTION) == (caught.value.code, caught.value.reason)


async def test_outcome_without_a_time_is_known_now(world: World) -> None:
    """It is the gateway's clock then."""
    quality = MemoryQuality()
    before = time.time_ns() // 1000
    with pytest.raises(MeshError):
        await stub_of(world, outcomes=outcome_flow(quality)).RecordOutcome(pb.RecordOutcomeRequest(prediction_id="x"))
    assert before <= quality.outcome_batches[0][0].time_us <= time.time_ns() // 1000


@pytest.mark.parametrize(
    ("asked", "expected", "field"),
    [
        (pb.RecordOutcomeRequest(label=1), Reason.MISSING_FIELD, "prediction_id"),
        (pb.RecordOutcomeRequest(prediction_id="x" * 65), Reason.INVALID_ARGUMENT, "prediction_id"),
        (pb.RecordOutcomeRequest(prediction_id="x", label=math.nan), Reason.INVALID_ARGUMENT, "label"),
        (pb.RecordOutcomeRequest(prediction_id="x", time=Timestamp(seconds=-1)), Reason.INVALID_ARGUMENT, "time"),
        (pb.RecordOutcomeRequest(prediction_id="x", time=Timestamp(nanos=-1)), Reason.INVALID_ARGUMENT, "time.nanos"),
    ],
    ids=["no name", "long name", "no number", "before 1970", "no time"],
)
async def test_bad_outcomes(world: World, asked: pb.RecordOutcomeRequest, expected: Reason, field: str) -> None:
    """What no prediction can have is refused here, with the field."""
    quality = MemoryQuality()
    with pytest.raises(MeshError) as caught:
        await stub_of(world, outcomes=outcome_flow(quality)).RecordOutcome(asked)
    assert (expected, [field]) == (caught.value.reason, [each.field for each in caught.value.violations])
    assert not quality.outcome_batches


async def test_list_endpoints(world: World) -> None:
    """The endpoints of the table in use; without one there is nothing to list, and that is no empty list."""
    assert ["m"] == [each.name for each in (await stub_of(world).ListEndpoints(pb.ListEndpointsRequest())).endpoints]
    with pytest.raises(NotReady):
        await stub_of(World({})).ListEndpoints(pb.ListEndpointsRequest())


async def test_stream_answers_by_id(world: World) -> None:
    """Each request has its answer or its error, and none ends the stream for the others."""
    found = await streamed(
        world,
        pb.PredictStreamRequest(id="good", request=asking()),
        pb.PredictStreamRequest(id="bad", request=asking("")),
        pb.PredictStreamRequest(id="empty"),
        pb.PredictStreamRequest(request=asking()),
        pb.PredictStreamRequest(id="negative", request=asking(), timeout_ms=-1),
        pb.PredictStreamRequest(id="long", request=asking(), timeout_ms=2**63 - 1),
    )
    assert [3.0] == list(found["good"].response.outputs[0].floats)
    assert [3.0] == list(found["long"].response.outputs[0].floats)
    assert {
        "bad": Reason.MISSING_KEY,
        "empty": Reason.UNKNOWN_ENDPOINT,
        "": Reason.MISSING_FIELD,
        "negative": Reason.INVALID_ARGUMENT,
    } == {name: reason(answer.error) for name, answer in found.items() if answer.HasField("error")}


@pytest.mark.parametrize(
    ("priority", "reasons"),
    [
        ("low", {Reason.OVERLOADED}),
        ("normal", {Reason.OVERLOADED}),
        ("high", {None}),
        ("some", {Reason.INVALID_ARGUMENT}),
    ],
)
async def test_requests_of_a_stream_are_let_in_like_calls(
    world: World, priority: str, reasons: set[str | None]
) -> None:
    """Each is refused by itself where there is no room at the priority of the stream, which goes on."""
    gate = Gate(AdaptiveLimit(1))

    async def requests() -> AsyncIterator[pb.PredictStreamRequest]:
        for number in range(2):
            yield pb.PredictStreamRequest(id=str(number), request=asking())

    with gate.admit(Priority.NORMAL):
        answers = stub_of(world, limit=1, gate=gate).PredictStream(requests(), metadata=[(PRIORITY, priority)])
        found = [answer async for answer in answers]
    assert ["0", "1"] == [answer.id for answer in found]
    assert reasons == {reason(answer.error) if answer.HasField("error") else None for answer in found}
    assert gate.in_flight == 0


async def test_requests_of_a_stream_have_their_own_time(world: World) -> None:
    """One that is out of time is told so by its id; a stream that its caller leaves is computed no further."""
    world.features.gate.clear()
    forever = asyncio.Event()

    async def sent() -> AsyncIterator[pb.PredictStreamRequest]:
        yield pb.PredictStreamRequest(id="slow", request=asking(), timeout_ms=60_000)
        yield pb.PredictStreamRequest(id="short", request=asking(), timeout_ms=20)
        await forever.wait()

    answers = stub_of(world).PredictStream(sent())
    async with asyncio.timeout(5):
        first = await anext(answers)
    assert ("short", Reason.DEADLINE_EXCEEDED) == (first.id, reason(first.error))
    await answers.aclose()
    await eventually(lambda: world.features.cancelled == 1)


async def test_id_of_a_request_under_way(world: World) -> None:
    """Another request of that id is refused, as nobody could tell their answers apart; later the id is free again."""
    world.features.gate.clear()
    answered = asyncio.Event()

    async def sent() -> AsyncIterator[pb.PredictStreamRequest]:
        for name in ("mine", "mine", "other"):
            yield pb.PredictStreamRequest(id=name, request=asking())
        await answered.wait()
        yield pb.PredictStreamRequest(id="mine", request=asking(""))

    answers = stub_of(world).PredictStream(sent())
    async with asyncio.timeout(5):
        refused = await anext(answers)
        world.features.gate.set()
        both = [await anext(answers), await anext(answers)]
        answered.set()
        later = [answer async for answer in answers]
    assert ("mine", Reason.INVALID_ARGUMENT) == (refused.id, reason(refused.error))
    assert {"mine": [3.0], "other": [3.0]} == {each.id: list(each.response.outputs[0].floats) for each in both}
    assert [("mine", Reason.MISSING_KEY)] == [(each.id, reason(each.error)) for each in later]


async def test_requests_that_cannot_be_read_are_counted(world: World) -> None:
    """Under no endpoint, with their reason, however they came."""
    labels = {"endpoint": "", "reason": Reason.INVALID_ARGUMENT}

    def counted() -> float:
        return REGISTRY.get_sample_value("predictmesh_prediction_errors_total", labels) or 0

    before, long = counted(), asking(prediction_id="x" * 65)
    with pytest.raises(MeshError):
        await stub_of(world).Predict(long)
    with pytest.raises(MeshError):
        await stub_of(world).Explain(pb.ExplainRequest(request=long))
    await streamed(
        world,
        pb.PredictStreamRequest(id="long", request=long),
        pb.PredictStreamRequest(id="negative", request=asking(), timeout_ms=-1),
    )
    assert 4 == counted() - before


async def test_errors_reach_the_caller(world: World) -> None:
    """A fault of the request is raised as what it is."""
    with pytest.raises(MeshError) as caught:
        await stub_of(world).Predict(asking(""))
    assert Reason.MISSING_KEY is caught.value.reason
