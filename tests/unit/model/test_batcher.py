from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from services.mesh.errors import InvalidArgument, Overloaded
from services.model.batcher import Batcher, Limits
from services.model.calls import Answer, InferCall, RowTimes
from services.model.errors import InvalidOutput, NonFiniteValue, RuntimeFailed
from services.model.runtimes.onnx import OnnxRuntime
from services.model.versions import Placement, Signature, TensorSpec
from tests.support.gated_model import GatedModel
from tests.support.onnx_models import OnnxModel, identity, lookup, reciprocal
from tests.support.waiting import eventually

LIMITS = Limits(batch_rows=4, rows_in_flight=8)
SIGNATURE = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),))


@asynccontextmanager
async def _batcher(model: OnnxModel, directory: Path) -> AsyncIterator[Batcher]:
    path = directory / model.sha256
    path.write_bytes(model.content)
    runtime = OnnxRuntime(threads=1, intra_op_threads=1)
    try:
        version = model.version()
        loaded = await runtime.load(Placement(version, version.artifacts[0]), path)
        yield Batcher(loaded, model.signature, LIMITS)
    finally:
        runtime.close()


def _call(*values: float, dtype: type = np.float32, left_ms: list[float] | None = None) -> InferCall:
    times = RowTimes(time.monotonic(), left_ms) if left_ms else None
    return InferCall({"x": np.array(values, dtype)}, len(values), times)


def _codes(answer: Answer) -> list[int] | None:
    return None if answer.codes is None else answer.codes.tolist()


async def test_a_call_is_one_batch_up_to_the_limit_and_the_fewest_above() -> None:
    """Ten rows with a limit of four make batches of four, four and two, in order."""
    model = GatedModel()
    batcher = Batcher(model, SIGNATURE, Limits(batch_rows=4, rows_in_flight=100))
    await batcher.infer(_call(1, 2, 3, 4))
    answer = await batcher.infer(_call(*range(10)))
    assert [4, 4, 4, 2] == [len(batch) for batch in model.batches]
    assert list(range(10)) == answer.outputs["y"].tolist()


async def test_rows_beyond_the_bound_are_refused_with_a_time_to_come_back() -> None:
    """Rows in flight are bounded; what was refused can come when they are gone."""
    model = GatedModel()
    batcher = Batcher(model, SIGNATURE, LIMITS)
    model.gate.clear()
    calls = [asyncio.create_task(batcher.infer(_call(1, 2, 3, 4))) for _ in range(2)]
    await eventually(lambda: batcher.counters.rows_in_flight == 8)
    with pytest.raises(Overloaded) as refused:
        await asyncio.wait_for(batcher.infer(_call(1)), timeout=5)
    assert refused.value.retry_after_s is not None
    assert 0.01 <= refused.value.retry_after_s <= 1
    model.gate.set()
    await asyncio.gather(*calls)
    assert [1.0] == (await batcher.infer(_call(1))).outputs["y"].tolist()
    assert 1 == batcher.counters.rows_refused


async def test_a_call_larger_than_the_bound_is_taken_when_nothing_else_is_there() -> None:
    """A bound smaller than one call must not refuse that call for ever."""
    batcher = Batcher(GatedModel(), SIGNATURE, Limits(batch_rows=4, rows_in_flight=2))
    assert 3 == len((await batcher.infer(_call(1, 2, 3))).outputs["y"])


async def test_a_cancelled_call_leaves_before_it_is_computed() -> None:
    """It gives its place back, and the model never sees its rows."""
    model = GatedModel(parallel=1)
    batcher = Batcher(model, SIGNATURE, LIMITS)
    model.gate.clear()
    first, second = (asyncio.create_task(batcher.infer(_call(value))) for value in (1, 2))
    await eventually(lambda: batcher.counters.rows_in_flight == 2)
    second.cancel()
    model.gate.set()
    await asyncio.wait((first, second))
    assert [[1.0]] == model.batches
    assert 0 == batcher.counters.rows_in_flight


async def test_no_more_batches_are_under_way_than_the_model_takes() -> None:
    """The rest waits here, where it can still be dropped."""
    model = GatedModel(parallel=2)
    batcher = Batcher(model, SIGNATURE, LIMITS)
    model.gate.clear()
    calls = [asyncio.create_task(batcher.infer(_call(value))) for value in range(5)]
    await eventually(lambda: batcher.counters.rows_in_flight == 5)
    assert 2 == len(model.batches)
    model.gate.set()
    await asyncio.gather(*calls)
    assert 5 == len(model.batches)


async def test_expired_rows_are_not_computed() -> None:
    """Late rows get DEADLINE_EXCEEDED and a blank, their neighbours an answer."""
    model = GatedModel(offset=1)
    batcher = Batcher(model, SIGNATURE, LIMITS)
    answer = await batcher.infer(_call(10, 20, 30, left_ms=[60_000, 0, 60_000]))
    assert [0, 4, 0] == _codes(answer)
    assert [11, 0, 31] == answer.outputs["y"].tolist()
    assert [[10.0, 30.0]] == model.batches
    assert 1 == batcher.counters.rows_expired


async def test_rows_that_expire_while_they_wait_are_not_computed() -> None:
    """Time is looked at when the turn comes, not only when the call arrives."""
    model = GatedModel(parallel=1)
    batcher = Batcher(model, SIGNATURE, LIMITS)
    model.gate.clear()
    first = asyncio.create_task(batcher.infer(_call(1)))
    await eventually(lambda: model.batches == [[1.0]])
    second = asyncio.create_task(batcher.infer(_call(2, left_ms=[20])))
    late = time.monotonic() + 0.03
    await eventually(lambda: time.monotonic() > late)
    model.gate.set()
    await first
    assert [4] == _codes(await second)
    assert [[1.0]] == model.batches


async def test_all_rows_in_time_need_no_codes() -> None:
    """None says that every row is OK."""
    batcher = Batcher(GatedModel(), SIGNATURE, LIMITS)
    assert _codes(await batcher.infer(_call(1, 2, left_ms=[60_000, 60_000]))) is None


async def test_a_row_that_fails_does_not_fail_the_others(tmp_path: Path) -> None:
    """ONNX Runtime fails a whole batch for one bad index; the good rows are answered all the same."""
    async with _batcher(lookup(4), tmp_path) as batcher:
        answer = await batcher.infer(_call(1, 99, 3, 2, -50, dtype=np.int64, left_ms=[60_000] * 5))
        assert [0, 13, 0, 0, 13] == _codes(answer)
        assert [10, 0, 30, 20, 0] == answer.outputs["y"].tolist()
        assert 2 == batcher.counters.rows_invalid


async def test_text_that_is_not_utf8_fails_its_row_only(tmp_path: Path) -> None:
    """The row's code says that its values are at fault."""
    async with _batcher(identity("BYTES"), tmp_path) as batcher:
        call = InferCall({"x": np.array([b"a", b"\xff"], object)}, 2, RowTimes(time.monotonic(), [60_000] * 2))
        answer = await batcher.infer(call)
        assert [0, 3] == _codes(answer)
        assert [b"a", b""] == answer.outputs["y"].tolist()


async def test_without_row_times_a_call_fails_as_one(tmp_path: Path) -> None:
    """Plain callers of the protocol cannot be told of single rows."""
    async with _batcher(lookup(4), tmp_path) as batcher:
        with pytest.raises(RuntimeFailed):
            await batcher.infer(_call(1, 99, dtype=np.int64))
        assert (0, 1) == (batcher.counters.succeeded.count, batcher.counters.failed.count)
    async with _batcher(identity("BYTES"), tmp_path) as batcher:
        with pytest.raises(InvalidArgument, match="UTF-8"):
            await batcher.infer(InferCall({"x": np.array([b"\xff"], object)}, 1))


async def test_outputs_that_must_be_finite_are_checked_by_row(tmp_path: Path) -> None:
    """1/0 is INTERNAL for its row, and the whole call's INVALID_OUTPUT for a plain caller of a model that allows 0."""
    async with _batcher(reciprocal(), tmp_path) as batcher:
        answer = await batcher.infer(_call(1, 0, 4, left_ms=[60_000] * 3))
        assert [0, 13, 0] == _codes(answer)
    model = reciprocal()
    lax = Signature((TensorSpec("x", "FP32", ()),), model.signature.outputs)
    async with _batcher(OnnxModel(model.content, lax), tmp_path) as batcher:
        with pytest.raises(InvalidOutput):
            await batcher.infer(_call(1, 0))


async def test_inputs_that_must_be_finite_are_checked_for_plain_callers(tmp_path: Path) -> None:
    """The gateway has checked what its callers sent; NaN from it is a stored value that is absent."""
    async with _batcher(reciprocal(), tmp_path) as batcher:
        with pytest.raises(NonFiniteValue) as refused:
            await batcher.infer(_call(1, np.nan))
        assert "inputs[0]" == refused.value.violations[0].field
        assert [0, 13] == _codes(await batcher.infer(_call(1, np.nan, left_ms=[60_000] * 2)))


async def test_counters_tell_what_was_computed() -> None:
    """Calls, rows and batches by size."""
    batcher = Batcher(GatedModel(), SIGNATURE, LIMITS)
    await batcher.infer(_call(1))
    await batcher.infer(_call(1, 2, 3, 4, 5))
    counters = batcher.counters
    assert {1: 2, 4: 1} == {rows: tally.count for rows, tally in counters.batches.items()}
    assert (2, 6) == (counters.succeeded.count, counters.rows_computed)
    assert counters.last_call_ms > 0
