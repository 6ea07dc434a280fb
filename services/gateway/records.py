"""What is kept of a prediction until it is known what came true of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.gateway.assembly import bytes_of
from services.gateway.routing import Route, RouteReason
from services.gateway.target import DType

if TYPE_CHECKING:
    from services.gateway.policies import OutcomeKind, OutcomePolicy
    from services.gateway.prediction import Prediction
    from services.gateway.routing import Endpoint
    from services.gateway.target import Target


@dataclass(slots=True)
class Record:
    """A prediction without its outputs: a score a row, NaN for one that its version failed. Times in microseconds since the epoch.

    `release_id` is 0 where no release chose the version. `served` is there if the features are kept too, of
    `served_bytes` bytes.
    """

    prediction_id: str
    endpoint: str
    model: str
    version: str
    release_id: int
    step: int
    as_of_us: int
    scores: list[float]
    kind: OutcomeKind
    expire_us: int
    served: Prediction | None = None
    served_bytes: int = 0


def record_of(endpoint: Endpoint, policy: OutcomePolicy, prediction: Prediction, now_us: int) -> Record | None:
    """Return what is kept of a prediction; None if the version that answered has no such score.

    If a version of the fallback ladder has answered every row, it is that version's, and no release's. Outcomes may come
    until `expire_ms` after `now_us`, not after as_of, which may be long ago.
    """
    scores = _scores(prediction, policy)
    if scores is None:
        return None
    if _stands_in(prediction):
        prediction = replace(prediction, route=Route(prediction.target, RouteReason.FALLBACK), ladder=())
    route = prediction.route
    explanation = prediction.outcome.explanation
    return Record(
        prediction_id=prediction.prediction_id,
        endpoint=endpoint.name,
        model=route.target.model,
        version=route.target.version,
        release_id=route.arm.release_id if route.arm else 0,
        step=route.arm.step if route.arm else 0,
        as_of_us=prediction.as_of_us,
        scores=scores,
        kind=policy.kind,
        expire_us=now_us + policy.expire_ms * 1000,
        served=_without_outputs(prediction) if explanation is not None else None,
        served_bytes=sum(map(bytes_of, explanation.arrays)) if explanation is not None else 0,
    )


def _without_outputs(prediction: Prediction) -> Prediction:
    """Outputs are slices of the whole batch's, which would stay in memory for as long as one of its predictions waits."""
    return replace(prediction, outcome=replace(prediction.outcome, outputs=[]))


def _scores(prediction: Prediction, policy: OutcomePolicy) -> list[float] | None:
    place = _place(prediction.route.target, policy)
    if place is None:
        return None
    scores = [float(score) for score in prediction.outcome.outputs[place][:, policy.element].tolist()]
    elsewhere = set() if _stands_in(prediction) else prediction.fallback_rows
    for row in prediction.outcome.row_errors.keys() | elsewhere:
        scores[row] = math.nan
    return scores


def _stands_in(prediction: Prediction) -> bool:
    """Whether another version has answered every row in place of the route's."""
    return prediction.target is not prediction.route.target


def _place(target: Target, policy: OutcomePolicy) -> int | None:
    """Return the place of the output that holds the score; a pinned version may have none, or a smaller one."""
    for place, output in enumerate(target.outputs):
        if output.name == policy.output:
            return place if output.dtype is not DType.BYTES and policy.element < output.width else None
    return None
