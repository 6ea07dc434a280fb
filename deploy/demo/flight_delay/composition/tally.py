"""What one alternative has answered, and what that cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deploy.demo.flight_delay.composition.definitions import FIRST_STAGE, STAGES, Alternative
from deploy.demo.flight_delay.composition.offline import Cascade
from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import NodeState, NodeStep


class Tally:
    """Collects the answers of `alternative`, which may be a `cascade`.

    Of a cascade `at_first` counts the answers that its first stage has given, by their provenance, and `sure` those that it
    should have, by the offline scores. `cpu_ns` is by service.
    """

    def __init__(self, alternative: Alternative, cascade: Cascade | None = None) -> None:
        self.alternative, self.cascade = alternative, cascade
        self.answers = Answers(alternative.version)
        self.at_first = self.sure = 0
        self.cpu_ns: Counter[str] = Counter()

    def add(self, departure: Departure, response: PredictResponse, latency_s: float) -> None:
        """Take the answer about a departure."""
        self.answers.add([departure], response, latency_s)
        self.at_first += any(map(_at_first, response.provenance.nodes))
        self.sure += self.cascade is not None and bool(self.cascade.sure(departure.scores))

    def used(self, names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> None:
        """Take what services had used before and after they were asked, in nanoseconds."""
        for name, start, end in zip(names, before, after, strict=True):
            self.cpu_ns[name] += end - start


def _at_first(step: NodeStep) -> bool:
    return (step.node, step.state, step.cause) == (STAGES, NodeState.NODE_STATE_CHOSEN, FIRST_STAGE)
