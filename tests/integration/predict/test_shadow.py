"""A shadow through the whole mesh: how its answers compare, and that callers never notice it."""

from __future__ import annotations

import pytest_asyncio

from predictmesh.registry.v1.endpoint_pb2 import Shadow
from predictmesh.registry.v1.release_service_pb2 import GetShadowReportRequest
from predictmesh.registry.v1.traffic_pb2 import ShadowTotals
from tests.support.onnx_models import linear
from tests.worlds.models import tardy
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, TIMEOUT_S, Sandbox, eventually

RIDER = {"rider_id": "STRING"}
TRIPS = [1.0, 2.0, 4.0]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def doubled(own: Sandbox) -> Sandbox:
    """Endpoint `trips` answers the trips of a rider; its shadow answers twice as many."""
    await own.view(view("rider", field("trips"), entity="rider", keys=RIDER))
    await own.model("trips")
    for version, scale in (("1.0.0", 1.0), ("2.0.0", 2.0)):
        await own.register("trips", version, linear(scale, width=1), {"x": ["rider:trips"]})
        await own.until_runtime("trips", version)
    shadow = Shadow(selector="2.0.0", percent=100, absolute_tolerance=1, relative_tolerance=0.5)
    await own.endpoint("trips", "trips", version="1.0.0", shadow=shadow)
    await own.write("rider", {"rider_id": ["a", "b", "c"]}, {"trips": TRIPS})
    return own


async def reported(own: Sandbox, endpoint: str, requests: int) -> ShadowTotals:
    """Return the report once the registry has it of so many rows, failed and dropped requests."""
    found = ShadowTotals()

    async def enough() -> bool:
        request = GetShadowReportRequest(endpoint=own.full(endpoint))
        for totals in (await own.mesh.releases.GetShadowReport(request, timeout=TIMEOUT_S)).shadows:
            found.CopyFrom(totals)
        return found.rows + found.errors + found.dropped >= requests

    await eventually(enough, "the report of the shadow")
    return found


async def test_report(doubled: Sandbox) -> None:
    """Agreement, differences and the worst rows with both answers; the caller has the primary's."""
    answer = await doubled.predict("trips", {"rider_id": ["a", "b", "c"]}, prediction_id="mine")
    assert TRIPS == values(answer.outputs[0])
    report = await reported(doubled, "trips", 3)
    assert ("1.0.0", "2.0.0") == (report.primary, report.shadow)
    assert (3, 0, 2, 0, 0) == (
        report.rows, report.exact_rows, report.tolerant_rows, report.errors, report.dropped,
    )  # fmt: skip
    assert ([41, 42, 43], [1, 1, 1]) == (list(report.differences.bins), list(report.differences.counts))
    assert 7 == report.difference_sum
    worst = report.worst[0]
    assert ("mine", 2, 4.0) == (worst.prediction_id, worst.row, worst.difference)
    assert [("rider_id", ["c"])] == [(each.name, list(each.strings)) for each in worst.entities]
    assert ([4.0], [8.0]) == (values(worst.primary[0]), values(worst.shadow[0]))
    assert NOON_US == worst.as_of.ToMicroseconds()


async def test_shadow_that_is_slow(own: Sandbox) -> None:
    """Callers have their answers while a shadow would take longer than it is given: it fails alone."""
    await own.model("slow")
    for version, turns in (("1.0.0", 1), ("2.0.0", 50_000)):
        await own.register("slow", version, tardy(turns), {"x": ["request:x"]})
        await own.until_runtime("slow", version)
    shadow = Shadow(selector="2.0.0", percent=100)
    await own.endpoint("slow", "slow", version="1.0.0", default_timeout_ms=20, shadow=shadow)
    for _ in range(20):
        answer = await own.predict("slow", {}, {"x": [3.0]})
        assert ([3.0], "1.0.0") == (values(answer.outputs[0]), answer.provenance.version)
        assert not answer.provenance.degradations
    report = await reported(own, "slow", 20)
    assert (0, 20) == (report.rows, report.errors + report.dropped)
