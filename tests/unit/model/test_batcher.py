from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from services.mesh.errors import DeadlineExceeded, Internal, InvalidArgument, Overloaded
from services.model.batcher import Batcher
from services.model.calls import Answer, InferCall
from services.model.datatypes import Array
from services.model.errors import InvalidOutput, NonFiniteValue, RuntimeFailed
from services.model.runtimes.onnx import OnnxRuntime
from services.model.schedule import Limits
from services.model.versions import Placement, Signature, TensorSpec
from tests.support.gated_model import GatedModel, PickyModel
from tests.support.onnx_models import OnnxModel, identity, lookup, reciprocal
from tests.support.stations import batcher, call, station
from tests.support.waiting import eventually


@asynccontextmanager
async def _onnx(model: OnnxModel, directory: Path) -> AsyncIterator[Batcher]:
    path = directory / model.sha256
    path.write_bytes(model.content)
    runtime = OnnxRuntime(threads=1, intra_op_threads=1)
    try:
        version = model.version()
        loaded = await runtime.load(Placement(version, version.artifacts[0]), path)
        yield batcher(station(loaded, signature=model.signature), signature=model.signature)
    finally:
        runtime.close()


def _codes(answer: Answer) -> list[int] | None:
    return None if answer.codes is None else answer.codes.tolist()


async def test_a_call_is_one_batch_up_to_the_limit_and_the_fewest_above() -> None:
    """Ten rows with a limit of four make batches of four, four and two, in order."""
    model = GatedModel()
    queue = batcher(station(model), limits=Limits(batch_rows=4, rows_in_flight=100))
    await queue.infer(call(1, 2, 3, 4))
    answer = await queue.infer(call(*range(10)))
    assert [4, 4, 4, 2] == [len(batch) for batch in model.batches]
    assert list(range(10)) == answer.outputs["y"].tolist()


async def test_calls_that_wait_leave_together() -> None:
    """While a batch is computed the next one fills, and each call gets its own rows back."""
    model = GatedModel(offset=10)
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(value))) for value in range(4)]
    await eventually(lambda: queue.queued_rows == 3)
    model.gate.set()
    answers = [answer.outputs["y"].tolist() for answer in await asyncio.gather(*calls)]
    assert [[0.0], [1.0, 2.0, 3.0]] == model.batches
    assert [[10.0], [11.0], [12.0], [13.0]] == answers


async def test_the_most_urgent_rows_leave_first() -> None:
    """By row, also among the rows of one call."""
    model = GatedModel()
    queue = batcher(station(model), limits=Limits(batch_rows=2, rows_in_flight=100))
    model.gate.clear()
    calls = [
        asyncio.create_task(queue.infer(made))
        for made in (call(0), call(1, left_s=50), call(2, 3, left_ms=[40_000, 10_000]), call(4, left_s=20))
    ]
    await eventually(lambda: queue.queued_rows == 4)
    model.gate.set()
    answers = await asyncio.gather(*calls)
    assert [[0.0], [3.0, 4.0], [2.0, 1.0]] == model.batches
    assert [[0.0], [1.0], [2.0, 3.0], [4.0]] == [answer.outputs["y"].tolist() for answer in answers]


async def test_rows_beyond_the_bound_are_refused_with_a_time_to_come_back() -> None:
    """Rows in flight are bounded; what was refused can come when they are gone."""
    model = GatedModel()
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(1, 2, 3, 4))) for _ in range(2)]
    await eventually(lambda: queue.counters.rows_in_flight == 8)
    with pytest.raises(Overloaded) as refused:
        await asyncio.wait_for(queue.infer(call(1)), timeout=5)
    assert refused.value.retry_after_s is not None
    assert 0.01 <= refused.value.retry_after_s <= 1
    model.gate.set()
    await asyncio.gather(*calls)
    assert [1.0] == (await queue.infer(call(1))).outputs["y"].tolist()
    assert {"QUEUE_FULL": 1} == queue.counters.rows_refused
    assert (3, 1) == (queue.counters.succeeded.count, queue.counters.failed.count)


async def test_a_call_larger_than_the_bound_is_taken_when_nothing_else_is_there() -> None:
    """A bound smaller than one call must not refuse that call for ever."""
    queue = batcher(station(GatedModel()), limits=Limits(batch_rows=4, rows_in_flight=2))
    assert 3 == len((await queue.infer(call(1, 2, 3))).outputs["y"])


async def test_rows_that_cannot_make_it_are_refused_at_once() -> None:
    """What batches cost is known, so that nobody waits for an answer that would come too late."""
    model = GatedModel()
    at = station(model)
    for rows in (1, 4, 1, 4):
        at.cost.learn(rows, 1.0)
    queue = batcher(at)
    model.gate.clear()
    first = asyncio.create_task(queue.infer(call(1)))
    await eventually(lambda: model.batches == [[1.0]])
    with pytest.raises(Overloaded) as refused:
        await asyncio.wait_for(queue.infer(call(2, left_s=2.5)), timeout=1)
    assert refused.value.retry_after_s is not None
    patient = asyncio.create_task(queue.infer(call(3, left_s=30)))
    await eventually(lambda: queue.queued_rows == 1)
    model.gate.set()
    await asyncio.gather(first, patient)
    assert [[1.0], [3.0]] == model.batches
    assert {"OVERLOADED": 1} == queue.counters.rows_refused


async def test_a_hopeless_row_takes_none_of_its_call_with_it() -> None:
    """Each row of a call has its own time: those that can wait are computed."""
    model = GatedModel()
    at = station(model)
    for rows in (1, 4, 1, 4):
        at.cost.learn(rows, 1.0)
    queue = batcher(at)
    model.gate.clear()
    first = asyncio.create_task(queue.infer(call(1)))
    await eventually(lambda: model.batches == [[1.0]])
    mixed = asyncio.create_task(queue.infer(call(2, 3, left_ms=[2_500, 60_000])))
    await eventually(lambda: queue.queued_rows == 1)
    model.gate.set()
    await first
    assert [8, 0] == _codes(await mixed)
    assert {"OVERLOADED": 1} == queue.counters.rows_refused


async def test_an_idle_runtime_is_asked_even_if_it_seems_too_slow() -> None:
    """Otherwise one stall would look hopeless for ever: only a batch can show that it has passed."""
    at = station(GatedModel())
    at.cost.learn(1, 100.0)
    assert [1.0] == (await batcher(at).infer(call(1, left_s=1))).outputs["y"].tolist()


async def test_a_cancelled_call_leaves_before_it_is_computed() -> None:
    """It gives its place back, and the model never sees its rows."""
    model = GatedModel()
    queue = batcher(station(model))
    model.gate.clear()
    first, second = (asyncio.create_task(queue.infer(call(value))) for value in (1, 2))
    await eventually(lambda: queue.queued_rows == 1)
    second.cancel()
    await eventually(second.done)
    assert 0 == queue.queued_rows
    model.gate.set()
    await asyncio.wait((first, second))
    assert [[1.0]] == model.batches
    assert 0 == queue.counters.rows_in_flight


@pytest.mark.parametrize("together", [False, True])
async def test_a_batch_that_nobody_waits_for_is_cancelled(together: bool) -> None:
    """As soon as the last of its callers has gone, and not before."""
    model = GatedModel()
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(0)))]
    await eventually(lambda: len(model.batches) == 1)
    if together:
        calls += [asyncio.create_task(queue.infer(call(value))) for value in (1, 2)]
        await eventually(lambda: queue.queued_rows == 2)
        first, model.gate = model.gate, asyncio.Event()
        first.set()
        await calls.pop(0)
        await eventually(lambda: len(model.batches) == 2)
        calls.pop().cancel()
        await asyncio.sleep(0)
        assert 0 == model.cancelled
    calls[0].cancel()
    await eventually(lambda: model.cancelled == 1)


async def test_no_more_batches_are_under_way_than_the_model_takes() -> None:
    """The rest waits here, where it can still be dropped."""
    model = GatedModel(parallel=2)
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(value))) for value in range(5)]
    await eventually(lambda: queue.counters.rows_in_flight == 5)
    assert 2 == len(model.batches)
    model.gate.set()
    await asyncio.gather(*calls)
    assert 5 == sum(map(len, model.batches))


async def test_one_more_stands_behind_them_where_the_runtime_is_elsewhere() -> None:
    """It is sent before the one in front ends, and no other is."""
    model = GatedModel(parallel=1, ahead=1)
    queue = batcher(station(model), limits=Limits(batch_rows=1, rows_in_flight=8))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(call(value))) for value in range(4)]
    await eventually(lambda: len(model.batches) == 2)
    assert 2 == queue.queued_rows
    model.gate.set()
    await asyncio.gather(*calls)


async def test_late_rows_are_not_computed() -> None:
    """A row whose caller has gone is answered DEADLINE_EXCEEDED; the others are computed as one batch."""
    model = GatedModel(offset=1)
    queue = batcher(station(model))
    answer = await queue.infer(call(10, 20, 30, left_ms=[60_000, 0, 60_000]))
    assert [0, 4, 0] == _codes(answer)
    assert [11, 0, 31] == answer.outputs["y"].tolist()
    assert [[10.0, 30.0]] == model.batches
    assert {"DEADLINE_EXCEEDED": 1} == queue.counters.rows_refused


async def test_a_call_that_is_late_as_a_whole_is_told_so() -> None:
    """Nothing was computed, so that there is nothing to answer row by row."""
    queue = batcher(station(GatedModel()))
    with pytest.raises(DeadlineExceeded):
        await queue.infer(call(10, 20, left_ms=[0, -5]))
    with pytest.raises(DeadlineExceeded):
        await queue.infer(call(10, left_s=0))


async def test_rows_that_expire_while_they_wait_are_not_computed() -> None:
    """Time is looked at when the turn comes, not only when the call arrives."""
    model = GatedModel()
    queue = batcher(station(model))
    model.gate.clear()
    first = asyncio.create_task(queue.infer(call(1)))
    await eventually(lambda: model.batches == [[1.0]])
    second = asyncio.create_task(queue.infer(call(2, 3, left_ms=[20, 60_000])))
    late = time.monotonic() + 0.03
    await eventually(lambda: time.monotonic() > late)
    model.gate.set()
    await first
    assert [4, 0] == _codes(await second)
    assert [[1.0], [3.0]] == model.batches


async def test_all_rows_in_time_need_no_codes() -> None:
    """None says that every row is OK."""
    assert _codes(await batcher(station(GatedModel())).infer(call(1, 2, left_ms=[60_000, 60_000]))) is None


async def test_a_row_that_fails_does_not_fail_the_others(tmp_path: Path) -> None:
    """ONNX Runtime fails a whole batch for one bad index; the good rows are answered all the same."""
    async with _onnx(lookup(4), tmp_path) as queue:
        answer = await queue.infer(call(1, 99, 3, 2, -50, dtype=np.int64, left_ms=[60_000] * 5))
        assert [0, 13, 0, 0, 13] == _codes(answer)
        assert [10, 0, 30, 20, 0] == answer.outputs["y"].tolist()
        assert 2 == queue.counters.rows_invalid


async def test_a_call_that_fails_does_not_fail_its_neighbours() -> None:
    """Calls that are not judged by row are parted from each other, and fail as one each."""

    model = PickyModel()
    queue = batcher(station(model), limits=Limits(batch_rows=16, rows_in_flight=64))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(made)) for made in (call(0), call(1, 2), call(3, 13), call(4), call(5))]
    await eventually(lambda: queue.queued_rows == 6)
    model.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    answers = [None if isinstance(one, BaseException) else one.outputs["y"].tolist() for one in outcomes]
    assert [[0.0], [1.0, 2.0], None, [4.0], [5.0]] == answers
    assert isinstance(outcomes[2], RuntimeFailed)


async def test_what_is_left_of_a_call_that_has_failed_is_not_computed() -> None:
    """Its caller knows already, and others wait."""
    model = PickyModel()
    queue = batcher(station(model), limits=Limits(batch_rows=2, rows_in_flight=64))
    with pytest.raises(RuntimeFailed):
        await queue.infer(call(1, 13, 3, 4, 5))
    assert 0 == queue.queued_rows
    assert [6.0] == (await queue.infer(call(6))).outputs["y"].tolist()
    assert [[1.0, 13.0], [0.0], [6.0]] == model.batches


async def test_two_parts_of_a_call_may_fail_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """The second finds nobody who waits, and ends without a word."""
    model = GatedModel(parallel=2)
    queue = batcher(station(model), limits=Limits(batch_rows=2, rows_in_flight=64))
    model.gate.clear()
    model.failure = InvalidArgument("values")
    asked = asyncio.create_task(queue.infer(call(1, 2, 3, 4)))
    await eventually(lambda: len(model.batches) == 2)
    model.gate.set()
    with pytest.raises(InvalidArgument):
        await asked
    await eventually(lambda: not queue._under_way)
    gc.collect()
    assert [] == [record.message for record in caplog.records if record.name == "asyncio"]
    assert 2 == queue.counters.rows_invalid


async def test_a_fault_that_nobody_foresaw_is_told_to_every_caller(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for an answer that cannot come, and the log says why."""

    class Broken(GatedModel):
        async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
            await super().infer(inputs, timeout_s)
            raise ZeroDivisionError("ours")

    model = Broken()
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(queue.infer(made)) for made in (call(1), call(2), call(3, left_ms=[60_000]))]
    await eventually(lambda: queue.queued_rows == 2)
    model.gate.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=5)
    assert [Internal, Internal, Internal] == [type(outcome) for outcome in outcomes]
    assert "batch failed" in caplog.text
    assert queue.stations[0].idle


async def test_text_that_is_not_utf8_fails_its_row_only(tmp_path: Path) -> None:
    """The row's code says that its values are at fault."""
    async with _onnx(identity("BYTES"), tmp_path) as queue:
        inputs = {"x": np.array([b"a", b"\xff"], object)}
        answer = await queue.infer(InferCall(inputs, 2, time.monotonic() + 60, by_row=True))
        assert [0, 3] == _codes(answer)
        assert [b"a", b""] == answer.outputs["y"].tolist()


async def test_without_row_times_a_call_fails_as_one(tmp_path: Path) -> None:
    """Plain callers of the protocol cannot be told of single rows."""
    async with _onnx(lookup(4), tmp_path) as queue:
        with pytest.raises(RuntimeFailed):
            await queue.infer(call(1, 99, dtype=np.int64))
        assert (0, 1) == (queue.counters.succeeded.count, queue.counters.failed.count)
    async with _onnx(identity("BYTES"), tmp_path) as queue:
        with pytest.raises(InvalidArgument, match="UTF-8"):
            await queue.infer(InferCall({"x": np.array([b"\xff"], object)}, 1, time.monotonic() + 60))


async def test_outputs_that_must_be_finite_are_checked_by_row(tmp_path: Path) -> None:
    """1/0 is INTERNAL for its row, and the whole call's INVALID_OUTPUT for a plain caller of a model that allows 0."""
    async with _onnx(reciprocal(), tmp_path) as queue:
        answer = await queue.infer(call(1, 0, 4, left_ms=[60_000] * 3))
        assert [0, 13, 0] == _codes(answer)
    model = reciprocal()
    lax = Signature((TensorSpec("x", "FP32", ()),), model.signature.outputs)
    async with _onnx(OnnxModel(model.content, lax), tmp_path) as queue:
        with pytest.raises(InvalidOutput):
            await queue.infer(call(1, 0))


async def test_inputs_that_must_be_finite_are_checked_for_plain_callers(tmp_path: Path) -> None:
    """The gateway has checked what its callers sent; NaN from it is a stored value that is absent."""
    async with _onnx(reciprocal(), tmp_path) as queue:
        with pytest.raises(NonFiniteValue) as refused:
            await queue.infer(call(1, np.nan))
        assert "inputs[0]" == refused.value.violations[0].field
        assert [0, 13] == _codes(await queue.infer(call(1, np.nan, left_ms=[60_000] * 2)))


async def test_counters_tell_what_was_computed() -> None:
    """Calls, rows and batches by size."""
    at = station(GatedModel())
    queue = batcher(at)
    await queue.infer(call(1))
    await queue.infer(call(1, 2, 3, 4, 5))
    assert {1: 2, 4: 1} == {rows: tally.count for rows, tally in at.counters.batches.items()}
    assert (2, 6) == (queue.counters.succeeded.count, at.counters.rows)
    assert queue.counters.last_call_ms > 0
