"""A composed version is a version: weights, pins, releases, shadows and outcomes take it as any other."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import (
    ROUTE_REASON_CANARY,
    ROUTE_REASON_ENDPOINT_WEIGHT,
    ROUTE_REASON_PINNED,
    ROUTE_REASON_STABLE,
)
from predictmesh.registry.v1 import quality_service_pb2 as quality_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_REGRESSION, OutcomePolicy, Route, Shadow, WeightedVersion
from predictmesh.registry.v1.release_pb2 import ErrorRateGuard, LatencyGuard, ReleasePlan
from predictmesh.registry.v1.traffic_pb2 import ShadowTotals
from tests.support.onnx_models import linear
from tests.worlds.compositions import Compositions, output, path
from tests.worlds.failures import failure
from tests.worlds.graphs import ensemble, graph, node
from tests.worlds.resources import field, view
from tests.worlds.sandbox import TIMEOUT_S, eventually

# What each version makes of a rider's trips, of which there are two unless more are stored.
SCALES = {"1.0.0": 1.5, "1.1.0": 2.0, "2.0.0": 3.0}
COMPOSED = {"1.0.0": "MEAN", "1.1.0": "MAX"}
PLAN = ReleasePlan(
    steps=[40, 100],
    min_requests=10**6,
    # What a machine that is busy otherwise does to times is none of the candidate's faults.
    error_rate=ErrorRateGuard(max_increase=0.5),
    latency=LatencyGuard(max_p99_ratio=100),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def versions(whole: Compositions) -> Compositions:
    """Model `scale`: 1.0.0 is the mean of once and twice the trips, 1.1.0 the larger, and 2.0.0 is not composed."""
    own = whole.own
    await own.view(view("rider", field("trips", default=2.0), entity="rider", keys={"rider_id": "STRING"}))
    for name, scale in (("once", 1.0), ("twice", 2.0)):
        await whole.onnx(name, linear(scale, width=1), x=["rider:trips"])
    await own.model("scale")
    nodes = [node(name, f"{name}@1.0.0") for name in ("once", "twice")]
    for number, method in COMPOSED.items():
        await own.compose("scale", number, graph(*nodes, ensemble("both", method, ["once", "twice"]), y="both"))
    await own.register("scale", "2.0.0", linear(3.0, width=1), {"x": ["rider:trips"]})
    await own.until_runtime("scale", "2.0.0")
    return whole


async def ask(versions: Compositions, endpoint: str, rider: str = "r", **parts: str) -> gateway_pb.PredictResponse:
    """Ask for a rider; the answer must be its version's."""
    answer = await versions.own.predict(endpoint, {"rider_id": [rider]}, **parts)
    number = answer.provenance.version
    assert [2 * SCALES[number]] == output(answer)
    assert (number in COMPOSED) == bool(path(answer))
    return answer


async def test_weights_and_pins(versions: Compositions) -> None:
    """Composed and plain versions share an endpoint, and callers may name either."""
    weights = [WeightedVersion(selector="1.0.0", percent=50), WeightedVersion(selector="2.0.0", percent=50)]
    await versions.own.endpoint("weights", "scale", route=Route(weights=weights))
    answers = await asyncio.gather(
        *(ask(versions, "weights", prediction_id=f"{versions.own.namespace}-{number}") for number in range(60))
    )
    told = Counter((each.provenance.version, each.provenance.route_reason) for each in answers)
    assert {(number, ROUTE_REASON_ENDPOINT_WEIGHT) for number in ("1.0.0", "2.0.0")} == set(told)
    for number in SCALES:
        pinned = await ask(versions, "weights", version=number)
        assert (number, ROUTE_REASON_PINNED) == (pinned.provenance.version, pinned.provenance.route_reason)


async def test_alias_and_range(versions: Compositions) -> None:
    """Both lead to a composed version, as soon as each of its nodes is ready."""
    await versions.own.model("scale", champion="1.1.0")
    await versions.own.endpoint("alias", "scale", alias="champion")
    assert "1.1.0" == (await ask(versions, "alias")).provenance.version
    await versions.own.endpoint("range", "scale", route=Route(range="1.x"))
    assert "1.1.0" == (await ask(versions, "range")).provenance.version


async def test_canary(versions: Compositions) -> None:
    """A composed version is released step by step, with evidence of its own, and rolled back."""
    own = versions.own
    await own.endpoint("canary", "scale", version="2.0.0", sticky_key="rider_id")
    start = release_pb.StartReleaseRequest(endpoint=own.full("canary"), candidate="1.1.0", plan=PLAN, actor="test")
    await own.until_served((await own.mesh.releases.StartRelease(start, timeout=TIMEOUT_S)).revision)
    answers = await asyncio.gather(*(ask(versions, "canary", f"r{number}") for number in range(80)))
    told = Counter((each.provenance.version, each.provenance.route_reason) for each in answers)
    assert {("1.1.0", ROUTE_REASON_CANARY), ("2.0.0", ROUTE_REASON_STABLE)} == set(told)

    async def counted() -> bool:
        request = release_pb.GetReleaseRequest(endpoint=own.full("canary"))
        steps = (await own.mesh.releases.GetRelease(request, timeout=TIMEOUT_S)).steps
        return bool(steps) and (steps[0].candidate.requests, steps[0].stable.requests) == (
            told["1.1.0", ROUTE_REASON_CANARY],
            told["2.0.0", ROUTE_REASON_STABLE],
        )

    await eventually(counted, "evidence of both arms")
    rollback = release_pb.RollbackRequest(endpoint=own.full("canary"))
    await own.until_served((await own.mesh.releases.Rollback(rollback, timeout=TIMEOUT_S)).revision)
    assert "2.0.0" == (await ask(versions, "canary")).provenance.version


@pytest.mark.parametrize(("primary", "shadow"), [("1.0.0", "2.0.0"), ("2.0.0", "1.1.0"), ("1.0.0", "1.1.0")])
async def test_shadow(versions: Compositions, primary: str, shadow: str) -> None:
    """Composed versions are compared with others, on either side; the caller has the primary's answer."""
    own, name = versions.own, f"shadow-{primary[:3]}-{shadow[:3]}".replace(".", "-")
    await own.endpoint(name, "scale", version=primary, shadow=Shadow(selector=shadow, percent=100))
    for _ in range(3):
        assert primary == (await ask(versions, name)).provenance.version
    found = ShadowTotals()

    async def enough() -> bool:
        request = release_pb.GetShadowReportRequest(endpoint=own.full(name))
        for totals in (await own.mesh.releases.GetShadowReport(request, timeout=TIMEOUT_S)).shadows:
            found.CopyFrom(totals)
        return found.rows + found.errors + found.dropped >= 3

    await eventually(enough, "the report of the shadow")
    assert (primary, shadow, 0, 0) == (found.primary, found.shadow, found.errors, found.exact_rows)
    assert 2 * (SCALES[shadow] - SCALES[primary]) * found.rows == found.difference_sum


async def test_outcomes(versions: Compositions) -> None:
    """Answers are kept under the composed version, with the features of its nodes, and judged by what came true."""
    own = versions.own
    policy = OutcomePolicy(output="y", kind=OUTCOME_KIND_REGRESSION, capture_percent=100)
    await own.endpoint("outcomes", "scale", version="1.0.0", outcomes=policy)
    answer = await ask(versions, "outcomes")
    request = gateway_pb.RecordOutcomeRequest(prediction_id=answer.prediction_id, label=4.0)
    assert not (await own.mesh.gateway.RecordOutcome(request, timeout=TIMEOUT_S)).existed
    quality = quality_pb.GetQualityRequest(endpoint=own.full("outcomes"))
    (found,) = (await own.mesh.quality.GetQuality(quality, timeout=TIMEOUT_S)).versions
    assert ("1.0.0", 1) == (found.version, found.outcomes)
    export = quality_pb.ExportPredictionsRequest(endpoint=own.full("outcomes"))
    pages = [page async for page in own.mesh.quality.ExportPredictions(export, timeout=TIMEOUT_S)]
    (record,) = [each.prediction for page in pages for each in page.predictions]
    assert ([3.0], "1.0.0") == (list(record.scores), record.version)
    assert [own.full("rider:trips")] == [source.name for source in record.features.sources]


async def test_version_of_a_node_stays(versions: Compositions) -> None:
    """It cannot be deleted while it is one, nor its model; it can as soon as nothing is composed of it."""
    own = versions.own
    await versions.onnx("lent", linear(5.0, width=1), x=["rider:trips"])
    await own.model("borrower")
    await own.compose("borrower", "1.0.0", graph(node("it", "lent@1.0.0"), y="it"))
    lent = registry_pb.DeleteRequest(version=registry_pb.VersionName(model=own.full("lent"), version="1.0.0"))
    for request in (lent, registry_pb.DeleteRequest(model=own.full("lent"))):
        refused = await failure(own.mesh.registry.Delete(request, timeout=TIMEOUT_S))
        assert ("FAILED_PRECONDITION", "IN_USE") == (refused.code, refused.reason)
        assert f"{own.full('borrower')}@1.0.0" in refused.message
    version = registry_pb.VersionName(model=own.full("borrower"), version="1.0.0")
    await own.mesh.registry.Delete(registry_pb.DeleteRequest(version=version), timeout=TIMEOUT_S)
    await own.mesh.registry.Delete(lent, timeout=TIMEOUT_S)
