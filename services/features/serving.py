"""Answers GetFeatures: keys, one read of the store, packed tensors."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from services.features.codec import Decoded, event_time_us
from services.features.columns import Column, key_values
from services.features.compilation import CompiledEntity, CompiledPlan, CompiledView
from services.features.degrading import DegradingStore, Stored
from services.features.errors import KeyTooLong, LengthMismatch, MissingKey, RowsOutOfRange
from services.features.keys import column_at_fault, rows_of
from services.features.packing import FeatureValues, pack
from services.features.plan import Plan
from services.features.plans import Plans
from services.features.views import FeatureState
from services.mesh.errors import InvalidArgument, MissingField
from services.mesh.telemetry import names

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """One GetFeatures request. `as_of_us` has one time for all rows, or one a row."""

    plan_id: bytes
    plan: Plan | None
    keys: Mapping[str, Column]
    as_of_us: npt.NDArray[np.int64]
    want_origins: bool = False


@dataclass(frozen=True, slots=True)
class _Keys:
    """The different keys of one entity in a batch, and which of them each row has (None: row i has key i)."""

    prefixes: list[bytes]
    place: npt.NDArray[np.intp] | None


class Serving:
    """Reads feature values by plan."""

    def __init__(self, store: DegradingStore, plans: Plans, *, max_rows: int) -> None:
        self._store = store
        self._plans = plans
        self._max_rows = max_rows
        self._reported: set[tuple[str, str]] = set()

    async def read(self, query: Query) -> FeatureValues:
        """Return the values of a batch. Raises UnknownPlan, ViewNotKnownYet, or what is wrong."""
        plan = self._plans.get(query.plan_id, query.plan)
        groups = self._keys(plan, query)
        keys = [
            prefix + plan.views[view].key_suffix
            for entity, group in zip(plan.entities, groups, strict=True)
            for view in entity.views
            for prefix in group.prefixes
        ]
        stored = await self._store.read(keys) if keys else Stored([])
        blocks = self._decode(plan, groups, stored)
        values = pack(plan, blocks, query.as_of_us, want_origins=query.want_origins)
        _count(plan, values)
        return values

    def _keys(self, plan: CompiledPlan, query: Query) -> list[_Keys]:
        """Encode every entity's keys, each different one once."""
        groups = []
        rows = 0
        for entity in plan.entities:
            columns = key_values(plan.views[entity.views[0]].view.entity, query.keys)
            rows = rows or len(columns[0])
            if len(columns[0]) != rows:
                message = f"Key column {entity.columns[0]!r} has {len(columns[0])} rows, others have {rows}"
                raise LengthMismatch(message, field=query.keys[entity.columns[0]].path)
            groups.append(_encode(entity, rows_of(columns), query.keys))
        self._check_rows(rows or len(query.as_of_us), query.as_of_us)
        return groups

    def _check_rows(self, rows: int, as_of_us: npt.NDArray[np.int64]) -> None:
        if not 1 <= rows <= self._max_rows:
            raise RowsOutOfRange(f"{rows} rows; 1 to {self._max_rows} are allowed", field="keys")
        if not len(as_of_us):
            raise MissingField("as_of_us is empty", field="as_of_us")
        if len(as_of_us) not in {1, rows}:
            message = f"as_of_us has {len(as_of_us)} times; give one, or one for each of {rows} rows"
            raise LengthMismatch(message, field="as_of_us")
        if as_of_us.min() <= 0:
            raise InvalidArgument("as_of_us is not a time after the epoch", field="as_of_us")

    def _decode(self, plan: CompiledPlan, groups: Sequence[_Keys], stored: Stored) -> list[Decoded]:
        """Cut what the store answered into views and decode each."""
        blocks: list[Decoded] = [Decoded(np.zeros(0, np.void))] * len(plan.views)
        at = 0
        for entity, group in zip(plan.entities, groups, strict=True):
            count = len(group.prefixes)
            for index in entity.views:
                view = plan.views[index]
                rows = stored.rows[at : at + count]
                unreached = None if stored.unreached is None else stored.unreached[at : at + count]
                at += count
                if unreached is not None:
                    rows = _without_expired(view, rows, unreached.tolist())
                block = view.codec.decode(rows, view.dtype, texts=bool(view.texts))
                if unreached is not None and unreached.any():
                    block.unreached = unreached
                if block.faults:
                    self._report(view.view.name, block)
                blocks[index] = block if group.place is None else _spread(block, group.place)
        return blocks

    def _report(self, view: str, block: Decoded) -> None:
        """Count rows that could not be decoded, and log each cause once a view, so that the log stays readable."""
        for _, cause in block.faults:
            names.FEATURE_CORRUPT_ROWS.labels(view, cause).inc()
            if (view, cause) not in self._reported:
                self._reported.add((view, cause))
                logger.warning(
                    "a stored row cannot be decoded and counts as absent", extra={"view": view, "cause": cause}
                )


def _encode(entity: CompiledEntity, rows: Sequence[Hashable], columns: Mapping[str, Column]) -> _Keys:
    different = dict.fromkeys(rows)
    place = None
    try:
        if len(different) < len(rows):
            prefixes = [entity.encode(row) for row in different]
            places = {row: index for index, row in enumerate(different)}
            place = np.array([places[row] for row in rows], np.intp)
        else:
            prefixes = [entity.encode(row) for row in rows]
    except (MissingKey, KeyTooLong):
        _raise_with_path(entity, rows, columns)
        raise
    return _Keys(prefixes, place)


def _raise_with_path(entity: CompiledEntity, rows: Sequence[Hashable], columns: Mapping[str, Column]) -> None:
    """Raise the error of the first bad key again, with the path of the value."""
    for index, row in enumerate(rows):
        try:
            entity.encode(row)
        except (MissingKey, KeyTooLong) as error:
            column = columns[entity.columns[column_at_fault(row)]]
            raise type(error)(error.message, field=f"{column.path}.{column.filled}[{index}]") from None


def _without_expired(view: CompiledView, rows: list[bytes | None], unreached: list[bool]) -> list[bytes | None]:
    """Return the rows without those that the store would not hold any more, had they been written when they came true."""
    if not view.view.ttl_ms:
        return rows
    oldest_us = time.time_ns() // 1000 - view.view.ttl_ms * 1000
    return [
        None if remembered and row is not None and (event_time_us(row) or 0) < oldest_us else row
        for row, remembered in zip(rows, unreached, strict=True)
    ]


def _spread(block: Decoded, place: npt.NDArray[np.intp]) -> Decoded:
    """Give each row of the batch the decoded row of its key."""
    texts = block.texts
    return Decoded(
        block.table[place],
        None if block.absent is None else block.absent[place],
        None if block.nulls is None else block.nulls[place],
        None if texts is None else [texts[index] for index in place.tolist()],
        unreached=None if block.unreached is None else block.unreached[place],
    )


def _count(plan: CompiledPlan, values: FeatureValues) -> None:
    asked = len(values.ages_us) // (8 * max(1, len(plan.views)))
    for each in plan.views:
        _read(each.view.name).inc(asked)
    for view, rows in values.unreached:
        count = len(rows) or asked
        names.FEATURE_VALUES_UNREACHED.labels(plan.views[view].view.name).inc(count)
    for _, view, state in values.statuses:
        names.FEATURE_VALUES_NOT_FRESH.labels(plan.views[view].view.name, FeatureState(state).name.lower()).inc()


@cache
def _read(view: str) -> Counter:
    return names.FEATURE_VALUES_READ.labels(view)
