"""Packs decoded rows into the tensors of a plan, and says what is not as it should be."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.features.codec import Bools, Decoded
from services.features.compilation import CompiledPlan, CompiledView, Part
from services.features.views import FeatureState

# In place of an age where nothing is stored.
NO_AGE_US = -(2**63)

_LENGTH = struct.Struct("<I")

Int64s = npt.NDArray[np.int64]
Cells = list[list[bytes]]


class Origin(enum.IntEnum):
    """Where an element came from, numbered as in `features/v1/features_service.proto`."""

    REQUEST = 0
    STORE = 1
    DEFAULT = 2
    NULL = 3
    MEMORY = 4


@dataclass
class FeatureValues:
    """The values of a batch, as GetFeaturesResponse has them.

    `statuses` are (row, view, state) of what is not fresh, `missing` (row, tensor, source) of elements without a value
    whose type has no null. `unreached` are (view, rows) that the store did not answer for; no rows stand for all.
    """

    tensors: list[bytes]
    ages_us: bytes
    statuses: list[tuple[int, int, int]] = field(default_factory=list)
    missing: list[tuple[int, int, int]] = field(default_factory=list)
    origins: list[bytes] = field(default_factory=list)
    unreached: list[tuple[int, list[int]]] = field(default_factory=list)


def pack(plan: CompiledPlan, blocks: Sequence[Decoded], as_of_us: Int64s, *, want_origins: bool) -> FeatureValues:
    """Pack one decoded block a view, all of the same rows; `as_of_us` has one time, or one a row."""
    rows = len(blocks[0].table) if blocks else len(as_of_us)
    packer = _Packer(plan, rows, want_origins=want_origins)
    ages = np.empty((rows, len(plan.views)), np.int64)
    plain = True
    for index, (view, block) in enumerate(zip(plan.views, blocks, strict=True)):
        np.subtract(as_of_us, block.table["time"], out=ages[:, index])
        packer.place(view, block)
        if block.absent is not None or block.nulls is not None or block.unreached is not None:
            plain = False
            if block.absent is not None:
                ages[block.absent, index] = NO_AGE_US
    values = FeatureValues([], ages.tobytes())
    # Seen as unsigned, an age below zero is over every limit too.
    if plain and not (ages.view(np.uint64) > plan.limits_us).any():
        packer.place_ages(ages)
    else:
        _pack_exceptions(plan, blocks, ages, packer, values)
    values.tensors = packer.tensors()
    values.origins = packer.origins()
    return values


def _pack_exceptions(
    plan: CompiledPlan, blocks: Sequence[Decoded], ages: Int64s, packer: _Packer, values: FeatureValues
) -> None:
    """Replace what is absent, too old or null, and list it."""
    states = _states(plan, ages)
    for index, (view, block) in enumerate(zip(plan.views, blocks, strict=True)):
        if block.unreached is not None:
            values.unreached.append((index, [] if block.unreached.all() else np.flatnonzero(block.unreached).tolist()))
            packer.mark_remembered(view, block.unreached)
            if plan.stale_states[index] == FeatureState.STALE_REJECTED:
                # What is not known may be of any age.
                states[block.unreached & (ages[:, index] == NO_AGE_US), index] = FeatureState.STALE_REJECTED
    at_rows, at_views = np.nonzero(states)
    values.statuses = list(zip(at_rows.tolist(), at_views.tolist(), states[at_rows, at_views].tolist(), strict=True))
    replaced = (ages == NO_AGE_US) | (states == FeatureState.STALE_DEFAULTED)
    packer.place_ages(ages, replaced)
    for index, (view, block) in enumerate(zip(plan.views, blocks, strict=True)):
        whole = replaced[:, index]
        for part in view.fields:
            mask = whole if block.nulls is None else whole | block.nulls[:, part.field]
            if mask.any():
                packer.replace(part, mask, values.missing)


def _states(plan: CompiledPlan, ages: Int64s) -> npt.NDArray[np.uint8]:
    """Return the state of every row and view."""
    stale = plan.stale_states[np.newaxis, :]
    states = np.where(ages > plan.limits_us.view(np.int64), stale, np.uint8(FeatureState.FRESH))
    states[ages < 0] = FeatureState.AHEAD
    states[ages == NO_AGE_US] = FeatureState.ABSENT
    return states


class _Packer:
    """The tensors of one batch while they are filled."""

    def __init__(self, plan: CompiledPlan, rows: int, *, want_origins: bool) -> None:
        self._plan = plan
        self._rows = rows
        self._numbers: list[npt.NDArray[Any] | None] = [
            None if each.dtype is None else np.zeros((rows, each.elements), each.dtype) for each in plan.tensors
        ]
        self._texts: list[Cells | None] = [
            [[b""] * each.elements for _ in range(rows)] if each.dtype is None else None for each in plan.tensors
        ]
        self._origins = [np.zeros((rows, each.sources), np.uint8) for each in plan.tensors] if want_origins else []
        if want_origins:
            for view in plan.views:
                for part in (*view.fields, *view.ages):
                    self._origins[part.tensor][:, part.source] = Origin.STORE

    def place(self, view: CompiledView, block: Decoded) -> None:
        """Put the stored values of one view where they belong."""
        for run in view.runs:
            self._numbers[run.tensor][:, run.start : run.stop] = block.table[run.name]  # type: ignore[index]
        for part, place in view.texts:
            cells = self._texts[part.tensor]
            assert cells is not None
            assert block.texts is not None
            for row, texts in enumerate(block.texts):
                if texts is not None and (value := texts[place]) is not None:
                    cells[row][part.start : part.stop] = value

    def mark_remembered(self, view: CompiledView, mask: Bools) -> None:
        """Note that what is known of a view in the rows of `mask` is what was read last."""
        if self._origins:
            for part in (*view.fields, *view.ages):
                self._origins[part.tensor][mask, part.source] = Origin.MEMORY

    def place_ages(self, ages: Int64s, replaced: Bools | None = None) -> None:
        """Put the ages where they belong, in seconds; NaN where the value was replaced."""
        for index, view in enumerate(self._plan.views):
            for part in view.ages:
                seconds = ages[:, index] / 1e6
                if replaced is not None:
                    seconds[replaced[:, index]] = np.nan
                    if self._origins:
                        self._origins[part.tensor][replaced[:, index], part.source] = Origin.NULL
                self._numbers[part.tensor][:, part.start] = seconds  # type: ignore[index]

    def replace(self, part: Part, mask: Bools, missing: list[tuple[int, int, int]]) -> None:
        """Put the default or null of a field in the rows of `mask`; where its type has neither, list it as missing."""
        rows = np.nonzero(mask)[0].tolist()
        numbers, cells = self._numbers[part.tensor], self._texts[part.tensor]
        if numbers is not None:
            numbers[mask, part.start : part.stop] = 0 if part.default is None else part.default
        elif cells is not None:
            default = part.default if isinstance(part.default, tuple) else (b"",) * (part.stop - part.start)
            for row in rows:
                cells[row][part.start : part.stop] = default
        if part.default is None:
            missing += [(row, part.tensor, part.source) for row in rows]
        if self._origins:
            origin = Origin.DEFAULT if part.defaulted else Origin.NULL
            self._origins[part.tensor][mask, part.source] = origin

    def tensors(self) -> list[bytes]:
        """Return the packed tensors."""
        return [
            numbers.tobytes() if numbers is not None else _pack_texts(texts or [])
            for numbers, texts in zip(self._numbers, self._texts, strict=True)
        ]

    def origins(self) -> list[bytes]:
        """Return the packed origins, if they were asked for."""
        return [origins.tobytes() for origins in self._origins]


def _pack_texts(rows: Cells) -> bytes:
    return b"".join([_LENGTH.pack(len(value)) + value for row in rows for value in row])
