"""Endpoints with a fallback ladder while model or feature services are away: every call is answered, and says by what."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from predictmesh.gateway.v1.provenance_pb2 import LADDER_STEP_KIND_ANSWER
from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from tests.integration.outage.test_replicas import REASONS, replicas
from tests.integration.outage.test_store import counted
from tests.support.onnx_models import linear
from tests.worlds.graphs import ensemble, graph, node
from tests.worlds.parts import Parts
from tests.worlds.resources import tensor, values
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic

FALLBACK = "DEGRADATION_REASON_FALLBACK"
LADDER = [
    Fallback(last_answer_max_age_ms=600_000),
    Fallback(answer=StaticAnswer(outputs=[tensor("y", [-1.0])])),
]


@pytest_asyncio.fixture(loop_scope="session")
async def laddered(own: Sandbox, whole: Parts) -> Sandbox:
    """Endpoints `alone`, of a plain version, and `pair`, of one composed of it and another: both ten times the number."""
    await own.model("twin")
    await own.register("twin", "1.0.0", linear(1.0, width=1), {"x": ["rider:tens"]})
    await own.until_runtime("twin", "1.0.0", processes=len(whole.models))
    await own.model("pair")
    nodes = (node("ride", "ride@1.0.0"), node("twin", "twin@1.0.0"), ensemble("both", "MEAN", ["ride", "twin"]))
    await own.compose("pair", "1.0.0", graph(*nodes, y="both"))
    await own.endpoint("alone", "ride", version="1.0.0", fallbacks=LADDER)
    await own.endpoint("pair", "pair", version="1.0.0", fallbacks=LADDER)
    return own


@pytest.mark.parametrize("endpoint", ["alone", "pair"])
@pytest.mark.parametrize("service", ["features", "model"])
async def test_all_crash(laddered: Sandbox, whole: Parts, endpoint: str, service: str) -> None:
    """Whom the gateway knows has his last answer, anybody else the static one; then all is as before."""
    async with traffic(laddered, endpoint) as calls:
        for replica in replicas(whole, service):
            replica.kill()

        async def fallen() -> bool:
            return calls.degradations[FALLBACK] > 100

        await eventually(fallen, "last answers")
        stranger = await laddered.predict(endpoint, {"rider_id": ["r1", "nobody"]})
        for replica in replicas(whole, service):
            replica.start()
        for replica in replicas(whole, service):
            await replica.until_ready()

        async def well() -> bool:
            before = calls.degradations[FALLBACK]
            await calls.more(50)
            return before == calls.degradations[FALLBACK]

        await eventually(well, "answers of the version")
    calls.flawless()
    assert counted(laddered, endpoint, "FALLBACK") in whole.gateway.metrics()
    assert [10.0, -1.0] == values(stranger.outputs[0])
    route, last, static = stranger.provenance.ladder
    assert route.reason in REASONS
    assert ("127.0.0.1" in route.message, LADDER_STEP_KIND_ANSWER) == (False, static.kind)
    assert ([], [0], [1]) == (list(route.answered_rows), list(last.answered_rows), list(static.answered_rows))


async def test_answers_come_at_once_while_the_hop_is_known_to_fail(laddered: Sandbox, whole: Parts) -> None:
    """Once the circuit breaker is open, a call costs no attempt, and its callers no time."""
    await asyncio.gather(*(laddered.predict("alone", {"rider_id": ["r1"]}) for _ in range(5)))
    for replica in whole.models:
        replica.kill()
    took_s = []
    for _ in range(50):
        started = time.monotonic()
        answer = await laddered.predict("alone", {"rider_id": ["r1"]})
        took_s.append(time.monotonic() - started)
        assert [10.0] == values(answer.outputs[0])
    assert sorted(took_s)[len(took_s) // 2] < 0.1
