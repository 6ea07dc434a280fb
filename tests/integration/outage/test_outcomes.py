"""The registry is gone: nothing that came true is acknowledged, and no prediction of the time is forgotten."""

from __future__ import annotations

import grpc

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_REGRESSION, OutcomePolicy
from tests.worlds.failures import failure, failure_of
from tests.worlds.parts import Parts
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually


async def predicted(own: Sandbox) -> str:
    """Predict, and return the prediction's name."""
    return (await own.predict("kept", {"rider_id": ["r7"]})).prediction_id


def recording(own: Sandbox, prediction_id: str) -> grpc.aio.UnaryUnaryCall[
    gateway_pb.RecordOutcomeRequest, gateway_pb.RecordOutcomeResponse
]:  # fmt: skip
    """Begin to record what came true."""
    return own.mesh.gateway.RecordOutcome(
        gateway_pb.RecordOutcomeRequest(prediction_id=prediction_id, label=70), timeout=TIMEOUT_S
    )


async def test_outcomes_wait_for_the_registry(own: Sandbox, whole: Parts) -> None:
    """Callers hear that it is away; when it is back, predictions from before and from then have their outcomes, once."""
    policy = OutcomePolicy(output="y", kind=OUTCOME_KIND_REGRESSION)
    await own.endpoint("kept", "ride", alias="champion", outcomes=policy)
    before = await predicted(own)
    assert not (await recording(own, before)).existed
    whole.registry.kill()
    during = await predicted(own)
    for name in (before, during):
        refused = await failure(recording(own, name))
        assert "UNAVAILABLE" == refused.code
        assert refused.reason in {"UPSTREAM_UNAVAILABLE", "CIRCUIT_OPEN"}
        assert "127.0.0.1" not in refused.message
    whole.registry.start()
    await whole.registry.until_ready()
    known: list[bool] = []

    async def recorded() -> bool:
        try:
            known.append((await recording(own, during)).existed)
        except grpc.aio.AioRpcError as error:
            assert failure_of(error).code == "UNAVAILABLE"  # noqa: PT017 - any other is a failure of the test
            return False
        return True

    await eventually(recorded, "an outcome after the outage")
    assert [False] == known
    assert (await recording(own, during)).existed
    assert (await recording(own, before)).existed
