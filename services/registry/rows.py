"""One row of a version's outputs that is written down: what stands where nothing has been computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from services.registry.definitions import DataType, Tensor, TensorSpec
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.names import check_unique, shown
from services.registry.tensors import Scalar, can_be, filled_list, lists_of, values_of


def check_row(row: Sequence[Tensor], outputs: Sequence[TensorSpec], path: str, faults: Faults) -> None:
    """Every one of `outputs`, once, with the values of one row; a type or shape that is left open is the output's."""
    check_unique([tensor.name for tensor in row], path, "name", faults)
    specs = {spec.name: spec for spec in outputs}
    for index, tensor in enumerate(row):
        spec = specs.get(tensor.name)
        if spec is None:
            why = f"there is no output {shown(tensor.name)}, but {', '.join(specs)}"
            faults.add(InvalidDefinition, f"{path}[{index}].name", why)
        else:
            _check_output(tensor, spec, f"{path}[{index}]", faults)
    missing = [name for name in specs if name not in {tensor.name for tensor in row}]
    if missing:
        faults.add(
            InvalidDefinition, path, f"no value of {', '.join(missing)} is written: a row has one of every output"
        )


def _check_output(tensor: Tensor, spec: TensorSpec, path: str, faults: Faults) -> None:
    count = math.prod(spec.shape)
    if tensor.null_rows:
        faults.add(InvalidDefinition, f"{path}.null_rows", "an output has no null")
    if not can_be(tensor, spec.data_type):
        finite = "finite " if spec.data_type.is_float else ""
        faults.add(InvalidDefinition, path, f"output {spec.name} takes {finite}values of {spec.data_type}")
    elif len(values_of(tensor)) != count:
        faults.add(InvalidDefinition, path, f"has {len(values_of(tensor))} values, a row of {spec.name} has {count}")
    elif tensor.shape and _long(tensor.shape) != _long(spec.shape):
        faults.add(InvalidDefinition, f"{path}.shape", f"a row of {spec.name} is {list(spec.shape)}")


def _long(shape: tuple[int, ...]) -> list[int]:
    """The dimensions that tell elements apart: neither the rows, of which there is one, nor others of one."""
    return [length for length in shape if length != 1]


def completed_row(row: Sequence[Tensor], outputs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """The row in the order of `outputs`, with their types and shapes, [1, ...]; as it is if it breaks their rules."""
    faults = Faults()
    check_row(row, outputs, "", faults)
    if faults:
        return tuple(row)
    given = {tensor.name: tensor for tensor in row}
    return tuple(_completed(given[spec.name], spec) for spec in outputs)


def _completed(tensor: Tensor, spec: TensorSpec) -> Tensor:
    written = filled_list(tensor)
    wanted = written if written in lists_of(spec.data_type) else lists_of(spec.data_type)[0]
    values = tuple(_value(value, spec.data_type) for value in values_of(tensor))
    lists: dict[str, Any] = {written: (), wanted: values}
    return replace(tensor, data_type=spec.data_type, shape=(1, *spec.shape), **lists)


def _value(value: Scalar, data_type: DataType) -> Scalar:
    """The value as it is read from the wire."""
    if data_type is DataType.FP64:
        return float(value)
    return float(str(np.float32(value))) if data_type.is_float else value
