"""What came true of predictions: recorded together, answered one by one."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest

from services.gateway.outcomes import MAX_BATCH, Outcome, OutcomeFlow
from services.mesh import context as calls
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, DeadlineExceeded, Internal, InvalidArgument, MeshError, MissingField, Reason
from tests.support.quality import MemoryQuality, away, record
from tests.support.waiting import eventually


class Here:
    """Predictions that wait in this process: they are kept when they are settled, unless a failure comes first."""

    def __init__(self, quality: MemoryQuality, *waiting: str) -> None:
        self.quality = quality
        self.waiting = set(waiting)
        self.failure: MeshError | None = None

    async def settle(self, prediction_id: str) -> None:
        if self.failure:
            raise self.failure
        if prediction_id in self.waiting:
            await self.quality.keep([record(prediction_id)])


@pytest.fixture
def quality() -> MemoryQuality:
    """The registry, which knows of no prediction yet."""
    return MemoryQuality()


def outcome(prediction_id: str = "p", label: float = 1, row: int = 0) -> Outcome:
    """What came true of a prediction."""
    return Outcome(prediction_id, row, label, 1)


async def test_prediction_that_waits_here_is_handed_over_first(quality: MemoryQuality) -> None:
    """An outcome that follows its prediction at once finds it."""
    flow = OutcomeFlow(quality, Here(quality, "p").settle)
    assert not await flow.run(outcome(), None)
    assert await flow.run(outcome(), None)


async def test_what_arrives_together_is_recorded_together(quality: MemoryQuality) -> None:
    """One call for all that came while one was under way; each hears of its own."""
    quality.kept = {name: record(name) for name in ("a", "b", "c")}
    quality.labels = {("b", 0): 1, ("c", 0): 0}
    quality.gate.clear()
    flow = OutcomeFlow(quality, Here(quality).settle)
    first = asyncio.create_task(flow.run(outcome("a"), None))
    await eventually(lambda: len(quality.outcome_batches) == 1)
    others = [asyncio.create_task(flow.run(outcome(name), None)) for name in ("a", "b", "c", "d")]
    await asyncio.sleep(0)
    quality.gate.set()
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert [1, 4] == [len(batch) for batch in quality.outcome_batches]
    assert [False, True, True] == found[:3]
    refused = [error.reason for error in found[3:] if isinstance(error, MeshError)]
    assert [Reason.ALREADY_EXISTS, Reason.UNKNOWN_PREDICTION] == refused


async def test_batch_is_part_of_its_first_callers_trace(quality: MemoryQuality) -> None:
    """Not of the trace of whoever came before, when the batch before it left."""
    flow = OutcomeFlow(quality, Here(quality).settle)

    async def record_in(trace_id: str) -> None:
        calls.use(calls.CallContext("request", trace_id, "span", sampled=True))
        with contextlib.suppress(MeshError):
            await flow.run(outcome(trace_id), None)

    quality.gate.clear()
    first = asyncio.create_task(record_in("first"))
    await eventually(lambda: len(quality.outcome_batches) == 1)
    second = asyncio.create_task(record_in("second"))
    await asyncio.sleep(0)
    quality.gate.set()
    await asyncio.gather(first, second)
    assert ["first", "second"] == quality.traces


async def test_no_call_has_more_than_the_registry_takes(quality: MemoryQuality) -> None:
    """A thousand at a time."""
    quality.kept = {"a": record("a")}
    flow = OutcomeFlow(quality, Here(quality).settle)
    await asyncio.gather(*(flow.run(outcome("a", row=row), None) for row in range(2 * MAX_BATCH + 1)))
    assert MAX_BATCH == max(map(len, quality.outcome_batches))


@pytest.mark.parametrize("where", ["settling", "recording"])
async def test_nothing_is_acknowledged_while_the_registry_is_away(quality: MemoryQuality, where: str) -> None:
    """The caller hears why, whether the prediction or its outcome could not be handed over."""
    here = Here(quality, "p")
    flow = OutcomeFlow(quality, here.settle)
    if where == "settling":
        here.failure = away()
    else:
        quality.kept = {"p": record("p")}
        here.waiting.clear()
        quality.failures = [away()]
    with pytest.raises(MeshError) as caught:
        await flow.run(outcome(), None)
    assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE) == (caught.value.code, caught.value.reason)
    assert not quality.labels
    here.failure = None
    assert not await flow.run(outcome(), None)


async def test_unforeseen_errors_reach_everybody_without_their_text(quality: MemoryQuality) -> None:
    """Nobody waits for ever."""
    quality.failures = [RuntimeError("secret")]
    with pytest.raises(Internal, match="has the cause") as caught:
        await OutcomeFlow(quality, Here(quality).settle).run(outcome(), None)
    assert "secret" not in str(caught.value)


async def test_deadline_ends_the_wait(quality: MemoryQuality) -> None:
    """A call in which nobody waits any more is cancelled, and those behind it are recorded."""
    quality.kept = {"p": record("p")}
    quality.gate.clear()
    flow = OutcomeFlow(quality, Here(quality).settle)
    with pytest.raises(DeadlineExceeded, match="may be sent again"):
        await flow.run(outcome(), Deadline.after(0.02))
    quality.gate.set()
    assert not await flow.run(outcome(), Deadline.after(5))


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_outcome_that_comes_too_late_is_not_sent(quality: MemoryQuality, left: float) -> None:
    """Its time is over on arrival."""
    with pytest.raises(DeadlineExceeded):
        await OutcomeFlow(quality, Here(quality).settle).run(outcome(), Deadline.after(left))


@pytest.mark.parametrize("label", [math.nan, math.inf, -math.inf])
def test_labels_are_numbers(label: float) -> None:
    """What is not known is no label."""
    with pytest.raises(InvalidArgument):
        outcome(label=label).check()


def test_outcomes_are_of_a_prediction() -> None:
    """Without its name there is nothing to compare with."""
    with pytest.raises(MissingField):
        outcome("").check()
