from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from services.mesh.errors import MeshError, Reason
from services.model.datatypes import BYTES, DTYPES, pack
from services.model.oip.infer import decode_infer, requested_outputs
from services.model.versions import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("a", "FP32", (2,)), TensorSpec("b", "BYTES", ())),
    (TensorSpec("y", "FP32", ()), TensorSpec("z", "INT64", (3,))),
)
Request: TypeAlias = oip.ModelInferRequest


def _request() -> Request:
    request = Request(model_name="m")
    request.inputs.add(name="a", datatype="FP32", shape=[2, 2])
    request.inputs.add(name="b", datatype="BYTES", shape=[2])
    request.raw_input_contents.append(np.arange(4, dtype=np.float32).tobytes())
    request.raw_input_contents.append(pack(np.array([b"u", b"vw"], object)))
    return request


def test_packed_inputs_are_read() -> None:
    """Every input by its name, with its rows."""
    call = decode_infer(_request(), SIGNATURE, 10, 60.0)
    assert 2 == call.rows
    assert [[0, 1], [2, 3]] == call.inputs["a"].tolist()
    assert [b"u", b"vw"] == call.inputs["b"].tolist()
    assert (60.0, False, None) == (call.deadline, call.by_row, call.deadlines)


def test_inputs_may_come_in_any_order() -> None:
    """Names say what is what."""
    request = _request()
    request.inputs.reverse()
    request.raw_input_contents.reverse()
    assert [[0, 1], [2, 3]] == decode_infer(request, SIGNATURE, 10, 60.0).inputs["a"].tolist()


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65_535]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-(2**15), 2**15 - 1]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("FP32", "fp32_contents", [0.5, -2.0]),
        ("FP64", "fp64_contents", [0.1, -2.0]),
        ("BYTES", "bytes_contents", [b"\xff\x00", b""]),
    ],
)
def test_typed_inputs_are_read(datatype: str, field: str, values: list[object]) -> None:
    """Each type from the field that the protocol gives it, up to its limits."""
    request = Request()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[2])
    getattr(tensor.contents, field).extend(values)
    signature = Signature((TensorSpec("x", datatype, ()),), ())
    read = decode_infer(request, signature, 10, 60.0).inputs["x"]
    assert (values, DTYPES[datatype]) == (read.tolist(), read.dtype)


def test_half_floats_must_be_packed() -> None:
    """The protocol has no typed field for them."""
    request = Request()
    request.inputs.add(name="x", datatype="FP16", shape=[1]).contents.fp32_contents.append(1)
    _refused(request, Reason.TYPE_MISMATCH, "inputs[0].contents", Signature((TensorSpec("x", "FP16", ()),), ()))


def _typed_int8(request: Request) -> None:
    request.Clear()
    request.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(200)


def test_a_number_too_large_for_its_type_is_refused() -> None:
    """It would otherwise come out as another number."""
    request = Request()
    _typed_int8(request)
    signature = Signature((TensorSpec("x", "INT8", ()),), ())
    _refused(request, Reason.TYPE_MISMATCH, "inputs[0].contents.int_contents", signature)


def _typed_in_the_wrong_field(request: Request) -> None:
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp64_contents.extend([0, 1, 2, 3])


def _set(path: str, value: object) -> Callable[[Request], None]:
    return lambda request: setattr(request.inputs[0], path, value)


def _shape(index: int, *shape: int) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.inputs[index].shape[:] = shape

    return change


def _raw(index: int, raw: bytes) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.raw_input_contents[index] = raw

    return change


def _rows_text(text: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.parameters["pm_rows"].string_param = text

    return change


def _shared_memory(request: Request) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"


FAULTS: dict[str, tuple[Callable[[Request], object], Reason, str]] = {
    "an unknown name": (_set("name", "other"), Reason.UNKNOWN_FIELD, "inputs[0].name"),
    "another input's name": (_set("name", "b"), Reason.TYPE_MISMATCH, "inputs[0].datatype"),
    "more inputs than contents": (
        lambda r: r.inputs.add(name="a", datatype="FP32"),
        Reason.LENGTH_MISMATCH,
        "raw_input_contents",
    ),
    "an input missing": (lambda r: r.inputs.pop() and r.raw_input_contents.pop(), Reason.MISSING_FIELD, "inputs"),
    "no input": (lambda r: r.Clear(), Reason.MISSING_FIELD, "inputs"),
    "another type": (_set("datatype", "FP64"), Reason.TYPE_MISMATCH, "inputs[0].datatype"),
    "no type": (_set("datatype", ""), Reason.TYPE_MISMATCH, "inputs[0].datatype"),
    "another size": (_shape(0, 2, 3), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "another rank": (_shape(0, 2), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "no shape": (_shape(0), Reason.ROWS_OUT_OF_RANGE, "inputs[0].shape"),
    "no rows": (_shape(0, 0, 2), Reason.ROWS_OUT_OF_RANGE, "inputs[0].shape"),
    "negative rows": (_shape(0, -1, 2), Reason.ROWS_OUT_OF_RANGE, "inputs[0].shape"),
    "too many rows": (_shape(0, 11, 2), Reason.ROWS_OUT_OF_RANGE, "inputs[0].shape"),
    "rows unlike the input before": (_shape(1, 3), Reason.LENGTH_MISMATCH, "inputs[1].shape"),
    "too few bytes": (_raw(0, b"\0" * 15), Reason.SHAPE_MISMATCH, "raw_input_contents[0]"),
    "too many bytes": (_raw(0, b"\0" * 20), Reason.SHAPE_MISMATCH, "raw_input_contents[0]"),
    "a length beyond the end": (_raw(1, b"\x01\0\0\0u\x09\0\0\0v"), Reason.SHAPE_MISMATCH, "raw_input_contents[1]"),
    "fewer contents than inputs": (lambda r: r.raw_input_contents.pop(), Reason.LENGTH_MISMATCH, "raw_input_contents"),
    "the wrong field": (_typed_in_the_wrong_field, Reason.SHAPE_MISMATCH, "inputs[0].contents.fp32_contents"),
    "typed contents beside packed ones": (
        lambda r: r.inputs[1].contents.bytes_contents.append(b"u"),
        Reason.INVALID_ARGUMENT,
        "inputs[1].contents",
    ),
    "shared memory": (_shared_memory, Reason.INVALID_ARGUMENT, "inputs[0].parameters[shared_memory_region]"),
    "too many times": (_rows_text("10,10,10"), Reason.LENGTH_MISMATCH, "parameters[pm_rows]"),
    "a time in words": (_rows_text("10,x"), Reason.INVALID_ARGUMENT, "parameters[pm_rows]"),
    "a time that is no number": (_rows_text("10,nan"), Reason.INVALID_ARGUMENT, "parameters[pm_rows]"),
    "no times": (_rows_text(""), Reason.INVALID_ARGUMENT, "parameters[pm_rows]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_refused_with_its_reason_and_path(fault: str) -> None:
    """A caller can tell by program what is wrong, and where."""
    change, reason, field = FAULTS[fault]
    request = _request()
    change(request)
    _refused(request, reason, field)


def test_an_input_that_comes_twice_is_refused() -> None:
    """Neither of the two is taken silently."""
    request = _request()
    request.inputs[1].CopyFrom(request.inputs[0])
    _refused(request, Reason.INVALID_ARGUMENT, "inputs[1].name")


def test_row_times_are_read() -> None:
    """Milliseconds, a row each; the earliest is the call's."""
    request = _request()
    _rows_text("12000,-3.5")(request)
    before = time.monotonic()
    call = decode_infer(request, SIGNATURE, 10, 60.0)
    assert call.by_row
    assert call.deadlines is not None
    assert pytest.approx([before + 12, before - 0.0035], abs=1) == list(call.deadlines)
    assert pytest.approx(12.0035) == call.deadlines[0] - call.deadlines[1]
    assert call.deadline == call.deadlines[1]


@pytest.mark.parametrize("text", ["12000", "12000,12000"])
def test_one_time_is_every_row_s(text: str) -> None:
    """Rows of one request have the same time left, which is sent once."""
    request = _request()
    request.parameters["pm_rows"].string_param = text
    call = decode_infer(request, SIGNATURE, 10, 60.0)
    assert (True, None) == (call.by_row, call.deadlines)
    assert pytest.approx(time.monotonic() + 12, abs=1) == call.deadline


def test_requested_outputs_are_answered_in_the_callers_order() -> None:
    """All of them when none is named."""
    request = _request()
    assert ["y", "z"] == [spec.name for spec in requested_outputs(request, SIGNATURE)]
    for name in ("z", "y"):
        request.outputs.add(name=name)
    assert ["z", "y"] == [spec.name for spec in requested_outputs(request, SIGNATURE)]


def test_unknown_outputs_and_other_forms_of_output_are_refused() -> None:
    """Classification would need another answer than the one that would come."""
    request = _request()
    output = request.outputs.add(name="q")
    with pytest.raises(MeshError) as refused:
        requested_outputs(request, SIGNATURE)
    assert ("UNKNOWN_FIELD", "outputs[0].name") == (refused.value.reason, refused.value.violations[0].field)
    output.name = "y"
    output.parameters["classification"].int64_param = 3
    with pytest.raises(MeshError) as refused:
        requested_outputs(request, SIGNATURE)
    assert "outputs[0].parameters[classification]" == refused.value.violations[0].field


def test_reading_changes_nothing_in_the_request() -> None:
    """In one process the message is the caller's own."""
    request = _request()
    before = request.SerializeToString(deterministic=True)
    decode_infer(request, SIGNATURE, 10, 60.0)
    assert before == request.SerializeToString(deterministic=True)


def _refused(request: Request, reason: Reason, field: str, signature: Signature = SIGNATURE) -> None:
    with pytest.raises(MeshError) as refused:
        decode_infer(request, signature, 10, 60.0)
    assert (reason, field) == (refused.value.reason, refused.value.violations[0].field)


def test_every_type_has_a_way_in() -> None:
    """Packed for all; BYTES by length."""
    for datatype, dtype in DTYPES.items():
        values = np.array([b"1", b"0"], object) if datatype == BYTES else np.array([1, 0]).astype(dtype)
        request = Request(raw_input_contents=[pack(values)])
        request.inputs.add(name="x", datatype=datatype, shape=[2])
        read = decode_infer(request, Signature((TensorSpec("x", datatype, ()),), ()), 10, 60.0).inputs["x"]
        assert (values.tolist(), dtype) == (read.tolist(), read.dtype)
