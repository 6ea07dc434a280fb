"""Departures that have been predicted and have not left yet."""

from __future__ import annotations

import heapq

from deploy.demo.flight_delay.replay import Departure


class Awaited:
    """Predictions by the moment at which it is known what came true of them."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, bool]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, prediction_id: str, departure: Departure) -> None:
        """Await what comes true of a prediction."""
        heapq.heappush(self._heap, (departure.departed, prediction_id, departure.late))

    def departed(self, now: int) -> list[tuple[int, str, bool]]:
        """Take those that have left by `now` (microseconds), in their order: when, prediction id, whether late."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap))
        return found
