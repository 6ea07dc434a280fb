"""Which values fit a data type."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.registry.definitions import DataType, Tensor
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults

Scalar = bool | int | float | str | bytes

_RANGES: dict[DataType, tuple[int, int]] = {
    **{DataType(f"UINT{bits}"): (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{DataType(f"INT{bits}"): (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
}
# The shortest numbers that round to the largest ones, as which these are read from the log.
_LARGEST = {DataType.FP16: 65504.0, DataType.FP32: 3.4028235e38, DataType.FP64: math.inf}
_LISTS = ("bools", "ints", "uints", "floats", "doubles", "strings", "blobs")


def lists_of(data_type: DataType) -> tuple[str, ...]:
    """The lists of a Tensor that hold values of the type."""
    match data_type:
        case DataType.BOOL:
            return ("bools",)
        case DataType.UINT64:
            return ("uints",)
        case DataType.FP16 | DataType.FP32:
            return ("floats",)
        case DataType.FP64:
            return ("doubles",)
        case DataType.BYTES:
            return ("strings", "blobs")
        case DataType.UNSPECIFIED:
            return ()
        case _:
            return ("ints",)


def filled_list(tensor: Tensor) -> str:
    """Name of the one list that has values; empty if none or several have."""
    filled = [name for name in _LISTS if getattr(tensor, name)]
    return filled[0] if len(filled) == 1 else ""


def values_of(tensor: Tensor) -> Sequence[Scalar]:
    """The values, whatever their type; empty if no list or several lists are filled."""
    name = filled_list(tensor)
    return getattr(tensor, name) if name else ()


def fits(value: Scalar, data_type: DataType) -> bool:
    """Whether one value of the right list is in the range of the type; NaN and infinity are not."""
    bounds = _RANGES.get(data_type)
    if bounds:
        return bounds[0] <= int(value) <= bounds[1]
    if data_type.is_float:
        return math.isfinite(float(value)) and abs(float(value)) <= _LARGEST[data_type]
    return True


def can_be(tensor: Tensor, data_type: DataType) -> bool:
    """Whether all values are of the type; numbers without a type may stand for another kind of number."""
    if tensor.data_type not in {data_type, DataType.UNSPECIFIED}:
        return False
    accepted = set(lists_of(data_type))
    if tensor.data_type is DataType.UNSPECIFIED and data_type.is_float:
        accepted |= {"ints", "floats", "doubles"}
    if tensor.data_type is DataType.UNSPECIFIED and data_type is DataType.UINT64:
        accepted.add("ints")
    return filled_list(tensor) in accepted and all(fits(value, data_type) for value in values_of(tensor))


def check_default(tensor: Tensor, data_type: DataType, length: int, path: str, faults: Faults) -> None:
    """A default: one value, or `length` of them, of the field's type."""
    if tensor.data_type not in {data_type, DataType.UNSPECIFIED}:
        faults.add(InvalidDefinition, f"{path}.data_type", f"is {tensor.data_type}, the field is {data_type}")
    if tensor.null_rows:
        faults.add(InvalidDefinition, f"{path}.null_rows", "a default has values; leave it out for null")
    shapes: set[tuple[int, ...]] = {(), (length,), (1, length)} if length else {(), (1,)}
    if tensor.shape not in shapes:
        faults.add(InvalidDefinition, f"{path}.shape", f"{list(tensor.shape)} is not the shape of the field")
    check_values(tensor, data_type, max(length, 1), path, faults)


def check_values(tensor: Tensor, data_type: DataType, count: int, path: str, faults: Faults) -> None:
    """Exactly `count` values, in the list of the type, each in its range."""
    name, values = filled_list(tensor), values_of(tensor)
    if name not in lists_of(data_type):
        wanted = " or ".join(lists_of(data_type))
        faults.add(InvalidDefinition, path, f"values of {data_type} stand in {wanted}, and only there")
    elif len(values) != count:
        faults.add(InvalidDefinition, f"{path}.{name}", f"has {len(values)} values, not {count}")
    else:
        for index, value in enumerate(values):
            if not fits(value, data_type):
                faults.add(InvalidDefinition, f"{path}.{name}[{index}]", f"{value!r} is not a finite {data_type}")
