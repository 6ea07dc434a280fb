"""Requests to other servers, and their responses."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from services.model.datatypes import BYTES, DTYPES, Array, pack
from services.model.errors import InvalidOutput, SignatureMismatch
from services.model.oip.client import InferCodec
from services.model.oip.datatypes import CONTENTS
from services.model.oip.infer import decode_infer
from services.model.oip.remote import remote_signature
from services.model.versions import Signature, TensorSpec
from tests.support.onnx_models import DATATYPES

Tensor: TypeAlias = oip.ModelMetadataResponse.TensorMetadata
Output: TypeAlias = oip.ModelInferResponse.InferOutputTensor

X, Y = TensorSpec("x", "FP32", (2,)), TensorSpec("y", "FP32", ())
SIGNATURE = Signature((X,), (Y,))


def _codec(signature: Signature, metadata: oip.ModelMetadataResponse | None = None, **names: str) -> InferCodec:
    remote = remote_signature(signature, metadata or oip.ModelMetadataResponse(), names)
    return InferCodec("theirs", "7", remote)


def _metadata(x: Tensor, y: Tensor) -> oip.ModelMetadataResponse:
    return oip.ModelMetadataResponse(inputs=[x], outputs=[y])


def _values(datatype: str) -> Array:
    if datatype == BYTES:
        return np.array([[b"a", b"\xff"], [b"", b"x" * 300]], object)
    return np.array([[1, 0], [0, 1]]).astype(DTYPES[datatype])


def _response(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> oip.ModelInferResponse:
    typed = oip.InferTensorContents(**contents)
    output = Output(name="y", datatype=datatype, shape=shape, contents=typed)
    return oip.ModelInferResponse(outputs=[output], raw_output_contents=[] if raw is None else [raw])


@pytest.mark.parametrize("datatype", DATATYPES)
def test_requests_are_read_as_they_are_meant(datatype: str) -> None:
    """By a server such as ours: names, type, shape, values and the outputs asked for."""
    signature = Signature((TensorSpec("x", datatype, (2,)),), (Y,))
    request = _codec(signature).encode({"x": _values(datatype)}, 2)
    call = decode_infer(request, signature, 8, 0.0)
    assert ("theirs", "7", ["y"]) == (
        request.model_name,
        request.model_version,
        [each.name for each in request.outputs],
    )
    assert _values(datatype).tolist() == call.inputs["x"].tolist()


def test_requests_do_not_share_anything() -> None:
    """One of other rows leaves those before as they are."""
    codec = _codec(SIGNATURE)
    first = codec.encode({"x": np.ones((1, 2), np.float32)}, 1)
    second = codec.encode({"x": np.ones((3, 2), np.float32)}, 3)
    assert [[1, 2], [3, 2]] == [list(each.inputs[0].shape) for each in (first, second)]
    assert [8, 24] == [len(each.raw_input_contents[0]) for each in (first, second)]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_packed_outputs_are_read(datatype: str) -> None:
    """Of every type."""
    codec = _codec(Signature((X,), (TensorSpec("y", datatype, (2,)),)))
    values = codec.decode(_response(datatype, [2, 2], pack(_values(datatype))), 2)["y"]
    assert (_values(datatype).tolist(), DTYPES[datatype]) == (values.tolist(), values.dtype)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_outputs_are_read(datatype: str) -> None:
    """Of every type that has them."""
    codec = _codec(Signature((X,), (TensorSpec("y", datatype, (2,)),)))
    contents = {CONTENTS[datatype]: _values(datatype).ravel().tolist()}
    values = codec.decode(_response(datatype, [2, 2], None, **contents), 2)["y"]
    assert (_values(datatype).tolist(), DTYPES[datatype]) == (values.tolist(), values.dtype)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("came", [[2], [2, 1]])
def test_one_value_a_row_may_be_a_dimension_or_none(shape: tuple[int, ...], came: list[int]) -> None:
    """It comes as the signature has it."""
    codec = _codec(Signature((X,), (TensorSpec("y", "FP32", shape),)))
    values = codec.decode(_response("FP32", came, np.array([1, 2], np.float32).tobytes()), 2)["y"]
    assert (2, *shape) == values.shape


def test_outputs_beyond_the_signature_are_ignored() -> None:
    """Wherever they stand."""
    response = _response("FP32", [1], np.array([5], np.float32).tobytes())
    response.outputs.insert(0, Output(name="more", datatype="WHAT", shape=[9]))
    response.raw_output_contents.insert(0, b"1234")
    assert [5] == _codec(SIGNATURE).decode(response, 1)["y"].tolist()


@pytest.mark.parametrize(
    "response",
    [
        oip.ModelInferResponse(),
        _response("FP64", [1], b"12345678"),
        _response("FP32", [2], b"12345678"),
        _response("FP32", [1, 1, 1], b"1234"),
        _response("FP32", [1], b"123"),
        _response("FP32", [1], b"12345678"),
        _response("FP32", [1]),
        _response("FP32", [1], fp64_contents=[1]),
        oip.ModelInferResponse(outputs=[Output(name="y", datatype="FP32", shape=[1])], raw_output_contents=[b"", b""]),
    ],
    ids=["none", "type", "rows", "rank", "short", "long", "empty", "other contents", "more contents"],
)
def test_other_outputs_than_the_signatures_are_refused(response: oip.ModelInferResponse) -> None:
    """A wrong answer is none."""
    with pytest.raises(InvalidOutput):
        _codec(SIGNATURE).decode(response, 1)


def test_a_server_may_have_one_value_a_row_as_a_dimension() -> None:
    """It is sent so."""
    signature = Signature((TensorSpec("x", "FP32", ()),), (Y,))
    metadata = _metadata(
        Tensor(name="x", datatype="FP32", shape=[-1, 1]), Tensor(name="y", datatype="FP32", shape=[-1])
    )
    assert [3, 1] == list(_codec(signature, metadata).encode({"x": np.ones(3, np.float32)}, 3).inputs[0].shape)


def test_a_server_may_have_other_names() -> None:
    """They are its own affair."""
    metadata = _metadata(
        Tensor(name="IN", datatype="FP32", shape=[-1, 2]), Tensor(name="OUT", datatype="FP32", shape=[-1])
    )
    codec = _codec(SIGNATURE, metadata, x="IN", y="OUT")
    request = codec.encode({"x": np.ones((1, 2), np.float32)}, 1)
    assert ("IN", "OUT") == (request.inputs[0].name, request.outputs[0].name)
    response = oip.ModelInferResponse(outputs=[Output(name="OUT", datatype="FP32", shape=[1])])
    response.raw_output_contents.append(np.array([5], np.float32).tobytes())
    assert [5] == codec.decode(response, 1)["y"].tolist()


def test_types_that_the_protocol_does_not_have_are_not_compared() -> None:
    """Servers write their own."""
    metadata = _metadata(Tensor(name="x", datatype="float", shape=[-1, 2]), Tensor(name="y", datatype="", shape=[-1]))
    assert [X] == [tensor.spec for tensor in remote_signature(SIGNATURE, metadata).inputs]


@pytest.mark.parametrize(
    ("x", "field"),
    [
        (Tensor(name="q", datatype="FP32", shape=[-1, 2]), "signature.inputs[0].name"),
        (Tensor(name="x", datatype="INT8", shape=[-1, 2]), "signature.inputs[0].data_type"),
        (Tensor(name="x", datatype="FP32", shape=[-1, 3]), "signature.inputs[0].shape"),
        (Tensor(name="x", datatype="FP32", shape=[4, 2]), "signature.inputs[0].shape"),
    ],
    ids=["name", "type", "shape", "fixed"],
)
def test_a_server_with_other_tensors_is_refused(x: Tensor, field: str) -> None:
    """With each difference by its field."""
    with pytest.raises(SignatureMismatch) as refused:
        remote_signature(SIGNATURE, _metadata(x, Tensor(name="y", datatype="FP32", shape=[-1])))
    assert field in {violation.field for violation in refused.value.violations}
