"""Several outputs as one, and how sure an output is: whole batches at once.

No row's result depends on the rows beside it: elements are computed one by one, members in their order.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from services.gateway.graph.nodes import ConfidenceMeasure, EnsembleMethod

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def combine(
    method: EnsembleMethod, members: Sequence[Array], present: Sequence[Flags | None], weights: tuple[float, ...] = ()
) -> tuple[Array, Flags | None]:
    """Return the members, arrays [rows, width] of one type, as one such array, and the rows in which any is present.

    `present` has for each member the flags [rows] of its rows that count, None: all. What stands in other rows of a member
    does not matter; a row without any member is zero (BYTES: empty). The flags returned are None, too, if all are set.
    `weights` are those of a weighted mean, one a member, more than 0 and finite. Means are computed in FP64.
    """
    if all(flags is None for flags in present):
        return _combined(method, members, None, weights), None
    counting = np.stack([np.ones(len(members[0]), bool) if flags is None else flags for flags in present])
    values, anybody = _combined(method, members, counting, weights), np.logical_or.reduce(counting)
    if anybody.all():
        return values, None
    values[~anybody] = b"" if values.dtype == object else 0
    return values, anybody


def confidence(values: Array, measure: ConfidenceMeasure) -> Floats:
    """Return how sure each row of the floating point `values` [rows, width] is, [rows]; NaN is not sure at all."""
    known = values.astype(np.float64)
    if measure is ConfidenceMeasure.VALUE:
        return known[:, 0]
    first = known[:, 0]
    found: Floats = np.maximum(first, 1.0 - first) if known.shape[1] == 1 else np.maximum.reduce(known, axis=1)
    # So written that NaN is none either.
    found[~((known >= 0) & (known <= 1)).all(axis=1)] = np.nan
    return found


def _combined(
    method: EnsembleMethod, members: Sequence[Array], counting: Flags | None, weights: tuple[float, ...]
) -> Array:
    match method:
        case EnsembleMethod.VOTE:
            return _vote(np.stack(members), counting)
        case EnsembleMethod.MAX:
            return _extreme(np.maximum, members, counting)
        case EnsembleMethod.MEAN:
            return _mean(members, counting, (1.0,) * len(members))
        case EnsembleMethod.WEIGHTED_MEAN:
            return _mean(members, counting, weights)


def _vote(stack: Array, counting: Flags | None) -> Array:
    """Return the most frequent values of `stack` [members, rows, width]."""
    equal = stack[:, np.newaxis] == stack
    if counting is not None:
        equal &= (counting[:, np.newaxis] & counting)[..., np.newaxis]
    # A value's votes stand at each of its members, so the first largest is the first member of the first of equals.
    winner = equal.sum(axis=1).argmax(axis=0)
    chosen: Array = np.take_along_axis(stack, winner[np.newaxis], axis=0)[0]
    return chosen


def _extreme(better: np.ufunc, members: Sequence[Array], counting: Flags | None) -> Array:
    """Return what is the largest of each element by np.maximum, the smallest by np.minimum."""
    if counting is None:
        return reduce(better, members)
    best, known = members[0].copy(), counting[0]
    for member, flags in zip(members[1:], counting[1:], strict=True):
        better(best, member, out=best, where=flags[:, np.newaxis])
        np.copyto(best, member, where=(flags & ~known)[:, np.newaxis])
        known = known | flags
    return best


def _mean(members: Sequence[Array], counting: Flags | None, weights: tuple[float, ...]) -> Array:
    shares: Iterable[Any]
    if counting is None:
        taken, shares = members, _fixed_shares(weights)
    else:
        taken = [np.where(flags[:, np.newaxis], each, 0) for each, flags in zip(members, counting, strict=True)]
        shares = _shares(np.where(counting, np.array(weights)[:, np.newaxis], 0.0))[..., np.newaxis]
    # Shares of 1, not a sum to be divided: that would overflow where the mean does not.
    parts = [np.multiply(each, share, dtype=np.float64) for each, share in zip(taken, shares, strict=True)]
    if members[0].dtype != np.float64:
        rounded: Array = reduce(np.add, parts).astype(members[0].dtype)
        return rounded
    # Nothing is rounded that would put it back among its members: of ones it is 1, and never more.
    with np.errstate(over="ignore"):
        mean: Array = reduce(np.add, parts)
    mean.clip(_extreme(np.minimum, members, counting), _extreme(np.maximum, members, counting), out=mean)
    return mean


@lru_cache(maxsize=1024)
def _fixed_shares(weights: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_shares(np.array(weights)).tolist())


def _shares(weights: Floats) -> Floats:
    """Return the parts of 1 of each member by `weights` [members] or [members, rows], 0 where one does not count."""
    # By the largest first: the sum may overflow, and without the largest the others may be tiny beside it.
    largest = np.maximum.reduce(weights)
    scaled = weights / np.where(largest > 0, largest, 1.0)
    total = reduce(np.add, scaled)
    shares: Floats = scaled / np.where(total > 0, total, 1.0)
    return shares
