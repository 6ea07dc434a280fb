"""The lanes that callers' requests travel on: one for each target, from the first request on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from services.gateway.graph.lane import GraphLane
from services.gateway.lane import Features, Lane, Model
from services.mesh.coalescing import START_S

if TYPE_CHECKING:
    from services.gateway.target import Target


def kind_of(target: Target) -> type[Lane]:
    """Return what takes requests to a target: another kind of lane to a composed one."""
    return Lane if target.graph is None else GraphLane


class Lanes:
    """Lanes by target. `max_batch_rows` and `max_queued_rows` are those of each."""

    def __init__(self, features: Features, model: Model, *, max_batch_rows: int, max_queued_rows: int) -> None:
        self._features = features
        self._model = model
        self._max_batch_rows = max_batch_rows
        self._max_queued_rows = max_queued_rows
        self._live: Collection[Target] = ()
        self._lanes: dict[Target, Lane] = {}

    @property
    def idle(self) -> bool:
        """Whether no caller waits for a version's answer."""
        return all(lane.idle for lane in self._lanes.values())

    def use(self, targets: Collection[Target]) -> None:
        """Retire the lanes of all but these targets. What is under way ends as it began."""
        self._live = targets
        for target in self._lanes.keys() - targets:
            self._lanes.pop(target).retire()

    def of(self, target: Target) -> Lane:
        """Return the lane that the callers of a target share; one of its own for a target that is no longer in use."""
        lane = self._lanes.get(target)
        if lane is None:
            if target not in self._live:
                return self.apart(target)
            lane = self._lanes[target] = self._new(target, measured=True)
        return lane

    def apart(self, target: Target) -> Lane:
        """Return a lane for one request alone, which is not counted among the others."""
        return self._new(target, measured=False)

    def p99_s(self, target: Target) -> float:
        """Return how long nearly all batches of a target take, in seconds; a guess for a target that nobody asked yet."""
        lane = self._lanes.get(target)
        return START_S if lane is None else lane.p99_s

    def answered_s(self, target: Target) -> float:
        """Return how long nearly all wait whom a target answers, in seconds; a guess as well."""
        lane = self._lanes.get(target)
        return START_S if lane is None else lane.answered_s

    def _new(self, target: Target, *, measured: bool) -> Lane:
        return kind_of(target)(
            target,
            self._features,
            self._model,
            max_rows=self._max_batch_rows,
            max_queued_rows=self._max_queued_rows,
            measured=measured,
        )
