"""What gateways report, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.traffic_pb2 import ArmTotals, Histogram, ShadowExample, ShadowTotals
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.mesh.errors import Code, MeshError, Reason
from tests.support.definitions import version
from tests.support.registry import Client


@pytest.fixture
async def released(full: Client) -> Client:
    """The endpoint churn with a release of 1.1.0 under way, which nothing decides."""
    await full.register(version("1.1.0"))
    await full.releases.StartRelease(
        pb.StartReleaseRequest(endpoint="churn", candidate="1.1.0", force=True, reason="a test")
    )
    return full


async def report(client: Client, instance: str, sequence: int, *arms: ArmTotals, **parts: Any) -> None:
    """Report as a gateway."""
    request = pb.ReportTrafficRequest(instance_id=instance, sequence=sequence, arms=arms, **parts)
    await client.releases.ReportTraffic(request)


def arm(requests: int, number: str = "1.1.0", **parts: Any) -> ArmTotals:
    """Requests of the first step, each of about a millisecond."""
    standard: dict[str, Any] = {"release_id": 1, "latency": Histogram(bins=[80], counts=[requests])}
    return ArmTotals(endpoint="churn", version=number, requests=requests, **standard | parts)


async def test_evidence_of_all_gateways_is_one(released: Client) -> None:
    """Repeated and delayed reports change nothing."""
    await report(released, "a", 1, arm(10), arm(100, "1.0.0"))
    await report(released, "a", 2, arm(30, errors=1))
    await report(released, "b", 1, arm(5))
    await report(released, "a", 1, arm(10), arm(100, "1.0.0"))
    response = await released.releases.GetRelease(pb.GetReleaseRequest(endpoint="churn"))
    (step,) = response.steps
    assert (35, 1, 100, 0) == (step.candidate.requests, step.candidate.errors, step.stable.requests, step.stable.errors)
    assert 1024 <= step.candidate.p99_us <= 1117


async def test_a_wrong_report_is_refused_by_its_fields(released: Client) -> None:
    """All that is wrong is told at once, and nothing is taken."""
    with pytest.raises(MeshError) as caught:
        await report(released, "a", 1, arm(5), arm(10, "1.0.0", errors=11), shadows=[ShadowTotals(rows=-1)])
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT) == (caught.value.code, caught.value.reason)
    assert ["arms[1].errors", "shadows[0].rows"] == [each.field for each in caught.value.violations]
    response = await released.releases.GetRelease(pb.GetReleaseRequest(endpoint="churn"))
    assert 0 == sum(step.candidate.requests for step in response.steps)


async def test_shadows_come_back_as_reported(released: Client) -> None:
    """Examples with all their values included; an endpoint that is not there is NOT_FOUND."""
    tensor = Tensor(name="y", data_type=DataType.DATA_TYPE_FP32, shape=[1], floats=[0.25])
    example = ShadowExample(prediction_id="p", row=2, difference=0.5, primary=[tensor], shadow=[tensor])
    example.as_of.FromSeconds(1_700_000_000)
    totals = ShadowTotals(
        endpoint="churn",
        primary="1.0.0",
        shadow="1.1.0",
        rows=4,
        exact_rows=3,
        tolerant_rows=3,
        differences=Histogram(bins=[0, 40], counts=[3, 1]),
        difference_sum=-0.5,
        worst=[example],
        last_time=Timestamp(seconds=1_700_000_001),
    )
    await report(released, "a", 1, shadows=[totals])
    response = await released.releases.GetShadowReport(pb.GetShadowReportRequest(endpoint="churn"))
    assert [totals] == list(response.shadows)
    with pytest.raises(MeshError) as caught:
        await released.releases.GetShadowReport(pb.GetShadowReportRequest(endpoint="none"))
    assert (Code.NOT_FOUND, Reason.UNKNOWN_ENDPOINT) == (caught.value.code, caught.value.reason)
