"""The estimators, trained on the graph's output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from deploy.demo.flight_delay import network
from deploy.demo.flight_delay.network import Network

MAX_EPOCHS = 12
PATIENCE = 2
CLASSES = np.array([0, 1])
TEACHERS = {"2.0.0": "1.1.0"}
"""Versions that learn from what an earlier one says of the training rows."""
TRUST = 0.7
"""Share of the teacher in what a taught version learns; the rest is what came true."""


@dataclass(frozen=True)
class Sample:
    """Features [rows, F], whether each departure was late, and the teacher's probability of it where there is one."""

    features: NDArray[np.float32]
    late: NDArray[np.bool_]
    taught: NDArray[np.float32] | None = None


def perceptron(train: Sample, validation: Sample) -> BaseEstimator:
    """Version 1.0.0: a small MLP behind a scaler; the epoch with the least validation loss."""
    scaler = StandardScaler().fit(train.features)
    small = MLPClassifier((64, 32), batch_size=512, learning_rate_init=1e-3, alpha=1e-4, random_state=0)
    x, held_out = scaler.transform(train.features), scaler.transform(validation.features)
    best, least, waited = small, np.inf, 0
    for _ in range(MAX_EPOCHS):
        # Matrices this small lose more to waiting for a second thread than it brings, above all on a busy machine.
        with threadpool_limits(1):
            small.partial_fit(x, train.late.astype(np.int64), classes=CLASSES)
        loss = log_loss(validation.late, small.predict_proba(held_out)[:, 1])
        if loss < least:
            best, least, waited = copy.deepcopy(small), loss, 0
        elif (waited := waited + 1) >= PATIENCE:
            break
    return Pipeline([("scale", scaler), ("network", best)])


def boosted_trees(train: Sample, validation: Sample) -> BaseEstimator:
    """Version 1.1.0: histogram gradient boosting, up to 250 trees of 31 leaves."""
    trees = HistGradientBoostingClassifier(
        max_iter=250,
        learning_rate=0.06,
        max_leaf_nodes=31,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=30,
        random_state=0,
    )
    return trees.fit(
        train.features, train.late.astype(np.int64), X_val=validation.features, y_val=validation.late.astype(np.int64)
    )


def wide_network(train: Sample, _: Sample) -> Network:
    """Version 2.0.0: an MLP of 1024-1024-512, for a few epochs with a rate that ends at 0, so that nothing has to stop it.

    The trees see further than the labels alone would let it: a label says late or not, a teacher how likely it was.
    """
    late = train.late.astype(np.float32)
    target = late if train.taught is None else TRUST * train.taught + (1 - TRUST) * late
    return network.fit(train.features, target)


ESTIMATORS: dict[str, Callable[[Sample, Sample], BaseEstimator | Network]] = {
    "1.0.0": perceptron,
    "1.1.0": boosted_trees,
    "2.0.0": wide_network,
}
