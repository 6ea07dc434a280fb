"""Types, values, and what a tensor is."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DataType(enum.StrEnum):
    """Element type of a tensor."""

    UNSPECIFIED = ""
    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def is_float(self) -> bool:
        """Whether the type has NaN, which stands for null."""
        return self in {DataType.FP16, DataType.FP32, DataType.FP64}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Named values; the list that fits the data type is filled. Rows first where there are several."""

    name: str = ""
    data_type: DataType = DataType.UNSPECIFIED
    shape: tuple[int, ...] = ()
    bools: tuple[bool, ...] = ()
    ints: tuple[int, ...] = ()
    uints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    doubles: tuple[float, ...] = ()
    strings: tuple[str, ...] = ()
    blobs: tuple[bytes, ...] = ()
    null_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: the shape is that of one row; `finite` refuses NaN and infinity."""

    name: str
    data_type: DataType
    shape: tuple[int, ...] = ()
    finite: bool = False
