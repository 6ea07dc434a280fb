"""What model processes report."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as pb
from services.mesh.errors import MeshError, Reason
from tests.support.registry import Client


async def test_a_report_is_listed_as_it_was_said(full: Client) -> None:
    """With the process, the time and every status."""
    version = (await full.snapshot()).models[0].versions[0]
    await full.report(version, state=RuntimeState.RUNTIME_STATE_FAILED, message="no memory", load_time_us=5)
    (instance,) = (await full.stub.ListRuntimes(pb.ListRuntimesRequest())).instances
    (status,) = instance.runtimes
    assert instance.instance_id == "model-1"
    assert instance.report_time.seconds > 0
    assert (status.model, status.version, status.digest) == ("churn", "1.0.0", version.digest)
    assert (status.state, status.message, status.load_time_us) == (RuntimeState.RUNTIME_STATE_FAILED, "no memory", 5)
    assert not status.HasField("state_time")


async def test_a_process_learns_when_it_will_be_forgotten(empty: Client) -> None:
    """It reports again before."""
    response = await empty.stub.ReportRuntime(pb.ReportRuntimeRequest(instance_id="m"))
    assert response.expires_in_ms == 15_000


async def test_reports_are_not_in_the_log(full: Client) -> None:
    """They are forgotten with the process that holds them."""
    await full.report((await full.snapshot()).models[0].versions[0])
    assert (await full.snapshot()).revision == 3


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (pb.ReportRuntimeRequest(), Reason.MISSING_FIELD),
        (
            pb.ReportRuntimeRequest(instance_id="m", runtimes=[RuntimeStatus(state_time=Timestamp(seconds=2**60))]),
            Reason.INVALID_ARGUMENT,
        ),
    ],
)
async def test_a_bad_report_is_refused(empty: Client, report: pb.ReportRuntimeRequest, reason: Reason) -> None:
    """And changes nothing."""
    with pytest.raises(MeshError) as caught:
        await empty.stub.ReportRuntime(report)
    assert caught.value.reason == reason
    assert not (await empty.stub.ListRuntimes(pb.ListRuntimesRequest())).instances
