"""A few words for writing an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8


class GraphBuilder:
    """Collects nodes and constants; every tensor is named by what made it and a number."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its one output."""
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def floats(self, values: float | Sequence[float] | NDArray[np.float32]) -> str:
        """A FP32 constant: a scalar, a row that broadcasts over the batch, or a matrix."""
        return self._constant(np.asarray(values, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        """An INT64 constant."""
        return self._constant(np.asarray(values, np.int64))

    def model(
        self, name: str, inputs: dict[str, int], outputs: dict[str, str], widths: dict[str, int]
    ) -> onnx.ModelProto:
        """A checked model of FP32 matrices: inputs by width, outputs by the tensor that becomes them and width."""
        renames = [helper.make_node("Identity", [tensor], [output]) for output, tensor in outputs.items()]
        graph = helper.make_graph(
            [*self._nodes, *renames],
            name,
            [_matrix(entry, width) for entry, width in inputs.items()],
            [_matrix(entry, widths[entry]) for entry in outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name


def _matrix(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
