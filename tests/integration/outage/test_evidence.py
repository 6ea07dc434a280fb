"""What gateways count for a release outlives the registry's crash and the gateway's stop, and counts once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest_asyncio

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import ErrorRateGuard, LatencyGuard, ReleasePlan
from tests.support.onnx_models import linear
from tests.worlds.parts import Parts
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually

# A plan that stays at its first step.
STILL = ReleasePlan(
    steps=[30, 100],
    min_requests=10**6,
    error_rate=ErrorRateGuard(max_increase=0.5),
    latency=LatencyGuard(max_p99_ratio=100),
)


@pytest_asyncio.fixture(loop_scope="session")
async def released(own: Sandbox, whole: Parts) -> Sandbox:
    """A release of 1.1.0 at endpoint `ride`, which answers as 1.0.0 does."""
    await own.register("ride", "1.1.0", linear(1.0, width=1), {"x": ["rider:tens"]})
    await own.until_runtime("ride", "1.1.0", processes=len(whole.models))
    request = pb.StartReleaseRequest(endpoint=own.full("ride"), candidate="1.1.0", plan=STILL, actor="test")
    await own.until_served((await own.mesh.releases.StartRelease(request, timeout=TIMEOUT_S)).revision)
    return own


async def ask(own: Sandbox) -> Counter[str]:
    """Ask a hundred times; return the versions that answered."""
    answers = await asyncio.gather(*(own.predict("ride", {"rider_id": ["r1"]}) for _ in range(100)))
    return Counter(answer.provenance.version for answer in answers)


async def until_known(own: Sandbox, answered: Counter[str]) -> None:
    """Wait until the registry knows of these answers, and of no others."""

    async def known() -> bool:
        request = pb.GetReleaseRequest(endpoint=own.full("ride"))
        found = await own.mesh.releases.GetRelease(request, timeout=TIMEOUT_S, wait_for_ready=True)
        counts = {"1.0.0": found.steps[0].stable.requests, "1.1.0": found.steps[0].candidate.requests}
        assert all(counts[version] <= answered[version] for version in counts), (counts, answered)
        return counts == answered

    await eventually(known, f"{answered} at the registry")


async def test_registry_is_killed(released: Sandbox, whole: Parts) -> None:
    """Answers go on; what was counted meanwhile is known when it is back, beside what it knew."""
    answered = await ask(released)
    await until_known(released, answered)
    whole.registry.kill()
    answered += await ask(released)
    whole.registry.start()
    await whole.registry.until_ready()
    await until_known(released, answered)
    answered += await ask(released)
    await until_known(released, answered)


async def test_gateway_is_stopped(released: Sandbox, whole: Parts) -> None:
    """It tells what it has not told yet before it ends; the next one counts by itself."""
    answered = await ask(released)
    await asyncio.to_thread(whole.gateway.stop)
    await until_known(released, answered)
    await whole.up()
    answered += await ask(released)
    await until_known(released, answered)
