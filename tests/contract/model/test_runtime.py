"""What every runtime does alike. An adapter joins by a line in RUNTIMES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from services.mesh.errors import InvalidArgument
from services.model.datatypes import BYTES, DTYPES, Array
from services.model.errors import InvalidArtifact, RuntimeFailed, SignatureMismatch
from services.model.versions import Signature, TensorSpec
from tests.support.onnx_models import DATATYPES, OnnxModel, deep, identities, identity, linear, lookup, several
from tests.support.runtimes import Loading, Opening, oip, onnx, shared_triton, triton
from tests.support.triton import TritonServer

RUNTIMES = ("onnx", "triton", "oip")
# Those that are given bytes; what an OIP server is given is its own affair.
LOADERS = ("onnx", "triton")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One Triton for all tests."""
    with shared_triton(tmp_path_factory.mktemp("triton")) as started:
        yield started


@pytest.fixture(params=RUNTIMES)
def opening(request: pytest.FixtureRequest) -> Opening:
    """One runtime after the other."""
    match request.param:
        case "onnx":
            return onnx
        case "oip":
            return oip
        case _:
            return triton(request.getfixturevalue("server"))


@pytest.fixture
async def load(opening: Opening, tmp_path: Path) -> AsyncIterator[Loading]:
    """A way to load models into it."""
    async with opening(tmp_path) as loading:
        yield loading


def _values(datatype: str) -> Array:
    if datatype == BYTES:
        return np.array([[b"a", "ä".encode()], [b"", b"x" * 300]], object)
    return np.array([[1, 0], [0, 1]]).astype(DTYPES[datatype])


async def test_every_type_goes_in_and_comes_out(load: Loading) -> None:
    """Values, type and shape are those that went in."""
    model = await load(identities((2,)))
    answered = await model.infer({each: _values(each) for each in DATATYPES}, 10)
    for each in DATATYPES:
        found = answered[f"{each}_OUT"]
        assert (each, _values(each).tolist()) == (each, found.tolist())
        assert (each, DTYPES[each]) == (each, found.dtype)
    await model.close()


async def test_several_inputs_and_outputs_are_told_apart(load: Loading) -> None:
    """Each by its name."""
    model = await load(several())
    pair = np.array([[1, 2]], np.float32)
    answered = await model.infer({"text": np.array([b"w"], object), "b": pair, "a": pair * 10}, 10)
    assert {"total": [[11, 22]], "word": [b"w"]} == {name: values.tolist() for name, values in answered.items()}
    await model.close()


async def test_rows_are_computed_each_for_itself(load: Loading) -> None:
    """The answer of a row does not depend on its neighbours, however many they are."""
    model = await load(linear(scale=2, width=1))
    for rows in (1, 2, 255):
        values = np.arange(rows, dtype=np.float32)[:, None]
        assert (values * 2).tolist() == (await model.infer({"x": values}, 10))["y"].tolist()
    await model.close()


async def test_slow_batches_do_not_hold_up_the_event_loop(load: Loading) -> None:
    """Other calls go on while a batch of a wide model is computed."""
    model = await load(deep())
    for rows in (1, 32, 256):
        await model.infer({"x": np.ones((rows, 16), np.float32)}, 10)
    batch = asyncio.create_task(model.infer({"x": np.ones((256, 16), np.float32)}, 10))
    turns = 0
    while not batch.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    await model.close()


async def test_batches_at_once_get_their_own_answers(load: Loading) -> None:
    """As many as the model takes, and more."""
    model = await load(linear(width=1))
    batches = [model.infer({"x": np.full((2, 1), value, np.float32)}, 10) for value in range(20)]
    answers = [answer["y"].tolist() for answer in await asyncio.gather(*batches)]
    assert [[[value], [value]] for value in range(20)] == answers
    await model.close()


async def test_any_time_may_be_given(load: Loading) -> None:
    """Callers say what they like: what is more than gRPC can count must not be taken for none."""
    model = await load(linear(width=1))
    assert [[1]] == (await model.infer({"x": np.ones((1, 1), np.float32)}, 1e15))["y"].tolist()
    await model.close()


async def test_a_failure_on_the_input_is_told_and_passes(load: Loading) -> None:
    """The next batch is answered."""
    model = await load(lookup(4))
    with pytest.raises(RuntimeFailed) as failed:
        await model.infer({"x": np.array([99], np.int64)}, 10)
    assert "99" not in failed.value.message
    assert failed.value.__cause__ is not None
    assert [20] == (await model.infer({"x": np.array([2], np.int64)}, 10))["y"].tolist()
    await model.close()


async def test_text_that_is_not_utf8_is_the_callers_fault(load: Loading) -> None:
    """It is refused, and not answered as other text."""
    model = await load(identity(BYTES))
    with pytest.raises(InvalidArgument):
        await model.infer({"x": np.array([b"\xff"], object)}, 10)
    await model.close()


@pytest.mark.parametrize("opening", LOADERS, indirect=True)
@pytest.mark.parametrize("content", [b"", b"no model", linear().content[:-40]], ids=["empty", "text", "cut"])
async def test_bytes_that_are_no_model_are_refused(load: Loading, content: bytes) -> None:
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
async def test_a_signature_that_does_not_fit_is_refused(load: Loading, signature: Signature) -> None:
    """Before anything is served by it."""
    with pytest.raises(SignatureMismatch) as refused:
        await load(linear(), signature)
    assert refused.value.violations


async def test_two_versions_of_a_model_stand_side_by_side(load: Loading) -> None:
    """Loading or closing one touches the other as little as any."""
    first, second = await load(linear(1)), await load(linear(2))
    rows = {"x": np.ones((1, 16), np.float32)}
    await first.close()
    assert [[32]] == (await second.infer(rows, 10))["y"].tolist()
    await second.close()
