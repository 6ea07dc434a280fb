"""Models whose answers show what they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.model.datatypes import DTYPES
from services.model.versions import TensorSpec
from tests.support.onnx_models import OnnxModel, build


def echo(**inputs: tuple[str, tuple[int, ...]]) -> OnnxModel:
    """Output `<name>_seen` is input `<name>`, given as its type and the shape of a row."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_seen"]) for name in inputs]
    specs = [TensorSpec(name, *kind) for name, kind in inputs.items()]
    return build(nodes, specs, [TensorSpec(f"{name}_seen", *kind) for name, kind in inputs.items()])


def tables(**outputs: npt.NDArray[Any]) -> OnnxModel:
    """Each output is the x-th entry of an array; x INT64 [rows]. Other numbers fail their row."""
    nodes = [helper.make_node("Gather", [f"{name}_table", "x"], [name]) for name in outputs]
    names = {dtype: datatype for datatype, dtype in DTYPES.items()}
    specs = [TensorSpec(name, names[array.dtype], array.shape[1:]) for name, array in outputs.items()]
    weights = {f"{name}_table": array for name, array in outputs.items()}
    return build(nodes, [TensorSpec("x", "INT64", ())], specs, weights)


def affine(matrix: npt.ArrayLike, shift: float = 0.0) -> OnnxModel:
    """Y = x times a matrix, plus `shift`; FP32 [rows, n] and [rows, m]."""
    weights = np.array(matrix, np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]
    inputs, outputs = (TensorSpec(name, "FP32", (size,)) for name, size in zip("xy", weights.shape, strict=True))
    return build(nodes, [inputs], [outputs], {"w": weights, "b": np.array([shift], np.float32)})


def labelled(*labels: bytes) -> OnnxModel:
    """Label = that of the largest element of p; FP32 [rows, labels] and BYTES [rows]."""
    nodes = [
        helper.make_node("ArgMax", ["p"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "place"], ["label"]),
    ]
    names = np.array(labels, object)
    return build(nodes, [TensorSpec("p", "FP32", names.shape)], [TensorSpec("label", "BYTES", ())], {"labels": names})


def spinning() -> OnnxModel:
    """Y = x after `spins` turns of a loop, the most among the rows; x and y FP32 [rows], spins INT64 [rows].

    A turn takes some microseconds, so a caller decides how long his batch takes.
    """
    nodes = [helper.make_node("ReduceMax", ["spins"], ["most"], keepdims=0), _turning("most")]
    return build(nodes, [TensorSpec("x", "FP32", ()), TensorSpec("spins", "INT64", ())], [TensorSpec("y", "FP32", ())])


def tardy(turns: int) -> OnnxModel:
    """Y = x after that many turns of a loop, whatever the batch; FP32 [rows]."""
    most = helper.make_node("Constant", [], ["most"], value=numpy_helper.from_array(np.array(turns, np.int64)))
    return build([most, _turning("most")], [TensorSpec("x", "FP32", ())], [TensorSpec("y", "FP32", ())])


def _turning(turns: str) -> onnx.NodeProto:
    """Y = x, multiplied by one as often as `turns` says."""
    scalar, flag = TensorProto.FLOAT, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node("Mul", ["state", "one"], ["next"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", flag, []),
            helper.make_tensor_value_info("state", scalar, ["rows"]),
        ],
        [helper.make_tensor_value_info("goes", flag, []), helper.make_tensor_value_info("next", scalar, ["rows"])],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    return helper.make_node("Loop", [turns, "", "x"], ["y"], body=body)
