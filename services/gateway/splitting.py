"""Parting requests by a stable hash: the same value falls alike, in every gateway and after every restart."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Generic, TypeVar

BUCKETS = 10_000

T = TypeVar("T")


def bucket(salt: str, value: str) -> int:
    """Return where `value` falls, 0 to 9,999; evenly, and independently for each `salt`."""
    digest = blake2b(f"{salt}\x00{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % BUCKETS


def buckets_of(percent: float) -> int:
    """Return how many buckets a share in percent has; a share is a multiple of 0.01."""
    return round(percent * BUCKETS / 100)


def sampled(salt: str, value: str, percent: float) -> bool:
    """Whether `value` is among the `percent` of all; whoever is stays when the share grows."""
    return percent >= 100 or bucket(salt, value) < buckets_of(percent)


class Split(Generic[T]):
    """Choices with a share in percent each, at least one: in their order they take buckets from 0 on.

    So whoever grows, first in the list, takes only what is added. The last takes whatever is left.
    """

    def __init__(self, salt: str, shares: Sequence[tuple[T, float]]) -> None:
        self._salt = salt
        self._choices = [choice for choice, _ in shares]
        self._bounds = list(accumulate(buckets_of(percent) for _, percent in shares[:-1]))

    @property
    def only(self) -> T | None:
        """The choice of every value, if there is but one."""
        return None if self._bounds else self._choices[0]

    def choose(self, value: str) -> T:
        """Return the choice in whose share `value` falls."""
        return self._choices[bisect_right(self._bounds, bucket(self._salt, value))]

    def shares(self) -> list[tuple[T, float]]:
        """Return every choice with its share in percent."""
        bounds = [0, *self._bounds, BUCKETS]
        widths = (high - low for low, high in pairwise(bounds))
        return [(choice, width * 100 / BUCKETS) for choice, width in zip(self._choices, widths, strict=True)]
