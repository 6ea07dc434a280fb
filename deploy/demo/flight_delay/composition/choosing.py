"""`python -m deploy.demo.flight_delay.composition.choosing TRAINED`: by what the threshold and the weights are chosen.

On September, which stopped the training and from which nothing has learned. The replay has no say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from deploy.demo.flight_delay import pipeline
from deploy.demo.flight_delay.composition.offline import Cascade, Ensemble, read_cascade
from deploy.demo.flight_delay.definitions import read_versions

KEPT = 0.5
"""Share of what the second stage knows better that a cascade shall keep."""
THRESHOLDS = np.arange(11, 20) / 20
WEIGHTS = np.arange(11) / 10

Scores = Mapping[str, NDArray[np.float32]]
Late = NDArray[np.bool_]


class Threshold(NamedTuple):
    """A threshold, the share that the first stage answers with it, AUC and log loss of the cascade."""

    threshold: float
    at_first: float
    auc: float
    log_loss: float


class Weight(NamedTuple):
    """The first version's part of the mean, AUC and log loss of the mean."""

    weight: float
    auc: float
    log_loss: float


def thresholds(late: Late, scores: Scores, first: str, second: str) -> list[Threshold]:
    """Return what each threshold gives, in ascending order."""
    cascades = [Cascade(first, second, float(threshold)) for threshold in THRESHOLDS]
    return [
        Threshold(each.threshold, float(each.sure(scores).mean()), *_quality(late, each.score(scores)))
        for each in cascades
    ]


def choose_threshold(found: Sequence[Threshold], first: float, second: float) -> Threshold:
    """Return the least with which the cascade keeps `KEPT` of what the second stage knows better; else the greatest.

    `first` and `second` are the log losses of the stages alone.
    """
    wanted = first + KEPT * (second - first)
    return next((each for each in found if each.log_loss <= wanted), found[-1])


def weights(late: Late, scores: Scores, first: str, second: str) -> list[Weight]:
    """Return what each weight of the first version gives, in ascending order."""
    means = [(float(part), Ensemble({first: part, second: 1 - part}).score(scores)) for part in WEIGHTS]
    return [Weight(part, *_quality(late, mean)) for part, mean in means]


def choose_weight(found: Sequence[Weight]) -> Weight:
    """Return the one with the least log loss."""
    return min(found, key=lambda each: each.log_loss)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Choose the threshold and the weights on September.")
    parser.add_argument("trained", type=Path, help="folder with the trained models")
    cascade = read_cascade()
    first, second = cascade.first, cascade.second
    late, scores = _september(parser.parse_args().trained, (first, second))
    cascades, means = thresholds(late, scores, first, second), weights(late, scores, first, second)
    chosen = choose_threshold(cascades, means[-1].log_loss, means[0].log_loss)
    print(f"{first}, then {second} below a threshold, on {len(late):,} departures of September")
    _print(["threshold", "at stage one", "AUC", "log loss"], cascades, chosen)
    print(f"\nmean of both by the weight of {first}, the rest is that of {second}")
    _print(["weight", "AUC", "log loss"], means, choose_weight(means))
    return 0


def _september(trained: Path, versions: Sequence[str]) -> tuple[Late, dict[str, NDArray[np.float32]]]:
    """Return which departures of September were late, and what each version says of them."""
    definitions = read_versions()
    year = pipeline.read_year(definitions)
    rows = pipeline.split_of(year.departures).validation
    models = {each.version: each for each in definitions if each.version in versions}
    scores = {
        version: pipeline.Trained(models[version], onnx.load(trained / f"{version}.onnx")).score(year, rows)
        for version in versions
    }
    return year.late[rows], scores


def _quality(late: Late, scores: NDArray[np.float32]) -> tuple[float, float]:
    return float(roc_auc_score(late, scores)), float(log_loss(late, scores))


def _print(columns: Sequence[str], rows: Sequence[tuple[float, ...]], chosen: tuple[float, ...]) -> None:
    print("".join(f"{column:>14}" for column in columns))
    for row in rows:
        print("".join(f"{cell:>14.4f}" for cell in row) + ("  chosen" if row == chosen else ""))


if __name__ == "__main__":
    sys.exit(main())
