"""How the threshold and the weights are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from deploy.demo.flight_delay.composition.choosing import (
    Threshold,
    choose_threshold,
    choose_weight,
    thresholds,
    weights,
)

FOUND = [Threshold(0.6, 0.9, 0.7, 0.40), Threshold(0.7, 0.6, 0.7, 0.36), Threshold(0.8, 0.3, 0.7, 0.32)]


@pytest.fixture
def september() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Departures of which `second` knows how likely each is to be late, and `first` less exactly."""
    random = np.random.default_rng(0)
    chance = random.uniform(0, 1, 4_000)
    late = random.uniform(0, 1, 4_000) < chance
    noise = random.normal(0, 0.2, 4_000)
    clip = {"first": chance + noise, "second": chance}
    return late, {version: np.clip(scores, 0.02, 0.98).astype(np.float32) for version, scores in clip.items()}


def test_the_threshold_keeps_half_of_what_the_second_stage_brings() -> None:
    """The least that does; the greatest where none does."""
    assert 0.7 == choose_threshold(FOUND, first=0.42, second=0.30).threshold
    assert 0.6 == choose_threshold(FOUND, first=0.42, second=0.38).threshold
    assert 0.8 == choose_threshold(FOUND, first=0.42, second=0.20).threshold


def test_the_higher_the_threshold_the_less_the_first_stage_answers(
    september: tuple[np.ndarray, dict[str, np.ndarray]],
) -> None:
    """And the nearer the cascade is to its second stage."""
    late, scores = september
    found = thresholds(late, scores, "first", "second")
    shares = [each.at_first for each in found]
    assert sorted(shares, reverse=True) == shares
    assert found[0].log_loss > found[-1].log_loss
    assert all(0.5 < each.threshold < 1 for each in found)


def test_the_weight_is_that_with_the_least_log_loss(september: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    """Its ends are the versions alone."""
    late, scores = september
    found = weights(late, scores, "first", "second")
    assert pytest.approx(log_loss(late, scores["second"])) == found[0].log_loss
    assert pytest.approx(log_loss(late, scores["first"])) == found[-1].log_loss
    assert choose_weight(found).log_loss == min(each.log_loss for each in found)
