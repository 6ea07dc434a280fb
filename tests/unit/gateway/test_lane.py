"""Requests for one target travel both hops together, and none fails or delays another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.lane import Lane
from services.gateway.prediction import FeatureRows, Outcome
from services.gateway.request import Member
from services.mesh.context import CallContext, new_span_id, new_trace_id
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    MeshError,
    Overloaded,
    Reason,
    RemoteError,
    StoreUnavailable,
)
from services.mesh.resilience import Effort
from tests.support.predictions import (
    AS_OF_US,
    POISON,
    MemoryFeatures,
    MemoryModel,
    StoredRow,
    column,
    member,
    target,
    view,
)
from tests.support.waiting import eventually

AIM = target({"x:FP32": ["rider:a"], "mark:BYTES": ["mark"]}, view("rider", "a:FP32"), outputs=("y:FP32", "echo:BYTES"))
ALONE = target({"x:FP32": ["x"]})
LIMIT_S = 5


@pytest.fixture(autouse=True)
async def nothing_left_under_way() -> AsyncIterator[None]:
    """Whatever a test does, no task of a lane outlives it."""
    before = asyncio.all_tasks()
    yield
    await eventually(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()}, within_s=LIMIT_S)


@pytest.fixture
def features() -> MemoryFeatures:
    """Rows a to f, whose value is 1 to 6."""
    return MemoryFeatures({key: StoredRow({"rider:a": float(place + 1)}) for place, key in enumerate("abcdef")})


@pytest.fixture
def model() -> MemoryModel:
    """Answers 1 + x."""
    return MemoryModel()


@pytest.fixture
def lane(features: MemoryFeatures, model: MemoryModel) -> Lane:
    """A lane of batches up to 8 rows."""
    return Lane(AIM, features, model, max_rows=8, max_queued_rows=10)


def asking(*keys: str, marks: tuple[bytes, ...] = (), **parts: Any) -> Member:
    """Return a request for these keys."""
    marked = column("mark", *(marks or [b""] * len(keys)))
    return member(AIM, column("rider_id", *keys), features=[marked], **parts)


async def hold(features: MemoryFeatures, lane: Lane) -> asyncio.Task[Outcome]:
    """Put a batch under way that stays there until the gate is opened."""
    features.gate.clear()
    task = asyncio.create_task(lane.answer(asking("a")))
    await eventually(lambda: len(features.calls) == 1)
    return task


def submitted(lane: Lane, *members: Member) -> list[asyncio.Task[Outcome]]:
    """Submit members, each awaited by a task of its own."""
    return [asyncio.create_task(lane.answer(each)) for each in members]


async def settled(*tasks: asyncio.Task[Outcome]) -> list[Any]:
    """Return what each task ended with: an outcome's first output, or the reason of its error."""
    async with asyncio.timeout(LIMIT_S):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    return [each.outputs[0].ravel().tolist() if isinstance(each, Outcome) else _reason(each) for each in found]


def _reason(error: BaseException) -> Reason:
    assert isinstance(error, MeshError), repr(error)
    return error.reason


async def test_one_request_is_one_call_a_hop(lane: Lane, features: MemoryFeatures, model: MemoryModel) -> None:
    """Nobody waits for company."""
    assert [[2.0, 3.0]] == await settled(*submitted(lane, asking("a", "b")))
    assert [[["a", "b"]]] == features.calls
    assert 1 == len(model.calls)


async def test_who_waits_leaves_together(lane: Lane, features: MemoryFeatures, model: MemoryModel) -> None:
    """While a batch is under way the others gather, and each gets its own rows of the next."""
    first = await hold(features, lane)
    waiting = submitted(lane, asking("b"), asking("c", "d"), asking("e"))
    features.gate.set()
    assert [[2.0], [3.0], [4.0, 5.0], [6.0]] == await settled(first, *waiting)
    assert [[["a"]], [["b", "c", "d", "e"]]] == features.calls
    assert 2 == len(model.calls)


async def test_each_row_has_the_time_of_its_request(lane: Lane, features: MemoryFeatures, model: MemoryModel) -> None:
    """As-of and remaining time are told by row."""
    early, late = asking("a", seconds=1), asking("b", "c", seconds=100)
    early.as_of_us = AS_OF_US - 5
    await settled(*submitted(lane, early, late))
    assert [[AS_OF_US - 5, AS_OF_US, AS_OF_US]] == features.as_of_us
    first, second, third = model.remaining_ms[0]
    assert 0 < first <= 1000
    assert 99_000 < second == third <= 100_000
    assert early.deadline.at < features.deadlines[0].at < late.deadline.at, "the calls go by the longest time of all"


async def test_rows_whose_caller_has_left_are_not_computed(
    lane: Lane, features: MemoryFeatures, model: MemoryModel
) -> None:
    """Those who left while the features were fetched have no time for the model; their neighbours have all of theirs."""
    first = await hold(features, lane)
    stays, leaves = submitted(lane, asking("b"), asking("c", "d"))
    await asyncio.sleep(0)
    features.gate.set()
    features.gate.clear()
    await eventually(lambda: len(features.calls) == 2)
    leaves.cancel()
    await asyncio.sleep(0)
    features.gate.set()
    assert [[2.0], [3.0]] == await settled(first, stays)
    kept, *left = model.remaining_ms[1]
    assert (True, [0, 0]) == (kept > 0, left)


async def test_a_request_without_stored_values_is_one_hop(features: MemoryFeatures, model: MemoryModel) -> None:
    """The feature service is not asked for nothing."""
    lane = Lane(ALONE, features, model, max_rows=8, max_queued_rows=10)
    outcome = await lane.answer(member(ALONE, features=[column("x", 4.0)]))
    assert [[5.0]] == outcome.outputs[0].tolist()
    assert [] == features.calls


async def test_provenance_is_the_members(lane: Lane, features: MemoryFeatures) -> None:
    """Hops and rows are those of its batch; the wait before is its own."""
    first = await hold(features, lane)
    waited = submitted(lane, asking("b"), asking("c", "d"))
    features.gate.set()
    outcomes = [await task for task in (first, *waited)]
    assert [1, 3, 3] == [outcome.batch_rows for outcome in outcomes]
    assert [("queue", "features", "model")] * 3 == [tuple(name for name, _ in outcome.hops) for outcome in outcomes]
    assert outcomes[1].hops[1:] == outcomes[2].hops[1:]
    assert ["memory"] * 3 == [outcome.runtime for outcome in outcomes]
    assert dict(outcomes[0].hops)["queue"] < LIMIT_S * 1e6


async def test_effort_of_a_hop_is_told_to_all_of_the_batch(
    lane: Lane, features: MemoryFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the calls for it took beyond one attempt, and nothing of batches whose calls did not."""
    get = features.get

    async def laborious(*arguments: Any, **named: Any) -> FeatureRows:
        rows = await get(*arguments, **named)
        rows.effort = Effort(retries=2)
        return rows

    first = await hold(features, lane)
    waited = submitted(lane, asking("b"), asking("c", "d"))
    monkeypatch.setattr(features, "get", laborious)
    features.gate.set()
    assert (await first).efforts is None
    assert [{"features": Effort(retries=2)}] * 2 == [(await task).efforts for task in waited]


async def test_deadline_of_one(lane: Lane, features: MemoryFeatures) -> None:
    """Who has no more time is told so at once; who has travels on."""
    features.gate.clear()
    short, long = submitted(lane, asking("a", seconds=0.02), asking("b", seconds=60))
    assert [Reason.DEADLINE_EXCEEDED] == await settled(short)
    assert not long.done()
    features.gate.set()
    assert [[3.0]] == await settled(long)
    assert 0 == features.cancelled


async def test_deadline_that_has_passed(lane: Lane, features: MemoryFeatures) -> None:
    """A request that came too late is told so, however full the queue is, and takes no place in it."""
    first = await hold(features, lane)
    waiting = submitted(lane, *(asking("b", "c") for _ in range(5)))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await lane.answer(asking("a", seconds=-1))
    features.gate.set()
    await settled(first, *waiting)


async def test_batch_nobody_waits_for(lane: Lane, features: MemoryFeatures, model: MemoryModel) -> None:
    """When all of a batch have gone, by time or by themselves, its call is cancelled."""
    features.gate.clear()
    leaving, late = submitted(lane, asking("a"), asking("b", seconds=0.02))
    await eventually(lambda: len(features.calls) == 1)
    leaving.cancel()
    assert [Reason.DEADLINE_EXCEEDED] == await settled(late)
    await eventually(lambda: features.cancelled == 1)
    assert [] == model.calls
    features.gate.set()
    assert [[4.0]] == await settled(*submitted(lane, asking("c")))


async def test_who_leaves_the_queue_is_not_asked_for(lane: Lane, features: MemoryFeatures) -> None:
    """A cancelled request leaves before its batch does."""
    first = await hold(features, lane)
    gone, stays = submitted(lane, asking("b"), asking("c"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    features.gate.set()
    assert [[2.0], [4.0]] == await settled(first, stays)
    assert [["c"]] == features.calls[1]


async def test_one_that_leaves_a_batch_fails_nobody(lane: Lane, features: MemoryFeatures) -> None:
    """The rows of who has gone travel on, their neighbours get their own."""
    features.gate.clear()
    gone, stays = submitted(lane, asking("a", "b"), asking("c"))
    await eventually(lambda: len(features.calls) == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    features.gate.set()
    assert [[4.0]] == await settled(stays)


async def test_model_fails_on_what_one_sent(lane: Lane, model: MemoryModel) -> None:
    """A batch that the model refuses is asked again by member, so that only who sent the fault has it."""
    tasks = submitted(lane, asking("a"), asking("b", marks=(POISON,)), asking("c", "d", marks=(b"", b"ok")))
    assert [[2.0], Reason.RUNTIME_FAILED, [4.0, 5.0]] == await settled(*tasks)
    assert 4 == len(model.calls)


async def test_model_out_of_reach(lane: Lane, model: MemoryModel) -> None:
    """A failure that is nobody's own is everybody's, and not asked again here."""
    model.failures.append(RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not here"))
    assert [Reason.VERSION_NOT_LOADED] * 2 == await settled(*submitted(lane, asking("a"), asking("b")))
    assert 1 == len(model.calls)


async def test_features_fail(lane: Lane, features: MemoryFeatures, model: MemoryModel) -> None:
    """Without features nobody of the batch is answered; the next batch is as good as any."""
    features.failures.append(StoreUnavailable("the store is down"))
    assert [Reason.STORE_UNAVAILABLE] * 2 == await settled(*submitted(lane, asking("a"), asking("b")))
    assert [] == model.calls
    assert [[2.0]] == await settled(*submitted(lane, asking("a")))


async def test_fault_of_ours(lane: Lane, model: MemoryModel, caplog: pytest.LogCaptureFixture) -> None:
    """What should not happen is logged with its cause, and its text reaches nobody."""
    model.failures.append(KeyError("a secret"))
    with pytest.raises(Internal) as caught:
        await lane.answer(asking("a"))
    assert "secret" not in caught.value.message
    assert "a secret" in caplog.text


async def test_queue_is_bounded(lane: Lane, features: MemoryFeatures) -> None:
    """Rows beyond the limit are refused at once, and told when to come back."""
    first = await hold(features, lane)
    waiting = submitted(lane, *(asking("b", "c") for _ in range(5)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await lane.answer(asking("d"))
    assert caught.value.retry_after_s
    features.gate.set()
    assert [[2.0], *[[3.0, 4.0]] * 5] == await settled(first, *waiting)


async def test_batches_have_at_most_so_many_rows(lane: Lane, features: MemoryFeatures) -> None:
    """What does not fit leaves with the next; a request of more rows than a batch has leaves alone."""
    first = await hold(features, lane)
    waiting = submitted(lane, asking(*"abcde"), asking(*"fab"), asking("c"))
    features.gate.set()
    await settled(first, *waiting)
    assert [1, 8, 1] == [len(call[0]) for call in features.calls]
    await settled(*submitted(lane, asking(*"abcdefabc")))
    assert 9 == len(features.calls[-1][0])


async def test_batch_runs_in_the_call_of_a_sampled_member(lane: Lane, features: MemoryFeatures) -> None:
    """The hops of a batch belong to a request that is traced, if there is one, without its deadline or metadata."""

    def running(*, sampled: bool) -> CallContext:
        return CallContext("request", new_trace_id(), new_span_id(), sampled, metadata={"x-model-version": "2"})

    traced = running(sampled=True)
    members = [asking("a", running=running(sampled=False)), asking("b", running=traced), asking("c")]
    await settled(*submitted(lane, *members))
    (used,) = features.contexts
    assert used is not None
    assert (traced.trace_id, traced.span_id, True) == (used.trace_id, used.span_id, used.sampled)
    assert ({}, None) == (used.metadata, used.deadline)


@pytest.mark.parametrize("failures", [[], [ValueError("odd")]], ids=["answered", "failed"])
async def test_timers_end_with_their_requests(lane: Lane, model: MemoryModel, failures: list[Exception]) -> None:
    """A request that is over leaves no timer that would hold its rows until its deadline."""
    model.failures = failures
    asked = asking("a", seconds=60)
    await settled(*submitted(lane, asked))
    timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert asked not in [each for timer in timers if not timer.cancelled() for each in timer._args or ()]
