from __future__ import annotations

from collections.abc import Mapping

import pytest

from services.model.datatypes import Array
from services.model.errors import InvalidOutput, RuntimeFailed
from services.model.versions import Signature, TensorSpec
from services.model.warmup import warm_up
from tests.support.gated_model import GatedModel


def _learn(rows: int, seconds: float) -> None:
    assert rows > 0
    assert seconds > 0


INPUT = TensorSpec("x", "FP32", (2,))


async def test_one_row_and_several_are_run() -> None:
    """Never more than the limit of a batch."""
    model = GatedModel()
    await warm_up(model, Signature((INPUT,), (TensorSpec("y", "FP32", (2,)),)), 8, _learn)
    assert {1, 8} == {len(batch) for batch in model.batches}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (TensorSpec("z", "FP32", (2,)), "no output 'z'"),
        (TensorSpec("y", "FP64", (2,)), "float32, the signature says FP64"),
        (TensorSpec("y", "FP32", (3,)), r"shape \[1, 2\], the signature says \[1, 3\]"),
        (TensorSpec("y", "FP32", ()), r"the signature says \[1\]"),
    ],
)
async def test_an_output_that_breaks_the_signature_is_found(output: TensorSpec, message: str) -> None:
    """Names, types and shapes are checked on what really comes out."""
    with pytest.raises(InvalidOutput, match=message):
        await warm_up(GatedModel(), Signature((INPUT,), (output,)), 8, _learn)


async def test_a_model_that_fails_says_so() -> None:
    """The runtime's own words are in the message, for the people who look at the status."""

    class Failing(GatedModel):
        async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
            raise RuntimeFailed("failed") from ValueError("index 7 is out of bounds")

    with pytest.raises(RuntimeFailed, match="1 rows of zeros failed: failed: index 7"):
        await warm_up(Failing(), Signature((INPUT,), ()), 8, _learn)
