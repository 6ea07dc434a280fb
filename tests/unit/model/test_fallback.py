from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from services.mesh.errors import DeadlineExceeded, Overloaded, UpstreamUnavailable
from services.model.calls import Answer, Source
from services.model.datatypes import Array
from services.model.errors import RuntimeFailed, VersionNotLoaded
from services.model.schedule import Limits
from services.model.station import Station
from tests.support.gated_model import GatedModel, PickyModel
from tests.support.stations import batcher, call, station
from tests.support.virtual_time import virtually
from tests.support.waiting import eventually

AWAY = UpstreamUnavailable("away")


def _taught(at: Station, sizes: Iterable[int] = (1, 4), seconds: float = 0.001) -> Station:
    for _ in range(10):
        for rows in sizes:
            at.cost.learn(rows, seconds)
    return at


def _sources(answer: Answer) -> list[Source]:
    if answer.row_sources is None:
        return list(answer.sources)
    return [answer.sources[index] for index in answer.row_sources]


async def test_the_first_choice_answers_while_it_is_well() -> None:
    """Nothing is degraded then, and the other one is not asked."""
    first, second = GatedModel(1), GatedModel(2)
    answer = await batcher(station(first, "triton"), station(second)).infer(call(10))
    assert ([11.0], [Source("triton")]) == (answer.outputs["y"].tolist(), _sources(answer))
    assert [] == second.batches


@pytest.mark.parametrize("by_row", [False, True])
async def test_when_the_first_choice_is_away_the_next_one_answers_and_says_so(by_row: bool) -> None:
    """Also the very call that finds out."""
    first, second = GatedModel(1), GatedModel(2)
    first.failure = AWAY
    queue = batcher(station(first, "triton"), station(second))
    for _ in range(3):
        answer = await queue.infer(call(10, left_ms=[60_000]) if by_row else call(10))
        assert [12.0] == answer.outputs["y"].tolist()
        assert [Source("onnx", "RUNTIME_FAILED", "triton")] == _sources(answer)
    assert 1 == len(first.batches)
    assert "open" == queue.stations[0].breaker.state
    await queue.stations[0].close()


@virtually
async def test_traffic_returns_by_itself() -> None:
    """The runtime is brought back and tried out of the way of calls; then it answers again."""
    first, second = GatedModel(1), GatedModel(2)
    first.failure = AWAY
    queue = batcher(station(first, "triton"), station(second))
    told: list[str] = []
    queue.stations[0].on_health = told.append
    await queue.infer(call(10))
    asked = len(first.batches)
    await eventually(lambda: first.revived > 0)
    first.failure = None
    await eventually(lambda: queue.stations[0].well)
    assert [[0.0], [0.0]] == first.batches[asked:]
    assert [Source("triton")] == _sources(await queue.infer(call(10)))
    assert ["away", ""] == told


@virtually
async def test_a_hung_first_choice_leaves_the_next_one_its_time() -> None:
    """The first runtime gets the time that the caller has, less what the fallback needs at its slowest."""
    first, second = GatedModel(1, prompt=True), GatedModel(2)
    first.gate.clear()
    queue = batcher(_taught(station(first, "triton")), _taught(station(second), seconds=0.05))
    answer = await queue.infer(call(10, left_s=0.3))
    assert [Source("onnx", "RUNTIME_SLOW", "triton")] == _sources(answer)
    assert 0.15 < first.timeouts_s[0] < 0.26


@virtually
async def test_a_first_choice_that_is_too_slow_leaves_the_next_one_its_time() -> None:
    """It is known to take longer than the call has, and asked because it is idle: that may not cost the answer."""
    first, second = GatedModel(1, prompt=True), GatedModel(2)
    queue = batcher(_taught(station(first, "triton"), seconds=10.0), _taught(station(second)))
    first.gate.clear()
    for _ in range(3):
        answer = await queue.infer(call(0, left_s=0.3))
        assert ([2.0], ["onnx"]) == (answer.outputs["y"].tolist(), [source.runtime for source in answer.sources])
    assert max(first.timeouts_s) < 0.29


@virtually
async def test_a_runtime_that_hangs_is_not_asked_for_ever() -> None:
    """After a few batches the breaker opens, and calls go to the next one at once."""
    first, second = GatedModel(1, prompt=True), GatedModel(2)
    first.gate.clear()
    at = _taught(station(first, "triton"))
    queue = batcher(at, _taught(station(second)))
    for _ in range(5):
        await queue.infer(call(10, left_s=0.1))
    assert not at.well
    assert 3 == len(first.batches)
    first.gate.set()
    await eventually(lambda: at.well)


async def test_values_that_fail_are_not_the_runtimes_fault() -> None:
    """A runtime that computes other values stays the first choice, and the bad row fails there."""

    first, second = PickyModel(1), GatedModel(2)
    queue = batcher(station(first, "triton"), station(second))
    answer = await queue.infer(call(1, 13, 3, left_ms=[60_000] * 3))
    assert answer.codes is not None
    assert ([0, 13, 0], [2.0, 0.0, 4.0]) == (answer.codes.tolist(), answer.outputs["y"].tolist())
    assert queue.stations[0].well
    assert [] == second.batches


async def test_a_runtime_that_fails_on_everything_is_at_fault() -> None:
    """A dead backend answers INTERNAL to any values: the next runtime computes."""
    first, second = GatedModel(1), GatedModel(2)
    first.failure = RuntimeFailed("stub")
    queue = batcher(station(first, "triton"), station(second))
    for _ in range(4):
        assert [Source("onnx", "RUNTIME_FAILED", "triton")] == _sources(await queue.infer(call(1)))
    assert not queue.stations[0].well
    await queue.stations[0].close()


async def test_without_a_fallback_calls_are_told_that_the_runtime_is_away() -> None:
    """UNAVAILABLE, so that the caller tries another process; at once while it is known.

    It is told of the version and not of the process, which others would be kept from then.
    """
    first = GatedModel(1)
    first.failure = AWAY
    queue = batcher(station(first, "triton"))
    for _ in range(3):
        with pytest.raises(VersionNotLoaded):
            await queue.infer(call(1, 2, left_ms=[60_000] * 2))
    assert 1 == len(first.batches)
    await queue.stations[0].close()


@virtually
async def test_rows_that_the_first_choice_has_no_room_for_in_time_go_to_the_next() -> None:
    """Urgent rows do not wait behind a long batch; patient ones do, since they can."""
    first, second = GatedModel(1), GatedModel(2)
    queue = batcher(_taught(station(first, "triton"), seconds=5.0), _taught(station(second)))
    first.gate.clear()
    long = asyncio.create_task(queue.infer(call(0)))
    await eventually(lambda: len(first.batches) == 1)
    patient = asyncio.create_task(queue.infer(call(1, left_s=60)))
    await eventually(lambda: queue.queued_rows == 1)
    urgent = await asyncio.wait_for(queue.infer(call(2, left_s=0.5)), timeout=5)
    assert [Source("onnx", "RUNTIME_SATURATED", "triton")] == _sources(urgent)
    first.gate.set()
    assert [Source("triton")] == _sources(await patient)
    await long


@virtually
async def test_rows_of_one_call_may_come_from_two_runtimes() -> None:
    """Each row says from which."""
    first, second = GatedModel(1), GatedModel(2)
    queue = batcher(_taught(station(first, "triton"), seconds=5.0), _taught(station(second)))
    first.gate.clear()
    long = asyncio.create_task(queue.infer(call(0)))
    await eventually(lambda: len(first.batches) == 1)
    mixed = asyncio.create_task(queue.infer(call(1, 2, left_ms=[60_000, 500])))
    await eventually(lambda: len(second.batches) == 1)
    first.gate.set()
    answer = await mixed
    assert [2.0, 4.0] == answer.outputs["y"].tolist()
    assert [Source("triton"), Source("onnx", "RUNTIME_SATURATED", "triton")] == _sources(answer)
    await long


@pytest.mark.parametrize("saturated", [False, True])
@virtually
async def test_the_last_of_three_runtimes_says_what_is_wrong_with_the_first(saturated: bool) -> None:
    """Why the second did not compute is another matter."""
    first, second, third = GatedModel(1), GatedModel(2), GatedModel(3)
    at = [_taught(station(first, "triton"), seconds=5.0), _taught(station(second, "oip")), _taught(station(third))]
    queue = batcher(*at)
    second.failure = AWAY if saturated else Overloaded("full")
    long = None
    if saturated:
        first.gate.clear()
        long = asyncio.create_task(queue.infer(call(0)))
        await eventually(lambda: len(first.batches) == 1)
    else:
        first.failure = AWAY
    answer = await asyncio.wait_for(queue.infer(call(10, left_s=0.5 if saturated else 60)), timeout=5)
    reason = "RUNTIME_SATURATED" if saturated else "RUNTIME_FAILED"
    assert ([13.0], [Source("onnx", reason, "triton")]) == (answer.outputs["y"].tolist(), _sources(answer))
    first.gate.set()
    if long:
        await long
    for each in at:
        await each.close()


async def test_a_runtime_that_goes_away_while_bad_rows_are_parted_from_good_ones() -> None:
    """The good rows are computed by the next one, and the bad one fails there."""

    class Leaving(PickyModel):
        async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
            if len(self.batches) >= 2:
                self.failure = AWAY
            return await super().infer(inputs, timeout_s)

    first, second = Leaving(1), PickyModel(2)
    queue = batcher(station(first, "triton"), station(second))
    answer = await asyncio.wait_for(queue.infer(call(1, 2, 13, 4, left_ms=[60_000] * 4)), timeout=5)
    assert answer.codes is not None
    assert ([0, 0, 13, 0], [3.0, 4.0, 0.0, 6.0]) == (answer.codes.tolist(), answer.outputs["y"].tolist())
    assert not queue.stations[0].well
    await queue.stations[0].close()


@virtually
async def test_bad_values_with_little_time_do_not_count_against_the_runtime() -> None:
    """It gets the time that it needs to show that it computes others."""

    class Slow(PickyModel):
        async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
            if timeout_s < 0.01:
                raise DeadlineExceeded("the time was over")
            return await super().infer(inputs, timeout_s)

    at = _taught(station(Slow(1), "triton"), seconds=0.1)
    queue = batcher(at, _taught(station(GatedModel(2)), seconds=60.0))
    for _ in range(4):
        with pytest.raises(RuntimeFailed):
            await queue.infer(call(13, left_s=2))
    assert at.well


async def test_a_first_choice_that_is_not_loaded_is_told() -> None:
    """The version answers without it, and says that it should not have to."""
    queue = batcher(station(GatedModel(2)), first_choice="triton")
    assert [Source("onnx", "RUNTIME_NOT_READY", "triton")] == _sources(await queue.infer(call(1)))


@virtually
async def test_killing_the_first_choice_under_load_fails_nothing() -> None:
    """Calls in its batches, in its queue and behind it are all answered, and none twice."""
    first, second = GatedModel(1, ahead=1), GatedModel(1)
    limits = Limits(batch_rows=8, rows_in_flight=1000)
    queue = batcher(_taught(station(first, "triton"), (1, 8)), _taught(station(second), (1, 8)), limits=limits)
    first.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(value, left_s=30))) for value in range(100)]
    await eventually(lambda: len(first.batches) > 0)
    first.failure = AWAY
    first.gate.set()
    answers = await asyncio.gather(*calls)
    assert np.arange(1, 101).tolist() == [float(answer.outputs["y"][0]) for answer in answers]
    await queue.stations[0].close()


@virtually
async def test_rows_that_wait_behind_a_hung_batch_are_answered_in_time() -> None:
    """They are not in the batch that hangs, but the runtime that they wait for is the same."""
    first, second = GatedModel(1, ahead=1), GatedModel(2)
    first.gate.clear()
    limits = Limits(batch_rows=32, rows_in_flight=100)
    slow = _taught(station(first, "triton"), (1,), seconds=0.3)
    queue = batcher(slow, _taught(station(second), (1,)), limits=limits)
    hung = [asyncio.create_task(queue.infer(call(value, left_s=60))) for value in range(2)]
    await eventually(lambda: len(first.batches) == 2)
    behind = await asyncio.gather(*(queue.infer(call(value, left_s=3)) for value in range(20)))
    assert {Source("onnx", "RUNTIME_SATURATED", "triton")} == {_sources(answer)[0] for answer in behind}
    first.gate.set()
    await asyncio.gather(*hung)


@virtually
async def test_an_idle_runtime_is_looked_at() -> None:
    """What a restart has lost is brought back before anybody asks, and one that is away is shown as such."""
    model = GatedModel()
    at = station(model)
    await at.warm(4)
    await eventually(lambda: model.revived > 1, within_s=60)
    assert at.well
    model.failure = AWAY
    await eventually(lambda: not at.well, within_s=60)
    model.failure = None
    await eventually(lambda: at.well)
    await at.close()
    assert model.closed
