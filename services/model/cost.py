"""Learns what a batch costs from its number of rows, and how far batches stray from that."""

from __future__ import annotations

import math
from collections import deque

# An observation moves the mean of its size by this much: the last 15 or so of about a size count.
_PACE = 0.07
# What any batch took lately changes faster.
_USUAL_PACE = 0.3
# What a size weighs beside one just seen, when it has not been seen for long. Never nothing: without a second size the
# fixed cost could not be told from the cost of a row, and under steady load all batches are about as large.
_FADED = 0.05
_FADING = 0.98
# Strays are judged by the last so many batches, looked at anew after each eighth of them.
_STRAYS = 128
# Until enough batches are known, one may take twice what is expected.
_UNKNOWN = 2.0
_ENOUGH = 16


class _Size:
    """Batches of about a size: their mean rows and seconds, and how much they say."""

    __slots__ = ("rows", "seconds", "weight")

    def __init__(self, rows: int, seconds: float) -> None:
        self.rows, self.seconds, self.weight = float(rows), seconds, 1.0

    def add(self, rows: int, seconds: float) -> None:
        self.rows += _PACE * (rows - self.rows)
        self.seconds += _PACE * (seconds - self.seconds)
        self.weight = 1.0


class BatchCost:
    """A line through what batches of each size took: a fixed cost, and a cost for each row."""

    def __init__(self) -> None:
        self.fixed_s = math.inf
        """What any batch costs, in seconds; infinite before the first observation."""
        self.row_s = 0.0
        """What each row adds, in seconds."""
        self.likely = _UNKNOWN
        """How many times longer than expected nine of ten batches take at most."""
        self.surely = _UNKNOWN
        """The same for 99 of a hundred."""
        self._sizes: dict[int, _Size] = {}
        self._usual_s = 0.0
        self._strays: deque[float] = deque(maxlen=_STRAYS)
        self._unread = 0

    @property
    def known(self) -> bool:
        """Whether a batch was observed."""
        return bool(self._sizes)

    def learn(self, rows: int, seconds: float) -> None:
        """Take in how long a batch took."""
        expected = self.expect_s(rows)
        if 0 < expected < math.inf:
            self._stray(seconds / expected)
        for size in self._sizes.values():
            size.weight = max(_FADED, size.weight * _FADING)
        # Sizes by powers of two: a line over three decades needs no more.
        known = self._sizes.get(rows.bit_length())
        if known is None:
            self._sizes[rows.bit_length()] = _Size(rows, seconds)
        else:
            known.add(rows, seconds)
        self._usual_s += (_USUAL_PACE if self._usual_s else 1.0) * (seconds - self._usual_s)
        self._fit()

    def expect_s(self, rows: int) -> float:
        """Say how long a batch of so many rows takes, in seconds. Infinite before the first observation."""
        return self.fixed_s + self.row_s * rows

    def likely_s(self, rows: int) -> float:
        """Say in what time nine of ten such batches end."""
        return self.expect_s(rows) * self.likely

    def surely_s(self, rows: int) -> float:
        """Say in what time 99 of a hundred such batches end."""
        return self.expect_s(rows) * self.surely

    def rows_within(self, seconds: float, most: int) -> int:
        """Say how many rows, `most` at most, a batch may have that likely ends in time; 0 if not even one."""
        left = seconds / self.likely - self.fixed_s
        if left < self.row_s:
            return 0 if left < 0 or self.row_s else most
        return most if left >= most * self.row_s else int(left / self.row_s)

    def efficient_rows(self, most: int, share: float) -> int:
        """Say the smallest batch that computes at least this share of the rows a second that one of `most` does."""
        if not 0 < self.fixed_s < math.inf:
            return 1
        # n / (fixed + row n) = share * most / (fixed + row most), solved for n.
        rows = share * most * self.fixed_s / (self.fixed_s + (1 - share) * self.row_s * most)
        return max(1, min(most, math.ceil(rows)))

    def _stray(self, ratio: float) -> None:
        self._strays.append(ratio)
        self._unread += 1
        if self._unread >= _STRAYS // 8 and len(self._strays) >= _ENOUGH:
            self._unread = 0
            ordered = sorted(self._strays)
            self.likely = max(1.0, ordered[int(0.9 * (len(ordered) - 1))])
            self.surely = max(1.0, ordered[math.ceil(0.99 * (len(ordered) - 1))])

    def _fit(self) -> None:
        """Least squares, of relative errors above what batches usually take. Neither cost is negative.

        Relative, so that small batches count as well as large ones; not below what is usual, as a size that was cheap once
        would outweigh all that is seen now.
        """
        if len(self._sizes) == 1:
            # Nothing tells the two costs apart yet: larger batches are taken to cost in proportion.
            [size] = self._sizes.values()
            self.fixed_s, self.row_s = 0.0, size.seconds / size.rows
            return
        sum_w = sum_r = sum_s = sum_rr = sum_rs = 0.0
        for size in self._sizes.values():
            weight = size.weight / (size.seconds + self._usual_s) ** 2
            sum_w += weight
            sum_r += weight * size.rows
            sum_s += weight * size.seconds
            sum_rr += weight * size.rows * size.rows
            sum_rs += weight * size.rows * size.seconds
        spread = sum_w * sum_rr - sum_r * sum_r
        row_s = (sum_w * sum_rs - sum_r * sum_s) / spread if spread > 0 else 0.0
        fixed_s = (sum_s - row_s * sum_r) / sum_w
        if row_s < 0:
            row_s, fixed_s = 0.0, sum_s / sum_w
        elif fixed_s < 0:
            row_s, fixed_s = sum_rs / sum_rr, 0.0
        self.row_s, self.fixed_s = row_s, fixed_s
