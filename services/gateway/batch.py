"""The requests that travel together through both hops, and what is known of them on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.mesh.resilience.effort import NO_EFFORT, Effort

if TYPE_CHECKING:
    from services.gateway.prediction import FeatureRows, Outcome
    from services.gateway.request import Member
    from services.mesh.deadline import Deadline


@dataclass(slots=True, eq=False)
class Batch:
    """Members that travel together, and what the model is to get for them: a packed tensor for each of its inputs.

    `started` is in seconds of `time.monotonic()`; the features came after `features_us` microseconds, and at
    `assembled_ns` nanoseconds of `time.perf_counter_ns()`.
    """

    members: list[Member]
    rows: int
    deadline: Deadline
    features: FeatureRows | None
    tensors: list[bytes]
    started: float
    features_us: int
    assembled_ns: int
    efforts: Mapping[str, Effort] | None = None

    def note(self, hop: str, effort: Effort) -> None:
        """Note what a call for these rows took."""
        if effort is not NO_EFFORT:
            known = self.efforts or {}
            self.efforts = {**known, hop: known.get(hop, NO_EFFORT).joined(effort)}

    def hand_over(self, member: Member, outcome: Outcome, end_ns: int) -> None:
        """Answer a member that still waits, with the times of the batch, whose model was done at `end_ns`."""
        queue_us = max(0, int((self.started - member.arrived) * 1e6))
        model_us = (end_ns - self.assembled_ns) // 1000
        outcome.hops = (("queue", queue_us), ("features", self.features_us), ("model", model_us))
        outcome.efforts = self.efforts
        outcome.batch_rows = self.rows
        member.answer.set_result(outcome)
