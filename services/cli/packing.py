"""Packed tensors of the feature service, unpacked for people."""

from __future__ import annotations

import struct

from predictmesh.types.v1.data_type_pb2 import DataType
from services.cli.values import DATA_TYPES, shortest

_FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
_FORMAT_OF = {DATA_TYPES[name]: form for name, form in _FORMATS.items()}


def unpack(packed: bytes, data_type: DataType.ValueType) -> list[object]:
    """Return the elements in order: little-endian, BYTES each behind its length (uint32) and decoded as UTF-8."""
    if data_type == DataType.DATA_TYPE_BYTES:
        return _unpack_texts(packed)
    form = _FORMAT_OF[data_type]
    values = struct.unpack(f"<{len(packed) // struct.calcsize(form)}{form}", packed)
    return [shortest(value) for value in values] if form == "f" else list(values)


def _unpack_texts(packed: bytes) -> list[object]:
    texts: list[object] = []
    place = 0
    while place < len(packed):
        (length,) = struct.unpack_from("<I", packed, place)
        texts.append(packed[place + 4 : place + 4 + length].decode(errors="backslashreplace"))
        place += 4 + length
    return texts
