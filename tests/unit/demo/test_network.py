"""The wide network: its gradients, what it learns, and the graph that is served."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.demo.flight_delay.bins import BINS, Bins
from deploy.demo.flight_delay.network import Layer, Network, fit
from deploy.demo.flight_delay.pipeline import score

ROWS, WIDTH = 20_000, 4
HIDDEN = (256, 128)


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    """Rows of four features, of which the last never changes."""
    drawn = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    drawn[:, -1] = 1
    return drawn


@pytest.fixture(scope="module")
def late(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A label that no straight line tells: late where the first feature is far from 0."""
    return (np.abs(features[:, 0]) > 1).astype(np.float32)


@pytest.fixture(scope="module")
def network(features: NDArray[np.float32], late: NDArray[np.float32]) -> Network:
    """A network, not quite as wide as the demo's, that has learned it."""
    return fit(features, late, HIDDEN)


def loss(network: Network, features: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Mean log loss."""
    late = network.predict_proba(features)[:, 1].astype(np.float64)
    return float(-np.mean(target * np.log(late) + (1 - target) * np.log(1 - late)))


def test_bins_hold_equal_shares_and_leave_out_what_never_changes(features: NDArray[np.float32]) -> None:
    """A value in a bin is between -1 and 1 there, at 1 in all bins below and at -1 in all above."""
    bins = Bins.fit(features)
    assert [0] * BINS + [1] * BINS + [2] * BINS == bins.columns.tolist()
    encoded = bins.encode(features)[:, :BINS]
    assert (np.diff(encoded, axis=1) <= 0).all()
    inside = (np.abs(encoded) < 0.999).sum(axis=1)
    assert inside.max() == 1
    low, high = bins.middle[:BINS] - bins.half[:BINS], bins.middle[:BINS] + bins.half[:BINS]
    shares = [((features[:, 0] >= a) & (features[:, 0] <= b)).mean() for a, b in zip(low, high, strict=True)]
    np.testing.assert_allclose(shares, 1 / BINS, atol=0.01)


def test_a_value_beyond_all_that_was_seen_counts_as_the_farthest(features: NDArray[np.float32]) -> None:
    """An outlier moves no activation beyond what training has seen."""
    bins = Bins.fit(features)
    extreme = np.array([features.max(axis=0), features.max(axis=0) * 1000], np.float32)
    first, second = bins.encode(extreme)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_gradients_are_those_of_the_loss(features: NDArray[np.float32], late: NDArray[np.float32]) -> None:
    """Each as the difference of two losses gives it, in float64, where such a difference means something."""
    target = (0.7 * late + 0.1)[:50]
    start = fit(features[:200], late[:200], (5, 4))
    layers = [Layer(layer.weights.astype(np.float64), layer.bias.astype(np.float64)) for layer in start.layers]
    network, rows = Network(start.bins, layers), features[:50]
    gradients = network.gradients(rows, target)
    parameters = [part for layer in layers for part in (layer.weights, layer.bias)]
    assert [each.shape for each in parameters] == [each.shape for each in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        place, step = np.unravel_index(np.abs(gradient).argmax(), gradient.shape), 1e-5
        parameter[place] += step
        above = loss(network, rows, target)
        parameter[place] -= 2 * step
        below = loss(network, rows, target)
        parameter[place] += step
        assert (above - below) / (2 * step) == pytest.approx(float(gradient[place]), rel=1e-3)


def test_it_learns_what_no_line_tells(
    network: Network, features: NDArray[np.float32], late: NDArray[np.float32]
) -> None:
    """In a few steps, far below the loss of knowing only how many are late."""
    rate = float(late.mean())
    chance = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert loss(network, features, late) < 0.8 * chance


def test_the_same_rows_give_the_same_network(
    network: Network, features: NDArray[np.float32], late: NDArray[np.float32]
) -> None:
    """Nothing is drawn from outside."""
    again = fit(features, late, HIDDEN)
    for one, other in zip(network.layers, again.layers, strict=True):
        assert one.weights.tobytes() == other.weights.tobytes()


def test_its_graph_scores_as_it_was_trained(network: Network, features: NDArray[np.float32]) -> None:
    """Also a single row, and rows far from all that was seen."""
    model = network.to_onnx(WIDTH)
    for rows in (features, features[:1], features * 1000):
        expected = network.predict_proba(rows)[:, 1:]
        np.testing.assert_allclose(score(model, {"input": rows}), expected, atol=1e-6)
