"""Which outcomes count: each row of a kept prediction once, with a label that it can have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.mesh.errors import InvalidArgument, MeshError
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.errors import OutcomeExists, UnknownPrediction
from services.registry.quality.checks import check_outcome
from services.registry.quality.records import Outcome, OutcomeResult, usable

# The sums of errors hold their fourth powers, and must stay finite.
LARGEST_ERROR = 1e60


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a prediction: its number in the store, and the series and hour that it counts to."""

    number: int
    series: int
    hour: int
    kind: OutcomeKind
    scores: Sequence[float]
    expire_us: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A row's outcome, not recorded before."""

    number: int
    row: int
    label: float
    time_us: int


@dataclass(slots=True)
class Settlement:
    """What becomes of a batch: a result an outcome, what to record, and (score, label) pairs by series and hour."""

    results: list[OutcomeResult] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    pairs: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)


def settle(
    outcomes: Sequence[Outcome], kept: Mapping[str, Kept], labels: Mapping[tuple[int, int], float], now_us: int
) -> Settlement:
    """Judge a batch in its order; `labels` holds what is recorded already, by number and row."""
    settlement = Settlement()
    seen = dict(labels)
    for outcome in outcomes:
        try:
            found = _find(outcome, kept, now_us)
            recorded = seen.get((found.number, outcome.row))
            existed = _existed(outcome, recorded)
        except MeshError as error:
            settlement.results.append(OutcomeResult(error=error))
            continue
        settlement.results.append(OutcomeResult(existed))
        if not existed:
            seen[found.number, outcome.row] = outcome.label
            time_us = now_us if outcome.time_us is None else outcome.time_us
            settlement.claims.append(Claim(found.number, outcome.row, outcome.label, time_us))
            pair = (found.scores[outcome.row], outcome.label)
            settlement.pairs.setdefault((found.series, found.hour), []).append(pair)
    return settlement


def _find(outcome: Outcome, kept: Mapping[str, Kept], now_us: int) -> Kept:
    """What is kept of the outcome's prediction; raises if the outcome cannot be of it."""
    check_outcome(outcome)
    found = kept.get(outcome.prediction_id)
    if found is None or found.expire_us <= now_us:
        raise UnknownPrediction(
            f"nothing is kept of prediction {outcome.prediction_id!r}: it was not sampled, its time is over, or there "
            "was none (the endpoint's outcomes have a sample and an expiry)",
            field="prediction_id",
        )
    _check_row(outcome.row, found)
    _check_label(outcome.label, found.scores[outcome.row], found.kind)
    return found


def _check_row(row: int, kept: Kept) -> None:
    if row >= len(kept.scores):
        raise InvalidArgument(f"row {row} is none of the prediction's {len(kept.scores)}, from 0", field="row")
    score = kept.scores[row]
    if math.isnan(score):
        why = "the version failed it, and what a fallback may have answered is no score of a version"
        raise InvalidArgument(f"nothing can be compared with row {row}: {why}", field="row")
    if not usable(score, kept.kind):
        wanted = "probability: mend the endpoint's outcomes" if kept.kind is OutcomeKind.BINARY else "finite number"
        raise InvalidArgument(f"the score {score:g} of row {row} is no {wanted}", field="row")


def _check_label(label: float, score: float, kind: OutcomeKind) -> None:
    if kind is OutcomeKind.BINARY and label not in {0.0, 1.0}:
        raise InvalidArgument(f"a label of this endpoint is 0 or 1, not {label:g}", field="label")
    if abs(score - label) > LARGEST_ERROR:
        raise InvalidArgument(f"the label {label:g} is too far off to be counted", field="label")


def _existed(outcome: Outcome, recorded: float | None) -> bool:
    if recorded is not None and recorded != outcome.label:
        raise OutcomeExists(
            f"row {outcome.row} of prediction {outcome.prediction_id!r} has the label {recorded:g} already, and keeps it",
            field="label",
        )
    return recorded is not None
