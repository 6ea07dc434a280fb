"""Golden sets as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from predictmesh.registry.v1.model_pb2 import GoldenRows
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.values import values_field

Arrays = Mapping[str, npt.NDArray[Any]]

_NAMES = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "object": "BYTES"}


def golden_set(inputs: Arrays, outputs: Arrays) -> bytes:
    """Rows as a model service reads them; arrays of objects hold byte strings."""
    return GoldenRows(
        inputs=[tensor(name, values) for name, values in inputs.items()],
        outputs=[tensor(name, values) for name, values in outputs.items()],
    ).SerializeToString()


def tensor(name: str, values: npt.NDArray[Any], **parts: Any) -> Tensor:
    """An array of any type as a message; `parts` replace what follows from it."""
    data_type = DataType.Value("DATA_TYPE_" + _NAMES.get(values.dtype.name, values.dtype.name.upper()))
    fields: dict[str, Any] = {
        "name": name,
        "data_type": data_type,
        "shape": values.shape,
        values_field(data_type, blobs=True): values.ravel().tolist(),
    }
    return Tensor(**fields | parts)


def texts(*values: bytes) -> npt.NDArray[np.object_]:
    """Byte strings, one a row."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
