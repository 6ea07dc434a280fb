"""One row of a version's outputs, by name, as people write it: `{probability: [0.2]}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.resources.cursor import Cursor
from services.cli.values import fill, natural_type, values_of

# As more are none of numpy's, in which gateways hold them.
_MAX_DEPTH = 32
# Truth values first, which Python takes for numbers.
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "true or false": bool,
    "numbers": (int, float),
    "text": (str, bytes),
}


def read_row(cursor: Cursor) -> list[Tensor]:
    """Return the outputs that stand here, at least one. Their types stay open: the registry knows them."""
    members = cursor.members()
    if not members:
        cursor.fail("must hold OUTPUT: VALUE for every output, e.g. {probability: [0.5]}")
    return [_read_output(name, member) for name, member in members.items()]


def _read_output(name: str, cursor: Cursor) -> Tensor:
    shape = tuple(_shape(cursor))
    elements = list(_elements(cursor, shape))
    _check_alike(elements)
    values = [element.value for element in elements]
    try:
        tensor = fill(Tensor(name=name), values, natural_type(values, DataType.DATA_TYPE_FP64))
    except ValueError as error:
        cursor.fail(str(error))
    tensor.ClearField("data_type")
    if shape:
        tensor.shape.extend((1, *shape))
    return tensor


def _shape(cursor: Cursor) -> Iterator[int]:
    """Yield the lengths of the nested lists, as the first of each depth has them."""
    for depth in count():
        if not isinstance(cursor.value, list):
            return
        if depth == _MAX_DEPTH:
            cursor.fail(f"lists nest at most {_MAX_DEPTH} deep")
        items = cursor.items()
        if not items:
            cursor.fail("must hold values")
        yield len(items)
        cursor = items[0]


def _elements(cursor: Cursor, shape: tuple[int, ...]) -> Iterator[Cursor]:
    """Yield what stands in the nested lists, row-major."""
    if not shape:
        yield cursor
        return
    items = cursor.items()
    if len(items) != shape[0]:
        cursor.fail(f"has {len(items)} elements, and the first of its kind {shape[0]}")
    for item in items:
        yield from _elements(item, shape[1:])


def _check_alike(elements: Iterable[Cursor]) -> None:
    first = ""
    for element in elements:
        kind = next((name for name, types in _KINDS.items() if isinstance(element.value, types)), "")
        if not kind:
            element.fail(f"{element.value!r} is no value of an output: {', '.join(_KINDS)}")
        first = first or kind
        if kind != first:
            element.fail(f"{element.value!r} stands beside {first}, and an output has values of one type")


def show_row(tensors: Iterable[Tensor]) -> dict[str, object]:
    """Return the YAML form of a row of outputs."""
    return {tensor.name: _nested(values_of(tensor), tensor.shape[1:]) for tensor in tensors}


def _nested(values: list[object], shape: Iterable[int]) -> object:
    """Return the values in nested lists; as they are where they are fewer or more than the shape has."""
    lengths = list(shape)
    if math.prod(lengths) != len(values):
        return values
    if not lengths:
        return values[0]
    step = len(values) // lengths[0]
    return [_nested(values[start : start + step], lengths[1:]) for start in range(0, len(values), step)]
