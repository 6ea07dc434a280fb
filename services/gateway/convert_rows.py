"""Rows of outputs that are written down: defaults of nodes, and static answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert import VALUE_FIELDS
from services.gateway.target import Output


def one_row(tensors: Iterable[Tensor], outputs: Sequence[Output]) -> tuple[npt.NDArray[np.generic], ...]:
    """Return a row that is written down, an array [1, width] for each output; LookupError or ValueError if it is none."""
    given = {tensor.name: tensor for tensor in tensors}
    return tuple(_array(given[output.name], output) for output in outputs)


def _array(tensor: Tensor, output: Output) -> npt.NDArray[np.generic]:
    values = [value for name in VALUE_FIELDS for value in getattr(tensor, name)]
    if len(values) != output.width:
        raise ValueError(f"output {output.name!r} has {output.width} values a row, not {len(values)}")
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return np.array(encoded, dtype=output.dtype.numpy).reshape(1, output.width)
