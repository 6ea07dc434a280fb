"""What came true: kept predictions, their outcomes, and the features that they were made from."""

from __future__ import annotations

import asyncio
import math
import uuid

import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1 import quality_service_pb2 as quality_pb
from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_BINARY, OutcomePolicy
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.worlds.failures import failure
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, TIMEOUT_S, Sandbox

RIDER = {"rider_id": "STRING"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scored(own: Sandbox) -> Sandbox:
    """Endpoint `scored` answers what is stored of a rider as his score, and keeps all with their features."""
    fields = (field("score", default=0.5), field("path", length=2, default=[8.0, 9.0]))
    await own.view(view("rider", *fields, entity="rider", keys=RIDER, max_age_s=60, policy="DEFAULT"))
    sources = {"x": ["rider:score"], "y": ["rider:path", "rider.age", "request:hour"]}
    policy = OutcomePolicy(output="x_seen", kind=OUTCOME_KIND_BINARY, capture_percent=100)
    await own.serve("scored", echo(x=("FP32", ()), y=("FP32", (4,))), sources, outcomes=policy)
    await own.write("rider", {"rider_id": ["low", "high"]}, {"score": [0.25, 0.75], "path": [[1.0, 2.0], [3.0, 4.0]]})
    return own


def asked(own: Sandbox, *riders: str, later_s: int = 0) -> gateway_pb.PredictRequest:
    """A request for riders under a new name."""
    hours = {"hour": [7.0] * len(riders)}
    as_of_us = NOON_US + later_s * 1_000_000
    return own.request("scored", {"rider_id": list(riders)}, hours, as_of_us=as_of_us, prediction_id=uuid.uuid4().hex)


async def predicted(own: Sandbox, *riders: str, later_s: int = 0) -> str:
    """Predict riders, and return the prediction's name."""
    request = asked(own, *riders, later_s=later_s)
    return (await own.mesh.gateway.Predict(request, timeout=TIMEOUT_S)).prediction_id


async def record(own: Sandbox, prediction_id: str, row: int = 0, label: float = 1) -> bool:
    """Record what came true, and return whether that was known."""
    request = gateway_pb.RecordOutcomeRequest(prediction_id=prediction_id, row=row, label=label)
    return (await own.mesh.gateway.RecordOutcome(request, timeout=TIMEOUT_S)).existed


async def outcomes(own: Sandbox) -> int:
    """Return how many outcomes count by now."""
    request = quality_pb.GetQualityRequest(endpoint=own.full("scored"))
    found = (await own.mesh.quality.GetQuality(request, timeout=TIMEOUT_S)).versions
    return sum(each.outcomes for each in found)


async def test_outcome_may_follow_at_once(scored: Sandbox) -> None:
    """Of each row once: the registry knows the prediction by then, and counts."""
    before = await outcomes(scored)
    name = await predicted(scored, "low", "high")
    assert [False, False, True] == [await record(scored, name, row, row) for row in (0, 1, 1)]
    assert before + 2 == await outcomes(scored)


async def test_many_at_once(scored: Sandbox) -> None:
    """Each is answered for itself, and counted once."""
    before = await outcomes(scored)
    names = await asyncio.gather(*(predicted(scored, "low") for _ in range(60)))
    found = await asyncio.gather(*(record(scored, name) for name in names for _ in range(2)))
    assert 60 == sum(found)
    assert before + 60 == await outcomes(scored)


@pytest.mark.parametrize(
    ("row", "label", "expected"),
    [
        (0, 0.5, ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ("label",))),
        (0, math.nan, ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ("label",))),
        (1, 1.0, ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ("row",))),
        (2**32 - 1, 1.0, ("INVALID_ARGUMENT", "INVALID_ARGUMENT", ("row",))),
    ],
)
async def test_outcomes_that_cannot_be(
    scored: Sandbox, row: int, label: float, expected: tuple[str, str, tuple[str, ...]]
) -> None:
    """A label or a row that the prediction has not is refused, with its field."""
    name = await predicted(scored, "low")
    request = gateway_pb.RecordOutcomeRequest(prediction_id=name, row=row, label=label)
    assert expected == (await failure(scored.mesh.gateway.RecordOutcome(request, timeout=TIMEOUT_S))).short


async def test_other_label(scored: Sandbox) -> None:
    """The first stands."""
    name = await predicted(scored, "low")
    await record(scored, name, label=1)
    request = gateway_pb.RecordOutcomeRequest(prediction_id=name, label=0)
    refused = await failure(scored.mesh.gateway.RecordOutcome(request, timeout=TIMEOUT_S))
    assert ("ALREADY_EXISTS", "ALREADY_EXISTS") == (refused.code, refused.reason)
    assert await record(scored, name, label=1)


async def test_unknown_prediction(scored: Sandbox) -> None:
    """One that was never made, or explained only."""
    request = asked(scored, "low")
    await scored.mesh.gateway.Explain(gateway_pb.ExplainRequest(request=request), timeout=TIMEOUT_S)
    for name in ("never", request.prediction_id):
        unknown = gateway_pb.RecordOutcomeRequest(prediction_id=name, label=1)
        refused = await failure(scored.mesh.gateway.RecordOutcome(unknown, timeout=TIMEOUT_S))
        assert ("NOT_FOUND", "UNKNOWN_PREDICTION") == (refused.code, refused.reason)


async def test_captured_features_are_those_that_explain_shows(scored: Sandbox) -> None:
    """Values, origins and ages as served: stored, too old, and absent."""
    riders = ("low", "nobody", "high")
    for later_s in (30, 90):
        request = asked(scored, *riders, later_s=later_s)
        explain = gateway_pb.ExplainRequest(request=request)
        explained = await scored.mesh.gateway.Explain(explain, timeout=TIMEOUT_S)
        await scored.mesh.gateway.Predict(request, timeout=TIMEOUT_S)
        await record(scored, request.prediction_id)
        features = (await exported(scored, request.prediction_id)).features
        served = {source.name.removeprefix(f"{scored.namespace}/"): source for source in features.sources}
        assert {"rider:score", "rider:path", "rider.age", "request:hour"} == served.keys()
        for each in explained.inputs:
            source = served[_name(each)]
            assert each.origin == source.origins[each.row]
            assert repr(values(each.value)) == repr(_row(source.values, each.row))
        ages = {each.row: each.age_ms for each in explained.inputs if each.HasField("age_ms")}
        (ages_of_view,) = features.views
        assert scored.full("rider") == ages_of_view.name
        assert {0: later_s * 1_000, 2: later_s * 1_000} == ages
        assert [later_s * 1_000_000, -(2**63), later_s * 1_000_000] == list(ages_of_view.ages_us)


def _name(value: gateway_pb.InputValue) -> str:
    """Return the name of a source as it is captured, without the namespace."""
    match value.source.WhichOneof("kind"):
        case "field":
            return f"rider:{value.source.field.field}"
        case "age_of_view":
            return "rider.age"
        case _:
            return f"request:{value.source.request}"


def _row(tensor: Tensor, row: int) -> list[float]:
    """Return the values of a row."""
    width = math.prod(tensor.shape[1:])
    return values(tensor)[row * width : (row + 1) * width]


async def exported(own: Sandbox, prediction_id: str) -> quality_pb.PredictionRecord:
    """Return what is exported of a prediction."""
    request = quality_pb.ExportPredictionsRequest(endpoint=own.full("scored"))
    async for page in own.mesh.quality.ExportPredictions(request, timeout=TIMEOUT_S):
        for each in page.predictions:
            if each.prediction.prediction_id == prediction_id:
                return each.prediction
    raise AssertionError(f"{prediction_id} is not exported")
