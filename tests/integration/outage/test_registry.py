"""The registry is gone: predictions go on, and everything else can start without it."""

from __future__ import annotations

import shutil

import pytest

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import DEGRADATION_REASON_REGISTRY_UNREACHABLE
from tests.integration.outage.test_store import counted
from tests.support.onnx_models import linear
from tests.worlds.parts import Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic


async def ask(own: Sandbox, rider: int = 7) -> gateway_pb.PredictResponse:
    """Ask for one rider."""
    answer = await own.predict("ride", {"rider_id": [f"r{rider}"]})
    assert [10.0 * rider] == values(answer.outputs[0])
    return answer


def says_unreachable(answer: gateway_pb.PredictResponse) -> bool:
    """Whether an answer says that its definitions may be old."""
    return DEGRADATION_REASON_REGISTRY_UNREACHABLE in {each.reason for each in answer.provenance.degradations}


async def test_predictions_go_on(own: Sandbox, whole: Parts) -> None:
    """No call fails when the registry dies; answers say that it is out of reach, until it is back."""
    async with traffic(own, "ride") as calls:
        assert not says_unreachable(await ask(own))
        whole.registry.kill()

        async def unreachable() -> bool:
            return says_unreachable(await ask(own))

        await eventually(unreachable, "the outage in the answers")
        await calls.more()
        assert counted(own, "ride", "REGISTRY_UNREACHABLE") in whole.gateway.metrics()
        whole.registry.start()
        await whole.registry.until_ready()

        async def reachable() -> bool:
            return not says_unreachable(await ask(own))

        await eventually(reachable, "the end of the outage in the answers")
        await calls.more()
    calls.flawless()


async def test_definitions_arrive_again(own: Sandbox, whole: Parts) -> None:
    """After an outage the watches are taken up where they were, and a new version can be released."""
    whole.registry.kill()
    whole.registry.start()
    await whole.registry.until_ready()
    await own.register("ride", "2.0.0", linear(2.0, width=1), {"x": ["rider:tens"]})
    await own.until_runtime("ride", "2.0.0")
    await own.model("ride", champion="2.0.0")
    answer = await own.predict("ride", {"rider_id": ["r3"]})
    assert ([60.0], "2.0.0") == (values(answer.outputs[0]), answer.provenance.version)


@pytest.mark.parametrize("source", ["disk", "objects"])
async def test_a_gateway_starts_without_it(own: Sandbox, whole: Parts, source: str) -> None:
    """From its own disk; or, as a new replica, from object storage."""
    snapshot = whole.directory / "objects" / "snapshots" / "current"
    kept = snapshot.read_bytes()
    revision = (await ask(own)).provenance.snapshot_revision
    whole.registry.kill()
    whole.gateway.kill()
    if source == "disk":
        snapshot.unlink()
    else:
        shutil.rmtree(whole.gateway.directory)
    try:
        whole.gateway.start()
        await whole.gateway.until_ready()
        answer = await ask(own)
    finally:
        snapshot.write_bytes(kept)
    assert says_unreachable(answer)
    assert revision == answer.provenance.snapshot_revision


async def test_the_others_start_without_it(own: Sandbox, whole: Parts) -> None:
    """New replicas of the feature and the model service take definitions and artifacts from object storage."""
    whole.registry.kill()
    for part in (*whole.features, *whole.models):
        part.kill()
        shutil.rmtree(part.directory)
        part.start()
    for part in (*whole.features, *whole.models):
        await part.until_ready()
    async with traffic(own, "ride") as calls:
        await calls.more()
    assert not calls.wrong
