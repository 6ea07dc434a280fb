"""Whatever arrives in whatever batches and order, the store holds what a plain model of it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mesh.errors import Reason
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.measures import ErrorSums, ScoreCounts
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.records import Outcome, PredictionRecord, usable
from tests.unit.registry.quality.world import opened, prediction

KINDS = st.sampled_from([OutcomeKind.BINARY, OutcomeKind.REGRESSION])
# Few of each, so that repeats and conflicts are common.
PREDICTIONS = st.builds(
    lambda name, scores, hours, release_id, step, version, kind: prediction(
        name, *scores, hours=hours, release_id=release_id, step=step, version=version, kind=kind
    ),
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, float("nan")]), min_size=1, max_size=3),
    st.integers(0, 2),
    st.sampled_from([0, 7]),
    st.integers(0, 1),
    st.sampled_from(["1.0.0", "1.1.0"]),
    KINDS,
)
OUTCOMES = st.builds(Outcome, st.sampled_from("abcdefg"), st.integers(0, 3), st.sampled_from([0.0, 1.0, 0.5]))
BATCHES = st.lists(
    st.one_of(st.lists(PREDICTIONS, min_size=1, max_size=5), st.lists(OUTCOMES, min_size=1, max_size=8)), max_size=12
)


class Model:
    """The same in two dictionaries."""

    def __init__(self) -> None:
        self.kept: dict[str, PredictionRecord] = {}
        self.labels: dict[tuple[str, int], float] = {}

    def record(self, outcome: Outcome) -> str:
        """Return what becomes of it."""
        kept = self.kept.get(outcome.prediction_id)
        if kept is None:
            return Reason.UNKNOWN_PREDICTION
        kind = kept.series.kind
        if outcome.row >= len(kept.scores) or not usable(kept.scores[outcome.row], kind):
            return Reason.INVALID_ARGUMENT
        if kind is OutcomeKind.BINARY and outcome.label == 0.5:
            return Reason.INVALID_ARGUMENT
        place = outcome.prediction_id, outcome.row
        if place not in self.labels:
            self.labels[place] = outcome.label
            return "recorded"
        return "existed" if self.labels[place] == outcome.label else Reason.ALREADY_EXISTS

    def pairs(self, version: str, kind: OutcomeKind) -> Iterator[tuple[float, float]]:
        """Yield score and label of what is recorded of a version."""
        for (name, row), label in self.labels.items():
            series = self.kept[name].series
            if (series.version, series.kind) == (version, kind):
                yield self.kept[name].scores[row], label

    def rows(self, version: str, kind: OutcomeKind) -> int:
        """Return how many rows can have an outcome."""
        return sum(
            record.scored_rows
            for record in self.kept.values()
            if (record.series.version, record.series.kind) == (version, kind)
        )


@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_any_history_holds_what_a_plain_model_holds(batches: list[list[PredictionRecord] | list[Outcome]]) -> None:
    """Predictions and outcomes again and again, mixed up, before and after each other; a restart changes nothing."""

    async def compared(directory: Path) -> None:
        model = Model()
        async with opened(directory) as outcomes:
            for batch in batches:
                await run(outcomes, model, batch)
            await compare(outcomes, model)
        async with opened(directory) as outcomes:
            await compare(outcomes, model)

    with TemporaryDirectory() as directory:
        asyncio.run(compared(Path(directory)))


async def run(outcomes: Outcomes, model: Model, batch: Sequence[PredictionRecord | Outcome]) -> None:
    """One call."""
    records = [each for each in batch if isinstance(each, PredictionRecord)]
    await outcomes.keep(records)
    for record in records:
        model.kept.setdefault(record.prediction_id, record)
    labels = [each for each in batch if isinstance(each, Outcome)]
    results = await outcomes.record(labels)
    told = [each.error.reason if each.error else "existed" if each.existed else "recorded" for each in results]
    assert [model.record(each) for each in labels] == told


async def compare(outcomes: Outcomes, model: Model) -> None:
    """The same measures of every version, by hour together as over all."""
    found = await outcomes.quality("delay")
    assert {(r.series.version, r.series.kind) for r in model.kept.values()} == {(q.version, q.kind) for q in found}
    for quality in found:
        pairs = list(model.pairs(quality.version, quality.kind))
        scores, labels = np.array(pairs).reshape(-1, 2).T
        assert (model.rows(quality.version, quality.kind), len(pairs)) == (quality.predictions, quality.outcomes)
        if quality.kind is OutcomeKind.BINARY:
            assert (ScoreCounts.of(scores, labels).log_loss, ScoreCounts.of(scores, labels).auc) == (
                quality.log_loss,
                quality.auc,
            )
        else:
            assert ErrorSums.of(scores - labels).rmse == quality.rmse
    by_hour = await outcomes.quality("delay", every_ms=3_600_000)
    assert sum(each.outcomes for each in found) == sum(each.outcomes for each in by_hour)
