"""Learns what a batch costs from its number of rows."""

from __future__ import annotations

import math

_MEMORY = 0.97
"""Weight that an observation keeps at each newer one: the last 30 or so count."""


class BatchCost:
    """A line through recent observations: a fixed cost and a cost for each row."""

    def __init__(self) -> None:
        self._weight = self._rows = self._seconds = self._rows_squared = self._rows_seconds = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Take in how long a batch took."""
        self._weight = self._weight * _MEMORY + 1
        self._rows = self._rows * _MEMORY + rows
        self._seconds = self._seconds * _MEMORY + seconds
        self._rows_squared = self._rows_squared * _MEMORY + rows * rows
        self._rows_seconds = self._rows_seconds * _MEMORY + rows * seconds

    def expect_s(self, rows: int) -> float:
        """Say how long a batch of so many rows will take, in seconds. Infinite before the first observation."""
        if not self._weight:
            return math.inf
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._rows_squared / self._weight - mean_rows * mean_rows
        if spread < 0.25:
            # All were about as large, so nothing tells fixed cost from cost by row: in proportion, above their size.
            return mean_seconds * max(1.0, rows / mean_rows)
        per_row = max(0.0, (self._rows_seconds / self._weight - mean_rows * mean_seconds) / spread)
        # Never below zero rows' cost: noise may tilt the line under the axis.
        return max(0.0, mean_seconds + per_row * (rows - mean_rows))
