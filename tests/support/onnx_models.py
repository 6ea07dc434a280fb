"""Small ONNX models, each with the signature that fits it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from services.model.versions import Artifact, Signature, TensorSpec, Version

_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
DATATYPES = tuple(_TYPES)


@dataclass(frozen=True)
class OnnxModel:
    """The bytes of a model and what they are."""

    content: bytes
    signature: Signature

    @property
    def sha256(self) -> str:
        """Digest of the bytes, hex."""
        return hashlib.sha256(self.content).hexdigest()

    def version(self, model: str = "m", version: str = "1.0.0", digest: str = "") -> Version:
        """Make a version of it."""
        return Version(model, version, digest or self.sha256, self.signature, (Artifact("onnx", self.sha256),))


def linear(scale: float = 1.0, width: int = 16) -> OnnxModel:
    """Y = scale * sum of x; x is FP32 [rows, width], y is FP32 [rows, 1]."""
    weights = np.full((width, 1), scale, np.float32)
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [TensorSpec("x", "FP32", (width,))],
        [TensorSpec("y", "FP32", (1,))],
        {"w": weights},
    )


def deep(width: int = 16, hidden: int = 1024, layers: int = 3) -> OnnxModel:
    """A network wide enough that a batch of it takes milliseconds; y is FP32 [rows, 1]."""
    random = np.random.default_rng(7)
    nodes, weights, last, size = [], {}, "x", width
    for layer in range(layers):
        weights[f"w{layer}"] = random.normal(0, 0.05, (size, hidden)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"h{layer}"]))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        last, size = f"r{layer}", hidden
    weights["w"] = random.normal(0, 0.05, (size, 1)).astype(np.float32)
    nodes.append(helper.make_node("MatMul", [last, "w"], ["y"]))
    return build(nodes, [TensorSpec("x", "FP32", (width,))], [TensorSpec("y", "FP32", (1,))], weights)


def identity(datatype: str, shape: tuple[int, ...] = ()) -> OnnxModel:
    """Y = x, of any type and shape."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return build([node], [TensorSpec("x", datatype, shape)], [TensorSpec("y", datatype, shape)])


def identities(shape: tuple[int, ...] = ()) -> OnnxModel:
    """Each type's own input goes to its own output, as it is: FP32 to FP32_OUT; all of one shape."""
    nodes = [helper.make_node("Identity", [each], [f"{each}_OUT"]) for each in DATATYPES]
    inputs = [TensorSpec(each, each, shape) for each in DATATYPES]
    return build(nodes, inputs, [TensorSpec(f"{each}_OUT", each, shape) for each in DATATYPES])


def reciprocal() -> OnnxModel:
    """Y = 1 / x, and not finite at 0 where its signature says that it is; both FP32 [rows]."""
    node = helper.make_node("Reciprocal", ["x"], ["y"])
    return build([node], [TensorSpec("x", "FP32", (), finite=True)], [TensorSpec("y", "FP32", (), finite=True)])


def lookup(size: int = 4) -> OnnxModel:
    """Y = 10 * x by a table, and a failure of the runtime where x is not below `size`; x INT64, y FP32, both [rows]."""
    table = np.arange(size, dtype=np.float32) * 10
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    return build([node], [TensorSpec("x", "INT64", ())], [TensorSpec("y", "FP32", ())], {"table": table})


def several() -> OnnxModel:
    """Total = a + b and word = text; a, b, total FP32 [rows, 2], text and word BYTES [rows]."""
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Identity", ["text"], ["word"])]
    inputs = [TensorSpec("a", "FP32", (2,)), TensorSpec("b", "FP32", (2,)), TensorSpec("text", "BYTES", ())]
    return build(nodes, inputs, [TensorSpec("total", "FP32", (2,)), TensorSpec("word", "BYTES", ())])


def build(
    nodes: Sequence[NodeProto],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    weights: Mapping[str, npt.NDArray[Any]] | None = None,
    batch: str | int = "rows",
) -> OnnxModel:
    """Put a model together whose leading dimension is `batch`."""
    initializers = [numpy_helper.from_array(values, name) for name, values in (weights or {}).items()]
    graph = helper.make_graph(
        nodes, "g", [_value(spec, batch) for spec in inputs], [_value(spec, batch) for spec in outputs], initializers
    )
    # Versions that ONNX Runtime has read for years, not the newest that the package can write.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return OnnxModel(model.SerializeToString(), Signature(tuple(inputs), tuple(outputs)))


def _value(spec: TensorSpec, batch: str | int) -> ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.datatype], [batch, *spec.shape])
