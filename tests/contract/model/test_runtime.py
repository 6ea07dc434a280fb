"""What every runtime does alike. An adapter joins by a line in RUNTIMES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.mesh.errors import InvalidArgument
from services.model.datatypes import BYTES, DTYPES, Array
from services.model.errors import InvalidArtifact, RuntimeFailed, SignatureMismatch
from services.model.runtimes import LoadedModel, Runtime
from services.model.runtimes.onnx import OnnxRuntime
from services.model.versions import Placement, Signature, TensorSpec
from services.model.warmup import warm_up
from tests.support.onnx_models import DATATYPES, OnnxModel, deep, identity, linear, lookup, several


@asynccontextmanager
async def _onnx() -> AsyncIterator[Runtime]:
    runtime = OnnxRuntime(threads=2, intra_op_threads=1)
    yield runtime
    runtime.close()


RUNTIMES: dict[str, Callable[[], AbstractAsyncContextManager[Runtime]]] = {"onnx": _onnx}


@pytest.fixture(params=RUNTIMES)
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    """One runtime after the other."""
    async with RUNTIMES[request.param]() as opened:
        yield opened


class Load:
    """Loads models from files of their own."""

    def __init__(self, runtime: Runtime, directory: Path) -> None:
        self._runtime = runtime
        self._directory = directory

    async def __call__(self, model: OnnxModel, signature: Signature | None = None) -> LoadedModel:
        path = self._directory / model.sha256
        path.write_bytes(model.content)
        version = replace(model.version(), signature=signature or model.signature)
        return await self._runtime.load(Placement(version, version.artifacts[0]), path)


@pytest.fixture
def load(runtime: Runtime, tmp_path: Path) -> Load:
    """A way to load models into it."""
    return Load(runtime, tmp_path)


def _values(datatype: str) -> Array:
    if datatype == BYTES:
        return np.array([[b"a", "ä".encode()], [b"", b"x" * 300]], object)
    return np.array([[1, 0], [0, 1]]).astype(DTYPES[datatype])


@pytest.mark.parametrize("datatype", DATATYPES)
async def test_every_type_goes_in_and_comes_out(load: Load, datatype: str) -> None:
    """Values, type and shape are those that went in."""
    model = await load(identity(datatype, (2,)))
    answered = (await model.infer({"x": _values(datatype)}, 10))["y"]
    assert _values(datatype).tolist() == answered.tolist()
    assert DTYPES[datatype] == answered.dtype
    await model.close()


async def test_several_inputs_and_outputs_are_told_apart(load: Load) -> None:
    """Each by its name."""
    model = await load(several())
    pair = np.array([[1, 2]], np.float32)
    answered = await model.infer({"text": np.array([b"w"], object), "b": pair, "a": pair * 10}, 10)
    assert {"total": [[11, 22]], "word": [b"w"]} == {name: values.tolist() for name, values in answered.items()}
    await model.close()


@pytest.mark.parametrize("rows", [1, 2, 255])
async def test_rows_are_computed_each_for_itself(load: Load, rows: int) -> None:
    """The answer of a row does not depend on its neighbours."""
    model = await load(linear(scale=2, width=1))
    values = np.arange(rows, dtype=np.float32)[:, None]
    assert (values * 2).tolist() == (await model.infer({"x": values}, 10))["y"].tolist()
    await model.close()


async def test_slow_batches_do_not_hold_up_the_event_loop(load: Load) -> None:
    """Other calls go on while a batch of a wide model is computed."""
    wide = deep()
    model = await load(wide)
    await warm_up(model, wide.signature, most_rows=256)
    batch = asyncio.create_task(model.infer({"x": np.ones((256, 16), np.float32)}, 10))
    turns = 0
    while not batch.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    await model.close()


async def test_batches_at_once_get_their_own_answers(load: Load) -> None:
    """As many as the model takes, and more."""
    model = await load(linear(width=1))
    batches = [model.infer({"x": np.full((2, 1), value, np.float32)}, 10) for value in range(20)]
    answers = [answer["y"].tolist() for answer in await asyncio.gather(*batches)]
    assert [[[value], [value]] for value in range(20)] == answers
    await model.close()


async def test_a_failure_on_the_input_is_told_and_passes(load: Load) -> None:
    """The next batch is answered."""
    model = await load(lookup(4))
    with pytest.raises(RuntimeFailed) as failed:
        await model.infer({"x": np.array([99], np.int64)}, 10)
    assert "99" not in failed.value.message
    assert failed.value.__cause__ is not None
    assert [20] == (await model.infer({"x": np.array([2], np.int64)}, 10))["y"].tolist()
    await model.close()


async def test_text_that_is_not_utf8_is_the_callers_fault(load: Load) -> None:
    """It is refused, and not answered as other text."""
    model = await load(identity(BYTES))
    with pytest.raises(InvalidArgument):
        await model.infer({"x": np.array([b"\xff"], object)}, 10)
    await model.close()


@pytest.mark.parametrize("content", [b"", b"no model", linear().content[:-40]], ids=["empty", "text", "cut"])
async def test_bytes_that_are_no_model_are_refused(load: Load, content: bytes) -> None:
    """The message does not tell where they lie."""
    with pytest.raises(InvalidArtifact) as refused:
        await load(OnnxModel(content, linear().signature))
    assert "/" not in refused.value.message.replace("I/O", "")


@pytest.mark.parametrize(
    "signature",
    [
        Signature((TensorSpec("q", "FP32", (16,)),), (TensorSpec("y", "FP32", (1,)),)),
        Signature((TensorSpec("x", "FP64", (16,)),), (TensorSpec("y", "FP32", (1,)),)),
        Signature((TensorSpec("x", "FP32", (8,)),), (TensorSpec("y", "FP32", (1,)),)),
        Signature((TensorSpec("x", "FP32", (16,)),), (TensorSpec("y", "FP32", (1,)), TensorSpec("z", "FP32", ()))),
    ],
    ids=["name", "type", "shape", "output"],
)
async def test_a_signature_that_does_not_fit_is_refused(load: Load, signature: Signature) -> None:
    """Before anything is served by it."""
    with pytest.raises(SignatureMismatch) as refused:
        await load(linear(), signature)
    assert refused.value.violations


async def test_two_versions_of_a_model_stand_side_by_side(load: Load) -> None:
    """Loading or closing one touches the other as little as any."""
    first, second = await load(linear(1)), await load(linear(2))
    rows = {"x": np.ones((1, 16), np.float32)}
    await first.close()
    assert [[32]] == (await second.infer(rows, 10))["y"].tolist()
    await second.close()
