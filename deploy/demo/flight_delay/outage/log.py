"""What callers were told: by which steps of the ladder, and why not by those before."""

from __future__ import annotations

from collections import Counter, defaultdict

from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason, LadderStep, LadderStepKind
from services.mesh.errors import MeshError

ROUTE = LadderStepKind.LADDER_STEP_KIND_ROUTE
LAST_ANSWER = LadderStepKind.LADDER_STEP_KIND_LAST_ANSWER
ANSWER = LadderStepKind.LADDER_STEP_KIND_ANSWER

Step = tuple["LadderStepKind.ValueType", str]
"""A step's kind, and the version that was asked there."""
Key = tuple[object, ...]


class Log:
    """Answers of the endpoint, one departure each.

    `answered` counts them by step, `left` those that a step left to the next, by reason, of which `messages` has the first
    for people; `scores` are the route's by
    departure; `repeated` and `fixed` are what last answers and the static one said, with the departure. `silent` ones came
    from a step and do not say so. `took_us` is the time of each step, where the route did not answer, and `latencies_s` that
    of the answers that another step gave.
    """

    def __init__(self) -> None:
        self.answered: Counter[Step] = Counter()
        self.left: defaultdict[Step, Counter[str]] = defaultdict(Counter)
        self.messages: dict[str, str] = {}
        self.took_us: defaultdict[Step, list[int]] = defaultdict(list)
        self.scores: dict[Key, float] = {}
        self.repeated: list[tuple[Key, float]] = []
        self.fixed: list[float] = []
        self.silent = 0
        self.oldest_ms = 0
        self.latencies_s: list[float] = []
        self.failures: Counter[str] = Counter()

    def add(self, departure: Departure, response: PredictResponse, latency_s: float) -> None:
        """Take the answer about one departure."""
        ladder, key, score = response.provenance.ladder, key_of(departure), response.outputs[0].floats[0]
        if not ladder:
            self.answered[ROUTE, response.provenance.version] += 1
            self.scores[key] = score
            return
        for step in ladder:
            self.took_us[_step(step)].append(step.duration_us)
        for step in ladder[:-1]:
            self.left[_step(step)][step.reason] += 1
            self.messages.setdefault(step.reason, step.message)
        self._note(ladder[-1], key, score)
        self.latencies_s.append(latency_s)
        reasons = {item.reason for item in response.provenance.degradations}
        self.silent += DegradationReason.DEGRADATION_REASON_FALLBACK not in reasons

    def fail(self, error: MeshError) -> None:
        """Take a failure."""
        self.failures[f"{error.message} [{error.reason}]"] += 1

    def _note(self, step: LadderStep, key: Key, score: float) -> None:
        self.answered[_step(step)] += 1
        if step.kind == LAST_ANSWER:
            self.repeated.append((key, score))
            self.oldest_ms = max(self.oldest_ms, step.age_ms)
        elif step.kind == ANSWER:
            self.fixed.append(score)


def key_of(departure: Departure) -> Key:
    """Return what last answers are kept by."""
    return tuple(departure.entities.values())


def _step(step: LadderStep) -> Step:
    # A last answer names the version that made it, which those that have none cannot.
    return step.kind, "" if step.kind == LAST_ANSWER else step.version
