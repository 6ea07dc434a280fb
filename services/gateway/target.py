"""What a prediction aims at: one model version with everything its requests need, resolved once per snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from services.gateway.graph.nodes import Graph


class DType(Enum):
    """Element types; the name is that of the Open Inference Protocol, the value numpy's (None: BYTES)."""

    BOOL = "?"
    UINT8 = "u1"
    UINT16 = "<u2"
    UINT32 = "<u4"
    UINT64 = "<u8"
    INT8 = "i1"
    INT16 = "<i2"
    INT32 = "<i4"
    INT64 = "<i8"
    FP16 = "<f2"
    FP32 = "<f4"
    FP64 = "<f8"
    BYTES = None

    @cached_property
    def numpy(self) -> npt.DTypeLike:
        """The array type that holds it; BYTES are Python objects."""
        return np.dtype(object if self.value is None else self.value)

    @property
    def is_float(self) -> bool:
        """Whether it has NaN, and so a null."""
        return self in {DType.FP16, DType.FP32, DType.FP64}


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of entity keys that requests bring: text, or 64-bit integers."""

    name: str
    is_int: bool


class SourceKind(Enum):
    """Where an element comes from."""

    FIELD = "field"
    AGE = "age"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Source:
    """`width` elements of an input, from `offset` on. `name` is view:field, the view of an age, or the request's name."""

    kind: SourceKind
    name: str
    view: str
    offset: int
    width: int


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model. `plan_index` is its place in the feature plan, None if requests alone fill it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    width: int
    finite: bool
    sources: tuple[Source, ...]
    plan_index: int | None

    @property
    def has_null(self) -> bool:
        """Whether a request may leave a value out: it is NaN then, so only where NaN is allowed."""
        return self.dtype.is_float and not self.finite


@dataclass(frozen=True, slots=True)
class Output:
    """One output of the model; `shape` is of one row. The model service fails rows that are not `finite`."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    width: int
    finite: bool


@dataclass(frozen=True, eq=False)
class Target:
    """One model version; equal only to itself. `digest` stands for all that was registered of it.

    `schema_ids` are those of its `views` when it was made. `entities` has the places in `keys` of each entity's columns.
    `plan` is what the feature service is asked, as the wire has it; None: requests alone. A composed version has a `graph`,
    whose nodes' inputs are its own but for those that other nodes feed.
    """

    model: str
    version: str
    digest: str
    keys: tuple[KeyColumn, ...]
    entities: tuple[tuple[int, ...], ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    views: tuple[str, ...]
    schema_ids: tuple[int, ...]
    plan_id: bytes
    plan: object | None
    graph: Graph | None = None

    @cached_property
    def key_index(self) -> dict[str, int]:
        """Place of each key column by name."""
        return {key.name: index for index, key in enumerate(self.keys)}

    @cached_property
    def required(self) -> dict[str, tuple[Input, Source]]:
        """What requests must bring, by name."""
        return {
            source.name: (feed, source)
            for feed in self.inputs
            for source in feed.sources
            if source.kind is SourceKind.REQUEST
        }

    @cached_property
    def overridable(self) -> dict[str, tuple[tuple[int, Source], ...]]:
        """Where a request may put values, by `name` or `view:field`: (index of the input, its source)."""
        places: dict[str, list[tuple[int, Source]]] = {}
        for index, feed in enumerate(self.inputs):
            for source in feed.sources:
                if source.kind is not SourceKind.AGE:
                    places.setdefault(source.name, []).append((index, source))
        return {name: tuple(found) for name, found in places.items()}

    def readers(self, view: str) -> tuple[int, ...]:
        """Return the places of the inputs that take something of a view."""
        return tuple(
            place for place, feed in enumerate(self.inputs) if any(source.view == view for source in feed.sources)
        )
