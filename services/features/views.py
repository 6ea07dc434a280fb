"""What the registry says of feature views, as this service uses it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


class DataType(enum.IntEnum):
    """Element types, numbered as in `types/v1/data_type.proto`."""

    BOOL = 1
    UINT8 = 2
    UINT16 = 3
    UINT32 = 4
    UINT64 = 5
    INT8 = 6
    INT16 = 7
    INT32 = 8
    INT64 = 9
    FP16 = 10
    FP32 = 11
    FP64 = 12
    BYTES = 13


# Element types as they are stored and sent; BYTES has no fixed width.
NUMPY: Mapping[DataType, np.dtype[np.generic]] = {
    DataType.BOOL: np.dtype("?"),
    DataType.UINT8: np.dtype("u1"),
    DataType.UINT16: np.dtype("<u2"),
    DataType.UINT32: np.dtype("<u4"),
    DataType.UINT64: np.dtype("<u8"),
    DataType.INT8: np.dtype("i1"),
    DataType.INT16: np.dtype("<i2"),
    DataType.INT32: np.dtype("<i4"),
    DataType.INT64: np.dtype("<i8"),
    DataType.FP16: np.dtype("<f2"),
    DataType.FP32: np.dtype("<f4"),
    DataType.FP64: np.dtype("<f8"),
}
FLOATS = frozenset({DataType.FP16, DataType.FP32, DataType.FP64})


class KeyType(enum.IntEnum):
    """Types of key columns, numbered as in `registry/v1/feature_view.proto`."""

    STRING = 1
    INT64 = 2


class StalePolicy(enum.IntEnum):
    """What to do with a value older than its view allows, numbered as in `registry/v1/feature_view.proto`."""

    SERVE = 1
    DEFAULT = 2
    REJECT = 3


class FeatureState(enum.IntEnum):
    """How a value was come by, numbered as in `features/v1/features_service.proto`."""

    FRESH = 0
    ABSENT = 1
    STALE_SERVED = 2
    STALE_DEFAULTED = 3
    STALE_REJECTED = 4
    AHEAD = 5


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of an entity's key."""

    name: str
    type: KeyType


@dataclass(frozen=True)
class Entity:
    """What a key identifies. The name carries its namespace."""

    name: str
    columns: tuple[KeyColumn, ...]


Scalar = bool | int | float | bytes


@dataclass(frozen=True)
class Field:
    """One value of a view: `length` elements, or one where it is 0. A default of None is null."""

    name: str
    data_type: DataType
    length: int = 0
    default: tuple[Scalar, ...] | None = None

    @property
    def elements(self) -> int:
        """Return how many elements a value has."""
        return self.length or 1


@dataclass(frozen=True)
class View:
    """Values of one entity that are written and read together.

    `max_age_us` and `ttl_ms` of 0 set no limit. `schemas` gives the number of fields of every list of fields that the
    view has had, by its id; the present one is `schema_id`.
    """

    name: str
    entity: Entity
    fields: tuple[Field, ...]
    schema_id: int
    max_age_us: int = 0
    policy: StalePolicy = StalePolicy.SERVE
    ttl_ms: int = 0
    schemas: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def field_index(self) -> Mapping[str, int]:
        """Return the place of each field by its name."""
        return {each.name: index for index, each in enumerate(self.fields)}


class Catalog:
    """Every view of one snapshot."""

    def __init__(self, views: Iterable[View] = ()) -> None:
        self.views: Mapping[str, View] = {view.name: view for view in views}
        self.views_by_entity: dict[str, list[View]] = {}
        for view in self.views.values():
            self.views_by_entity.setdefault(view.entity.name, []).append(view)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.views == other.views

    __hash__ = None  # type: ignore[assignment]  # compared by content
