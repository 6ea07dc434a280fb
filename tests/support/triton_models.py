"""ONNX models in the repository of a real Triton, without the model service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as client

from services.model.datatypes import DTYPES
from services.model.versions import TensorSpec
from tests.support.onnx_models import OnnxModel
from tests.support.triton import TritonServer


def put(server: TritonServer, name: str, model: OnnxModel, settings: str = "") -> None:
    """Write a model and its configuration; `settings` is more of that."""
    directory = server.repository / name
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").write_bytes(model.content)
    inputs, outputs = map(_tensors, (model.signature.inputs, model.signature.outputs))
    (directory / "config.pbtxt").write_text(
        f'name: "{name}" backend: "onnxruntime" max_batch_size: 64 input [{inputs}] output [{outputs}] '
        f"instance_group [{{ kind: KIND_CPU count: 1 }}] dynamic_batching {{ }} {settings}"
    )


def tensor(name: str, datatype: str, values: Any) -> client.InferInput:
    """Make an input."""
    array: npt.NDArray[Any] = np.asarray(values, DTYPES[datatype])
    made = client.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f'{{ name: "{spec.name}" data_type: {_type(spec)} {_dims(spec)} }}' for spec in specs)


def _type(spec: TensorSpec) -> str:
    return f"TYPE_{'STRING' if spec.datatype == 'BYTES' else spec.datatype}"


def _dims(spec: TensorSpec) -> str:
    # Triton has no scalars: it is told of vectors of one, which the model sees as none.
    return f"dims: {list(spec.shape)}" if spec.shape else "dims: [1] reshape { shape: [] }"
