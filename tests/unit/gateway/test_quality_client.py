"""Predictions and outcomes on their way to the registry: how large messages are, and what its answers mean."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import quality_service_pb2 as pb
from services.gateway.outcomes import Outcome
from services.gateway.quality_client import QualityClient
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, Internal, InvalidArgument, MeshError, Overloaded, Reason, RemoteError
from services.mesh.replicas import only
from services.mesh.status import to_status
from tests.support.quality import away, record
from tests.unit.gateway.captured import explained


class Registry:
    """The stub of the registry: notes what it is asked, and answers what a test wants."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.timeouts: list[float] = []
        self.failures: list[Exception] = []
        self.results: list[pb.OutcomeResult] | None = None

    async def RecordPredictions(
        self, request: pb.RecordPredictionsRequest, *, timeout: float
    ) -> pb.RecordPredictionsResponse:
        self._note(request, timeout)
        return pb.RecordPredictionsResponse()

    async def RecordOutcomes(self, request: pb.RecordOutcomesRequest, *, timeout: float) -> pb.RecordOutcomesResponse:
        self._note(request, timeout)
        if self.results is not None:
            return pb.RecordOutcomesResponse(results=self.results)
        return pb.RecordOutcomesResponse(results=[pb.OutcomeResult() for _ in request.outcomes])

    def _note(self, request: Any, timeout: float) -> None:
        self.requests.append(request)
        self.timeouts.append(timeout)
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def registry() -> Registry:
    """A registry that takes everything."""
    return Registry()


def client(registry: Registry, max_message_bytes: int = 1_000_000) -> QualityClient:
    """Return a client of the registry."""
    return QualityClient(only(cast("Any", registry)), max_message_bytes=max_message_bytes)


async def test_predictions_go_in_messages_that_can_be_taken(registry: Registry) -> None:
    """All of them, in order, in messages below the limit."""
    names = [f"{number:064}" for number in range(40)]
    await client(registry, 4_000).keep([record(name) for name in names])
    assert names == [each.prediction_id for request in registry.requests for each in request.predictions]
    assert 1 < len(registry.requests) < 40
    assert max(request.ByteSize() for request in registry.requests) < 4_000


async def test_nothing_is_sent_of_nothing(registry: Registry) -> None:
    """No call without a prediction."""
    await client(registry).keep([])
    assert not registry.requests


async def test_registry_that_is_away_is_asked_again(registry: Registry) -> None:
    """Twice; then the failure is the caller's, without addresses."""
    registry.failures = [away()]
    await client(registry).keep([record("p")])
    registry.failures = [away(), away(), away()]
    with pytest.raises(MeshError, match="registry cannot be reached") as caught:
        await client(registry).record([Outcome("p", 0, 1, 1)], Deadline.after(5))
    assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE) == (caught.value.code, caught.value.reason)


async def test_outcomes_have_their_callers_time(registry: Registry) -> None:
    """The batch's deadline is the call's."""
    await client(registry).record([Outcome("p", 0, 1, 1)], Deadline.after(3))
    assert 2 < registry.timeouts[0] <= 3


async def test_each_outcome_has_its_result(registry: Registry) -> None:
    """In their order."""
    registry.results = [pb.OutcomeResult(existed=True), pb.OutcomeResult(error=to_status(away()))]
    existed, error = await client(registry).record([Outcome("p", row, 1, 1) for row in range(2)], Deadline.after(5))
    assert existed is True
    assert isinstance(error, MeshError)


async def test_registry_that_leaves_results_out_is_at_fault(registry: Registry) -> None:
    """Nobody may take another's result for his own."""
    registry.results = [pb.OutcomeResult()]
    with pytest.raises(Internal, match="each outcome"):
        await client(registry).record([Outcome("p", row, 1, 1) for row in range(2)], Deadline.after(5))


async def test_features_that_are_too_large_are_left_out(registry: Registry) -> None:
    """The prediction is kept all the same, and what is lost is counted."""
    lost = REGISTRY.get_sample_value("predictmesh_features_lost_total") or 0
    large = record("large", served=await explained(*["known"] * 100))
    await client(registry, 4_000).keep([large, record("small")])
    assert [("large", False), ("small", False)] == [
        (each.prediction_id, each.HasField("features")) for request in registry.requests for each in request.predictions
    ]
    assert lost + 1 == REGISTRY.get_sample_value("predictmesh_features_lost_total")
    await client(registry).keep([large])
    assert registry.requests[-1].predictions[0].HasField("features")


TOO_LARGE = RemoteError(Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED, "Received message larger than max (9 vs. 8)")


async def test_registry_that_takes_less_than_we_do_gets_no_features(registry: Registry) -> None:
    """What is refused for its size would be refused for ever."""
    lost = REGISTRY.get_sample_value("predictmesh_features_lost_total") or 0
    registry.failures = [TOO_LARGE]
    await client(registry).keep([record("large", served=await explained("known")), record("small")])
    sent = registry.requests[-1].predictions
    assert [("large", False), ("small", False)] == [(each.prediction_id, each.HasField("features")) for each in sent]
    assert lost + 1 == REGISTRY.get_sample_value("predictmesh_features_lost_total")


async def test_what_is_too_large_without_features_is_refused(registry: Registry) -> None:
    """Not to be sent again; unlike what comes to a registry that is overloaded."""
    registry.failures = [TOO_LARGE, TOO_LARGE]
    with pytest.raises(InvalidArgument, match="larger than max"):
        await client(registry).keep([record("p")])
    registry.failures = [Overloaded("", retry_after_s=0.1)]
    with pytest.raises(Overloaded):
        await client(registry).keep([record("p")])


async def test_callers_are_answered_while_much_is_encoded(registry: Registry) -> None:
    """The event loop goes round many times."""
    turns = 0

    async def turn() -> None:
        """Count the turns of the loop."""
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    await client(registry).keep([record("p", [0.5] * 200) for _ in range(2_000)])
    turning.cancel()
    assert turns > 10
