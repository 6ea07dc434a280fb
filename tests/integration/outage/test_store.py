"""The store dies under load: what was read last is served, a view that rejects what may be old fails, and all of it is said."""

from __future__ import annotations

import re

import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import DEGRADATION_REASON_STORE_UNREACHABLE
from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from tests.support.onnx_models import linear
from tests.worlds.failures import failure
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import field, tensor, values, view
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic

REASON = "DEGRADATION_REASON_STORE_UNREACHABLE"
# Of each feature service, so that it has read every rider.
READ_ROWS = 300


@pytest_asyncio.fixture(loop_scope="session")
async def strict(own: Sandbox, whole: Parts) -> Sandbox:
    """Endpoints `strict` and `laddered` beside `ride`: their view rejects what is too old."""
    keys = {"rider_id": "STRING"}
    rejecting = view("balance", field("euros"), entity="rider", keys=keys, max_age_s=3_600, policy="REJECT")
    await own.view(rejecting)
    await own.model("pay")
    await own.register("pay", "1.0.0", linear(1.0, width=1), {"x": ["balance:euros"]})
    await own.until_runtime("pay", "1.0.0", processes=len(whole.models))
    await own.endpoint("strict", "pay", version="1.0.0")
    static = Fallback(answer=StaticAnswer(outputs=[tensor("y", [-1.0])]))
    await own.endpoint("laddered", "pay", version="1.0.0", fallbacks=[static])
    return own


def counted(own: Sandbox, endpoint: str, reason: str) -> str:
    """Return the name of the counter of an endpoint's answers that were degraded for a reason."""
    return f'predictmesh_degradations_total{{endpoint="{own.full(endpoint)}",reason="{reason}"}}'


def total(part: Part, name: str) -> float:
    """Return the sum of a counter over its labels."""
    return sum(float(each) for each in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", part.metrics(), re.MULTILINE))


def from_the_store(part: Part) -> float:
    """Return how many rows a feature service has read."""
    name = "predictmesh_feature_values"
    return total(part, f"{name}_read_total") - total(part, f"{name}_unreached_total")


async def until_read(whole: Parts) -> None:
    """Wait until each feature service has read enough rows."""
    before = [from_the_store(part) for part in whole.features]

    async def read() -> bool:
        now = [from_the_store(part) for part in whole.features]
        return all(later - earlier > READ_ROWS for earlier, later in zip(before, now, strict=True))

    await eventually(read, "reads of every replica")


async def test_the_store_is_killed_and_comes_back(own: Sandbox, whole: Parts) -> None:
    """No call fails: answers are those of the values last read, and say so until the store is back."""
    async with traffic(own, "ride") as calls:
        await until_read(whole)
        whole.store.kill()

        async def degraded() -> bool:
            return calls.degradations[REASON] > 200

        await eventually(degraded, "degraded answers")
        request = own.request("ride", {"rider_id": ["r1", "nobody"]})
        why = await own.mesh.gateway.Explain(gateway_pb.ExplainRequest(request=request), timeout=10)
        whole.store.start()

        async def well() -> bool:
            before = calls.degradations[REASON]
            await calls.more(50)
            return before == calls.degradations[REASON]

        await eventually(well, "answers of the store")
    assert not calls.wrong, calls.wrong[:2]
    calls.flawless()
    assert [gateway_pb.VALUE_ORIGIN_MEMORY, gateway_pb.VALUE_ORIGIN_NULL] == [each.origin for each in why.inputs]
    (told,) = why.prediction.provenance.degradations
    assert (DEGRADATION_REASON_STORE_UNREACHABLE, own.full("rider"), []) == (told.reason, told.subject, list(told.rows))
    assert sum(total(part, "predictmesh_feature_values_unreached_total") for part in whole.features) > 200
    assert counted(own, "ride", "STORE_UNREACHABLE") in whole.gateway.metrics()


async def test_a_view_that_rejects_what_is_too_old(strict: Sandbox, whole: Parts) -> None:
    """What nobody has read may be of any age: the row fails with STORE_UNAVAILABLE, unless a ladder answers it."""
    whole.store.kill()
    found = await failure(strict.predict("strict", {"rider_id": ["r1"]}))
    assert ("UNAVAILABLE", "STORE_UNAVAILABLE") == (found.code, found.reason)
    brought = await strict.predict("strict", {"rider_id": ["r1"]}, {"balance:euros": [4.0]})
    assert ([4.0], []) == (values(brought.outputs[0]), list(brought.provenance.degradations))
    answer = await strict.predict("laddered", {"rider_id": ["r1"]})
    assert ([-1.0], "STORE_UNAVAILABLE") == (values(answer.outputs[0]), answer.provenance.ladder[0].reason)


async def test_the_store_hangs(own: Sandbox, whole: Parts) -> None:
    """Every call is answered while the store keeps its connections and answers nothing."""
    async with traffic(own, "ride") as calls:
        await until_read(whole)
        with whole.store.hanging():

            async def degraded() -> bool:
                return calls.degradations[REASON] > 200

            await eventually(degraded, "degraded answers")
        await calls.more(50)
    assert not calls.wrong, calls.wrong[:2]
    calls.flawless()
