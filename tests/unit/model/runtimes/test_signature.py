from __future__ import annotations

import pytest

from services.model.errors import SignatureMismatch
from services.model.runtimes.signature import DeclaredTensor, check_signature
from services.model.versions import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (16,)),), (TensorSpec("y", "INT64", ()),))
X = DeclaredTensor("x", "FP32", (None, 16))
Y = DeclaredTensor("y", "INT64", (None,))


@pytest.mark.parametrize(
    "declared",
    [
        X,
        DeclaredTensor("x", "FP32", (None, None)),
        DeclaredTensor("x", "FP32", None),
    ],
)
def test_what_fits_passes(declared: DeclaredTensor) -> None:
    """A dimension that varies, or an unknown shape, fits any; so does an output that nobody asks for."""
    check_signature(SIGNATURE, [declared], [Y, DeclaredTensor("z", "seq(map)", None)])


@pytest.mark.parametrize(
    ("declared", "field", "message"),
    [
        (DeclaredTensor("other", "FP32", (None, 16)), "signature.inputs[0].name", "no input 'x', it has: other"),
        (DeclaredTensor("x", "FP64", (None, 16)), "signature.inputs[0].data_type", "FP64 in the model, FP32"),
        (DeclaredTensor("x", "FP32", (None, 8)), "signature.inputs[0].shape", "rows of [8] in the model, [16]"),
        (DeclaredTensor("x", "FP32", (None,)), "signature.inputs[0].shape", "1 dimensions in the model, 2"),
        (DeclaredTensor("x", "FP32", (1, 16)), "signature.inputs[0].shape", "fixed batch dimension of 1"),
    ],
)
def test_each_difference_is_named_by_its_path(declared: DeclaredTensor, field: str, message: str) -> None:
    """Name, type, size, rank and batch dimension."""
    with pytest.raises(SignatureMismatch) as mismatch:
        check_signature(SIGNATURE, [declared], [Y])
    first = mismatch.value.violations[0]
    assert field == first.field
    assert message in first.description
    assert message in mismatch.value.message


def test_all_differences_are_named_at_once() -> None:
    """An input that nobody feeds, and an output that is not there, too."""
    with pytest.raises(SignatureMismatch) as mismatch:
        check_signature(SIGNATURE, [X, DeclaredTensor("extra", "FP32", (None,))], [])
    assert ["signature.inputs", "signature.outputs[0].name"] == [v.field for v in mismatch.value.violations]
    assert "'extra' is not in the signature" in mismatch.value.message
