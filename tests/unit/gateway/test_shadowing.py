"""The second version that is asked as well: what is compared, and what callers never notice of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Route
from services.gateway import shadowing
from services.gateway.agreement import Agreements, Pair, ShadowTotals
from services.gateway.shadowing import MAX_WAITING, Shadowing
from services.gateway.splitting import sampled
from services.mesh import context as calls
from services.mesh.errors import Code, MeshError, Reason, RemoteError
from tests.support.predictions import MemoryFeatures, MemoryModel, StoredRow, call, column, snapshot, version, view
from tests.support.waiting import eventually
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "b:FP32", "t:BYTES")
# The shadow takes one more value: its score is larger by b.
OLD, NEW = {"x:FP32": ["rider:a"]}, {"x:FP32": ["rider:a"], "b:FP32": ["rider:b"]}
ROWS: dict[object, StoredRow] = {"same": StoredRow({"rider:a": 1.0}), "near": StoredRow({"rider:a": 7.0, "rider:b": 0.5}),
        "far": StoredRow({"rider:a": 1.0, "rider:b": 4.0})}  # fmt: skip


class ShadowWorld(World):
    """A gateway whose shadow has services of its own behind it."""

    def __init__(self, agreements: Agreements) -> None:
        self.agreements = agreements
        self.callers_wait = False
        self.before = {result: _count(result) for result in ("compared", "failed", "dropped")}
        self.shadow_features, self.shadow_model = MemoryFeatures(ROWS), MemoryModel()
        self.shadowing = Shadowing(
            self.shadow_features, self.shadow_model, agreements, idle=lambda: self.flow.idle and not self.callers_wait
        )
        super().__init__(ROWS, self.shadowing)

    def define(
        self,
        new: Any = NEW,
        outputs: Any = ("y:FP32",),
        selector: str = "2.0.0",
        primary_outputs: Any = ("y:FP32",),
        **shadow: float,
    ) -> None:
        """Let 1.0.0 answer and another version be its shadow."""
        endpoint = Endpoint(name="m", model="m", route=Route(version="1.0.0"), default_timeout_ms=5_000)
        endpoint.shadow.selector, endpoint.shadow.percent = selector, shadow.pop("percent", 100)
        for name, value in shadow.items():
            setattr(endpoint.shadow, name, value)
        versions = [version(OLD, primary_outputs), version(new, outputs, number="2.0.0", digest=f"{new} {outputs}")]
        self.flow.use(self.tables.build(snapshot(RIDER, versions=versions, endpoints=[endpoint])))

    async def predict(self, *riders: str, **parts: Any) -> list[float]:
        """Return the scores that a caller gets."""
        answer = await self.flow.run(call(column("rider_id", *riders), **parts))
        return [float(score) for score in answer.outcome.outputs[0][:, 0].tolist()]

    async def totals(self, requests: int) -> ShadowTotals:
        """Return the totals once so many requests were compared, failed or dropped."""
        await eventually(lambda: self.counted() >= requests)
        assert self.counted() == requests
        return self.agreements.of(Pair("m", "1.0.0", "2.0.0")).totals()

    def counted(self, *results: str) -> float:
        """Return how many requests had one of the results since the world began."""
        return sum(_count(result) - self.before[result] for result in results or self.before)


def _count(result: str) -> float:
    labels = {"endpoint": "m", "result": result}
    return REGISTRY.get_sample_value("predictmesh_shadow_requests_total", labels) or 0


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ShadowWorld]:
    """A gateway with a shadow for every request."""
    monkeypatch.setattr(shadowing, "FAILED_PAUSE_S", 0.05)
    made = ShadowWorld(Agreements())
    made.define(absolute_tolerance=0.5)
    async with made.shadowing:
        yield made


async def test_rows_are_compared(world: ShadowWorld) -> None:
    """Equal, within the tolerance, and beyond; the caller gets the primary's answers alone."""
    assert [2, 8, 2] == await world.predict("same", "near", "far")
    totals = await world.totals(1)
    assert (3, 1, 2, 0, 0) == (totals.rows, totals.exact_rows, totals.tolerant_rows, totals.errors, totals.dropped)
    assert {0: 1, 39: 1, 43: 1} == totals.differences
    assert 4.5 == totals.difference_sum
    assert (0, 0) == (totals.ranked_rows, totals.top1_rows)


async def test_worst_rows_are_kept_with_both_answers(world: ShadowWorld) -> None:
    """The farthest off stands first, with its keys; equal rows are no example."""
    await world.predict("same", "near", "far", prediction_id="mine", as_of_us=7)
    worst = (await world.totals(1)).worst
    assert [("mine", 2, 4.0, 7), ("mine", 1, 0.5, 7)] == [
        (each.prediction_id, each.row, each.difference, each.as_of_us) for each in worst
    ]
    assert [[("rider_id", "far")], [("rider_id", "near")]] == [
        [(key.name, value) for key, value in each.entities] for each in worst
    ]
    assert [("y", [[2.0]]), ("y", [[6.0]])] == [
        (output.name, values.tolist()) for output, values in (*worst[0].primary, *worst[0].shadow)
    ]


async def test_both_see_the_same_request(world: ShadowWorld) -> None:
    """The same keys, time and values of its own."""
    await world.predict("same", as_of_us=7, features=[column("rider:a", 5.0)])
    totals = await world.totals(1)
    assert 1 == totals.exact_rows
    assert [[7]] == world.shadow_features.as_of_us
    assert [[["same"]]] == world.shadow_features.calls


async def test_share_by_prediction_id(world: ShadowWorld) -> None:
    """The same predictions are chosen again, and about as many as the share says."""
    world.define(percent=30)
    ids = [f"prediction {number}" for number in range(40)]
    for name in ids:
        await world.predict("same", prediction_id=name)
    chosen = sum(sampled("shadow:m", name, 30) for name in ids)
    assert 0 < chosen < 40
    assert chosen == (await world.totals(chosen)).rows


async def test_who_names_a_version_is_left_alone(world: ShadowWorld) -> None:
    """Nor is an explanation compared, or a version with itself."""
    await world.predict("same", pin="1.0.0")
    await world.predict("same", explain=True)
    world.define(selector="1.0.0")
    await world.predict("same")
    await asyncio.sleep(0.05)
    assert 0 == world.counted()
    assert not world.shadow_features.calls


async def test_shadow_that_leads_nowhere_is_none(world: ShadowWorld) -> None:
    """A version that is gone is not asked."""
    world.define(selector="3.0.0")
    assert [2] == await world.predict("same")
    assert not world.shadow_features.calls


@pytest.mark.parametrize(
    "failure",
    [
        RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not loaded"),
        RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "failed"),
        RuntimeError("a fault of ours"),
    ],
    ids=["unavailable", "failed", "fault"],
)
async def test_shadow_that_fails_is_counted(world: ShadowWorld, failure: Exception) -> None:
    """The caller has his answer, and the next request is compared again."""
    world.shadow_model.failures = [failure]
    assert [2] == await world.predict("same")
    assert 1 == (await world.totals(1)).errors
    await world.predict("same")
    totals = await world.totals(2)
    assert (1, 1) == (totals.rows, totals.errors)


async def test_shadow_that_fails_is_seldom_asked(world: ShadowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be slow, and what it computes in vain is taken from callers."""
    monkeypatch.setattr(shadowing, "FAILED_PAUSE_S", 60)
    world.shadow_model.failures = [RemoteError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, "too slow")]
    await world.predict("same")
    await eventually(lambda: world.counted("failed") == 1)
    for _ in range(MAX_WAITING + 1):
        await world.predict("same")
    assert 1 == world.counted("dropped")
    assert 1 == len(world.shadow_model.calls)


async def test_shadow_that_takes_other_requests_fails(world: ShadowWorld) -> None:
    """It would fail these callers if it answered them."""
    world.define(new={"x:FP32": ["hour"]})
    assert [2] == await world.predict("same")
    assert 1 == (await world.totals(1)).errors


async def test_shadow_that_cannot_be_compared_fails(world: ShadowWorld) -> None:
    """Its outputs are others."""
    world.define(outputs=("z:FP32",))
    await world.predict("same")
    totals = await world.totals(1)
    assert (0, 1) == (totals.rows, totals.errors)


async def test_rows_that_one_of_them_failed(world: ShadowWorld) -> None:
    """What both answered is compared, and the request is an error all the same."""
    world.define(new={"x:FP32": ["rider:a"], "t:BYTES": ["rider:t"]})
    world.shadow_features.rows = {"same": ROWS["same"], "far": StoredRow({"rider:a": 1.0, "rider:t": b"broken"})}
    assert [2, 2] == await world.predict("same", "far")
    totals = await world.totals(1)
    assert (1, 1, 1) == (totals.rows, totals.exact_rows, totals.errors)


async def test_shadow_that_hangs_holds_up_nobody(world: ShadowWorld) -> None:
    """A bounded number waits, the rest is dropped, and callers are answered as ever."""
    world.shadow_model.gate.clear()
    await world.predict("same")
    await eventually(lambda: len(world.shadow_model.calls) == 1)
    for _ in range(MAX_WAITING + 5):
        assert [2] == await world.predict("same")
    assert 5 == world.counted("dropped")
    world.shadow_model.gate.set()
    totals = await world.totals(MAX_WAITING + 6)
    assert (MAX_WAITING + 1, 5, 0) == (totals.rows, totals.dropped, totals.errors)


async def test_deadline_of_a_shadow_is_its_own(world: ShadowWorld) -> None:
    """The endpoint's default time from when it is asked, whatever the caller had."""
    await world.predict("same")
    await world.totals(1)
    assert 4 < world.shadow_features.deadlines[0].remaining() <= 5


async def test_shadow_is_no_part_of_the_callers_trace(world: ShadowWorld) -> None:
    """The caller's call has ended."""
    token = calls.use(calls.CallContext("request", calls.new_trace_id(), "", sampled=True))
    await world.predict("same")
    calls.reset(token)
    await world.totals(1)
    assert [None] == world.shadow_features.contexts


async def test_version_that_replaces_the_shadow_is_asked(world: ShadowWorld) -> None:
    """What was in line for the one before is still compared with that."""
    world.shadow_model.gate.clear()
    await world.predict("same")
    await eventually(lambda: len(world.shadow_model.calls) == 1)
    await world.predict("same")
    world.define(new={"x:FP32": ["rider:b"]})
    await world.predict("same")
    world.shadow_model.gate.set()
    totals = await world.totals(3)
    assert (3, 2) == (totals.rows, totals.exact_rows)


async def test_examples_hold_no_large_answers(world: ShadowWorld) -> None:
    """They are for people: of an answer that nobody reads only its name, rows and keys are kept."""
    version_of = ("y:FP32", "image:FP32:2000", "last:FP32")
    world.define(outputs=version_of, primary_outputs=version_of)
    await world.predict("far")
    (example,) = (await world.totals(1)).worst
    assert [["y"], ["y"]] == [[output.name for output, _ in side] for side in (example.primary, example.shadow)]


async def test_nothing_is_kept_of_endpoints_that_are_not_asked(world: ShadowWorld) -> None:
    """Once what was in line is compared, there is no line; the next request makes a new one."""
    for requests in (1, 2):
        await world.predict("same")
        await world.totals(requests)
        await eventually(lambda: not world.shadowing.lines)


async def test_fault_in_one_batch_ends_with_it(world: ShadowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later requests are compared."""
    with monkeypatch.context() as patched:
        patched.setattr(world.shadowing, "_idle", lambda: 1 / 0)
        await world.predict("same")
        await eventually(lambda: not world.shadowing.lines)
    await world.predict("same")
    assert 1 == (await world.totals(1)).rows


async def test_nothing_is_left_under_way() -> None:
    """What a shadow was asked ends with the gateway."""
    world = ShadowWorld(Agreements())
    world.define()
    world.shadow_features.gate.clear()
    async with world.shadowing:
        await world.predict("same")
        await eventually(lambda: len(world.shadow_features.calls) == 1)
    await eventually(lambda: world.shadow_features.cancelled == 1)


async def test_waits_for_callers(world: ShadowWorld) -> None:
    """Nothing is asked while somebody waits for his answer."""
    world.callers_wait = True
    await world.predict("same")
    await asyncio.sleep(0.05)
    assert not world.shadow_features.calls
    world.callers_wait = False
    assert 1 == (await world.totals(1)).rows


async def test_does_not_wait_for_ever(world: ShadowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a load that does not end, a batch is asked now and then."""
    monkeypatch.setattr(shadowing, "LONGEST_WAIT_S", 0.05)
    world.callers_wait = True
    await world.predict("same")
    assert 1 == (await world.totals(1)).rows


async def test_waits_for_the_event_loop(world: ShadowWorld) -> None:
    """Nothing is asked while it has work to do."""
    busy = True

    async def work() -> None:
        """Keep each turn of the loop longer than one at rest."""
        while busy:
            for _ in range(2_000):
                hash("work")
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    await world.predict("same")
    await asyncio.sleep(0.05)
    assert not world.shadow_features.calls
    busy = False
    await working
    assert 1 == (await world.totals(1)).rows


async def test_failed_requests_have_no_shadow(world: ShadowWorld) -> None:
    """There is nothing to compare with."""
    world.model.failures = [RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "failed")]
    with pytest.raises(MeshError):
        await world.predict("same")
    assert not world.shadow_features.calls
