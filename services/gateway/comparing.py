"""How the answers of two versions to the same rows compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.gateway.target import Output

    Array = npt.NDArray[np.generic]
    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.float64]

LAST_BIN = 81


class Incomparable(Exception):
    """Two versions have no output in common, or one of another shape, or text in one and numbers in the other."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What each row's answers have in common, over all outputs: arrays [rows].

    `top1` says whether the largest elements stand in the same place; None without an output of several numbers.
    `differences` are the largest of a row's elements: 0 or more, infinite for differing texts and for what is NaN or
    infinite on one side only. `signed` is shadow less primary of the first element of the first numeric output, 0 where
    it is not finite.
    """

    exact: Flags
    tolerant: Flags
    top1: Flags | None
    differences: Numbers
    signed: Numbers


def common_outputs(primary: Sequence[Output], shadow: Sequence[Output]) -> list[tuple[int, int]]:
    """Return the places of the outputs that both versions have, by name; raises Incomparable.

    What only one of them has is left out: a new version may well answer more. Numbers of two types are compared as numbers.
    """
    places = {output.name: place for place, output in enumerate(shadow)}
    found = [(place, places[output.name]) for place, output in enumerate(primary) if output.name in places]
    if not found:
        raise Incomparable("the versions have no output in common")
    for ours, theirs in found:
        first, second = primary[ours], shadow[theirs]
        if first.shape != second.shape or (first.dtype.value is None) != (second.dtype.value is None):
            raise Incomparable(f"output {first.name!r} is of another shape or kind")
    return found


def compare(pairs: Sequence[tuple[Array, Array]], *, absolute: float = 0.0, relative: float = 0.0) -> Comparison:
    """Compare outputs, at least one, each as (primary, shadow) of shape [rows, width].

    Values agree that differ by no more than `absolute` plus `relative` times the size of the primary's.
    """
    rows = len(pairs[0][0])
    exact, tolerant = np.ones(rows, np.bool_), np.ones(rows, np.bool_)
    differences, signed = np.zeros(rows), np.zeros(rows)
    top1: Flags | None = None
    numbers_seen = False
    for primary, shadow in pairs:
        same, identical = _same(primary, shadow)
        exact &= identical.all(axis=1)
        if primary.dtype == object:
            tolerant &= same.all(axis=1)
            differences = np.maximum(differences, np.where(same, 0.0, np.inf).max(axis=1))
            continue
        change, before = _change(primary, shadow, same)
        with np.errstate(invalid="ignore", over="ignore"):
            within = np.abs(change) <= absolute + relative * np.abs(before)
        tolerant &= (same | (np.isfinite(change) & within)).all(axis=1)
        differences = np.maximum(differences, np.abs(change).max(axis=1))
        if primary.shape[1] > 1:
            placed = primary.argmax(axis=1) == shadow.argmax(axis=1)
            top1 = placed if top1 is None else top1 & placed
        if not numbers_seen:
            numbers_seen = True
            signed = np.where(np.isfinite(change[:, 0]), change[:, 0], 0.0)
    return Comparison(exact, tolerant, top1, differences, signed)


def _same(primary: Array, shadow: Array) -> tuple[Flags, Flags]:
    """Return where the values are equal, NaN to NaN too, and where they are to the last bit: 0 and -0 are not."""
    same: Flags = np.asarray(primary == shadow, np.bool_)
    if primary.dtype.kind != "f" or shadow.dtype.kind != "f":
        return same, same
    nowhere = np.isnan(primary) & np.isnan(shadow)
    return same | nowhere, (same & (np.signbit(primary) == np.signbit(shadow))) | nowhere


def _change(primary: Array, shadow: Array, same: Flags) -> tuple[Numbers, Numbers]:
    """Return the signed differences, infinite where there is no number, and the primary's values."""
    before = primary.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.where(same, 0.0, shadow.astype(np.float64) - before)
    change[np.isnan(change)] = np.inf
    return change, before


def difference_bin(difference: float) -> int:
    """Return the bin of traffic.proto's Histogram of differences: four to a power of ten, 1 at the begin of bin 41."""
    if difference == 0:
        return 0
    if math.isinf(difference):
        return LAST_BIN
    return min(max(math.floor(4 * math.log10(difference)) + 41, 1), LAST_BIN)
