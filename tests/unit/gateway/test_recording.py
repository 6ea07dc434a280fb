"""Keeping predictions for their outcomes: which, in what batches, and what happens while nobody takes them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import release_pb2
from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_BINARY, Endpoint, OutcomePolicy, Route
from services.gateway import recording
from services.gateway.policies import OutcomeKind
from services.gateway.recording import MAX_BATCH, Recorder
from services.gateway.splitting import sampled
from services.mesh.errors import Code, MeshError, Reason, RemoteError
from tests.support.predictions import StoredRow, call, column, snapshot, version, view
from tests.support.quality import MemoryQuality, away
from tests.support.waiting import eventually
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "t:BYTES")
BOUND = {"x:FP32": ["rider:a"], "t:BYTES": ["rider:t"]}
OUTPUTS = ("text:BYTES", "y:FP32:2")
NOW_US = 3_000_000
MAX_ROWS = 5_000


class RecordingWorld(World):
    """A gateway that keeps predictions of endpoint m, whose score is the second element of y."""

    def __init__(self, quality: MemoryQuality) -> None:
        self.quality = quality
        self.recorder = Recorder(quality.keep, max_waiting_rows=MAX_ROWS, now_us=lambda: NOW_US)
        self.before = {reason: _lost(reason) for reason in ("queue_full", "no_score", "refused", "stopped")}
        rows: dict[object, StoredRow] = {"a": StoredRow({"rider:a": 2.0}), "broken": StoredRow({"rider:t": b"broken"})}
        super().__init__(rows, self.recorder)
        self.define()

    def define(self, release: Any = None, **policy: Any) -> None:
        """Keep predictions by a policy."""
        fixed = {"output": "y", "element": 1, "kind": OUTCOME_KIND_BINARY, "expire_ms": 1_000}
        endpoint = Endpoint(name="m", model="m", route=Route(version="1.0.0"))
        endpoint.outcomes.CopyFrom(OutcomePolicy(**{**fixed, **policy}))
        versions = [version(BOUND, OUTPUTS), version(BOUND, OUTPUTS, number="1.1.0", digest="e")]
        versions.append(version(BOUND, ("other:FP32",), number="2.0.0", digest="f"))
        defined = snapshot(RIDER, versions=versions, endpoints=[endpoint])
        if release is not None:
            defined.releases.append(release)
        self.flow.use(self.tables.build(defined))

    async def predict(self, *riders: str, **parts: Any) -> str:
        """Answer a request, and return the prediction's name."""
        return (await self.flow.run(call(column("rider_id", *riders or "a"), **parts))).prediction_id

    def lost(self, reason: str) -> float:
        """Return how many predictions were lost since the world began."""
        return _lost(reason) - self.before[reason]

    async def kept(self, *names: str) -> None:
        """Return once these and no others are kept."""
        await eventually(lambda: set(names) == self.quality.kept.keys())


def _lost(reason: str) -> float:
    return REGISTRY.get_sample_value("predictmesh_predictions_lost_total", {"reason": reason}) or 0


@pytest.fixture
async def world() -> AsyncIterator[RecordingWorld]:
    """A gateway that keeps every prediction."""
    made = RecordingWorld(MemoryQuality())
    async with made.recorder:
        yield made


async def test_what_is_kept(world: RecordingWorld) -> None:
    """The score of each row, and until when its outcome may come, by the clock and not by as_of."""
    name = await world.predict("a", "broken", "other", as_of_us=7)
    await world.kept(name)
    record = world.quality.kept[name]
    assert [3.0, 1.0] == [record.scores[0], record.scores[2]]
    assert math.isnan(record.scores[1])
    assert ("m", "m", "1.0.0", 0, 0) == (record.endpoint, record.model, record.version, record.release_id, record.step)
    assert (7, NOW_US + 1_000_000, OutcomeKind.BINARY) == (record.as_of_us, record.expire_us, record.kind)
    assert record.served is None


async def test_release_that_chose_the_version(world: RecordingWorld) -> None:
    """Outcomes are evidence of the step in which the prediction was made; not where the caller named the version."""
    plan = release_pb2.ReleasePlan(steps=[0, 100])
    release = release_pb2.Release(endpoint="m", id=9, stable="1.0.0", candidate="1.1.0", plan=plan, step=1)
    release.state = release_pb2.RELEASE_STATE_RUNNING
    world.define(release)
    by_release, by_pin = await world.predict(), await world.predict(pin="1.1.0")
    await world.kept(by_release, by_pin)
    found = [world.quality.kept[name] for name in (by_release, by_pin)]
    assert [("1.1.0", 9, 1), ("1.1.0", 0, 0)] == [(each.version, each.release_id, each.step) for each in found]


async def test_share_by_prediction_id(world: RecordingWorld) -> None:
    """The same predictions are chosen again; captured ones are among them."""
    world.define(sample_percent=50, capture_percent=20)
    ids = [f"prediction {number}" for number in range(40)]
    for name in ids:
        await world.predict(prediction_id=name)
    await world.kept(*(name for name in ids if sampled("outcome", name, 50)))
    captured = {name for name, record in world.quality.kept.items() if record.served is not None}
    assert {name for name in ids if sampled("outcome", name, 20)} == captured
    assert 0 < len(captured) < len(world.quality.kept) < 40


async def test_explanations_are_no_predictions(world: RecordingWorld) -> None:
    """They are for people."""
    await world.predict(explain=True)
    name = await world.predict()
    await world.kept(name)


async def test_version_without_the_score(world: RecordingWorld) -> None:
    """A caller may name a version that has no such output: there is nothing to keep."""
    await world.predict(pin="2.0.0")
    assert 1 == world.lost("no_score")
    world.define(output="text")
    await world.predict()
    world.define(element=2)
    await world.predict()
    assert 3 == world.lost("no_score")


async def test_repeats_count_once(world: RecordingWorld) -> None:
    """The first of a name stands."""
    await world.predict("a", prediction_id="mine")
    await world.predict("other", prediction_id="mine")
    await world.kept("mine")
    assert [["mine"]] == world.quality.batches
    assert [3.0] == world.quality.kept["mine"].scores


async def test_settled_at_once(world: RecordingWorld) -> None:
    """A prediction whose outcome is there is not waited for; one that does not wait needs nothing."""
    name = await world.predict()
    await world.recorder.settle(name)
    assert name in world.quality.kept
    await world.recorder.settle(name)
    assert 1 == len(world.quality.batches)


async def test_settling_waits_for_the_batch_under_way(world: RecordingWorld) -> None:
    """What is being sent is not kept yet, and not sent twice."""
    world.quality.gate.clear()
    name = await world.predict()
    settling = [asyncio.create_task(world.recorder.settle(name)) for _ in range(3)]
    await eventually(lambda: len(world.quality.batches) == 1)
    assert not any(task.done() for task in settling)
    world.quality.gate.set()
    await asyncio.gather(*settling)
    assert 1 == len(world.quality.batches)


async def test_settling_says_why_it_fails(world: RecordingWorld) -> None:
    """And the prediction waits on."""
    name = await world.predict()
    world.quality.failures = [away()]
    with pytest.raises(MeshError, match="cannot be reached"):
        await world.recorder.settle(name)
    await world.recorder.settle(name)
    assert name in world.quality.kept


async def test_batches_are_no_larger_than_the_registry_takes(world: RecordingWorld) -> None:
    """A thousand at a time, and as soon as so many wait."""
    ids = [f"{number}" for number in range(2 * MAX_BATCH + 1)]
    world.quality.gate.clear()
    for start in range(0, len(ids), 100):
        await asyncio.gather(*(world.predict(prediction_id=name) for name in ids[start : start + 100]))
    world.quality.gate.set()
    await world.kept(*ids)
    assert MAX_BATCH == max(map(len, world.quality.batches))


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED])
async def test_registry_that_comes_back_gets_everything(
    world: RecordingWorld, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not take is sent again with what has come since, in order."""
    monkeypatch.setattr(recording, "RETRY_S", 0.01)
    world.quality.failures = [RemoteError(code, Reason.UPSTREAM_UNAVAILABLE, "not now") for _ in range(3)]
    first = await world.predict()
    await eventually(lambda: len(world.quality.failures) == 0)
    second = await world.predict()
    await world.kept(first, second)
    assert first == world.quality.batches[-1][0] or [first] in world.quality.batches[1:]


@pytest.mark.parametrize(
    "failure", [RemoteError(Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT, "no"), RuntimeError("a fault of ours")]
)
async def test_what_is_refused_is_given_up(world: RecordingWorld, failure: Exception) -> None:
    """It would be refused for ever, and hold up the others."""
    world.quality.failures = [failure]
    refused = await world.predict()
    await eventually(lambda: world.lost("refused") == 1)
    name = await world.predict()
    await world.kept(name)
    assert refused not in world.quality.kept


async def test_no_more_wait_than_there_is_room_for(world: RecordingWorld) -> None:
    """Rows count; callers are answered all the same."""
    world.quality.gate.clear()
    names = [await world.predict(*["a"] * 50, prediction_id=f"{number}") for number in range(MAX_ROWS // 50)]
    await world.predict()
    assert 1 == world.lost("queue_full")
    world.quality.gate.set()
    await world.kept(*names)
    names.append(await world.predict(*["a"] * 50))
    await world.kept(*names)
    assert 1 == world.lost("queue_full")


async def test_captured_features_have_their_own_bound(world: RecordingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may be large: beyond it predictions are kept without, and nothing of a batch is held but their own rows."""
    # Two of three: a row has a float, and a text whose place takes eight bytes.
    monkeypatch.setattr(recording, "MAX_FEATURE_BYTES", 2 * (4 + 8))
    world.define(capture_percent=100)
    world.quality.gate.clear()
    names = [await world.predict(prediction_id=f"{number}") for number in range(3)]
    world.quality.gate.set()
    await world.kept(*names)
    served = [world.quality.kept[name].served for name in names]
    assert [True, True, False] == [each is not None for each in served]
    assert not any(each.outcome.outputs for each in served if each)
    later = await world.predict()
    await world.kept(*names, later)
    assert world.quality.kept[later].served is not None


async def test_what_waits_is_sent_at_the_end() -> None:
    """A gateway that stops loses nothing that the registry would take."""
    world = RecordingWorld(MemoryQuality())
    async with world.recorder:
        name = await world.predict()
    assert [name] == list(world.quality.kept)


async def test_end_does_not_wait_for_a_registry_that_is_away() -> None:
    """What it would have kept is counted."""
    world = RecordingWorld(MemoryQuality())
    async with world.recorder:
        await world.predict()
        world.quality.failures = [away(), away()]
    assert 1 == world.lost("stopped")


async def test_waiting_predictions_are_a_metric(world: RecordingWorld) -> None:
    """As long as they are not kept."""
    world.quality.gate.clear()
    name = await world.predict()
    assert 1 == REGISTRY.get_sample_value("predictmesh_predictions_waiting")
    world.quality.gate.set()
    await world.kept(name)
    await eventually(lambda: REGISTRY.get_sample_value("predictmesh_predictions_waiting") == 0)
