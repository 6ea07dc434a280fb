"""Element types of the Open Inference Protocol: NumPy's types for them, and their packed form."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

BYTES = "BYTES"
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BYTES: np.dtype(np.object_),
}
"""Every type by its name. An array of BYTES holds `bytes` objects."""

FLOATS = frozenset({"FP16", "FP32", "FP64"})

_LENGTH = struct.Struct("<I")


def unpack(raw: bytes, datatype: str, shape: tuple[int, ...]) -> Array:
    """Read packed values, row-major; ValueError when they do not fill the shape exactly."""
    if datatype == BYTES:
        values = list(_byte_strings(raw))
        array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    if datatype == "BOOL":
        # Compared, not viewed: a byte of 2 viewed as a bool is neither True nor False to native code.
        return np.not_equal(np.frombuffer(raw, np.uint8), 0).reshape(shape)
    return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)


def pack(array: Array) -> bytes:
    """Write values row-major; byte strings each behind its length."""
    if array.dtype != np.object_:
        return array.tobytes()
    return b"".join(_LENGTH.pack(len(value)) + value for value in array.ravel())


def blank(datatype: str, shape: tuple[int, ...]) -> Array:
    """Make zeros, or empty byte strings."""
    return np.full(shape, b"", object) if datatype == BYTES else np.zeros(shape, DTYPES[datatype])


def _byte_strings(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw):
            raise ValueError(f"a length needs {_LENGTH.size} bytes, {len(raw) - position} are left")
        position = start + int(_LENGTH.unpack_from(raw, position)[0])
        if position > len(raw):
            raise ValueError(f"a value ends {position - len(raw)} bytes behind the last byte")
        yield raw[start:position]
