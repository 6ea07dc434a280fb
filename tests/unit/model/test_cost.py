from __future__ import annotations

import math

import pytest

from services.model.cost import BatchCost


def test_nothing_is_expected_before_the_first_batch() -> None:
    """A model of unknown cost counts as slow."""
    assert math.inf == BatchCost().expect_s(1)


def test_fixed_cost_and_cost_by_row_are_told_apart() -> None:
    """Two sizes make a line, which holds between and beyond them."""
    cost = BatchCost()
    for rows in (1, 32, 1, 32):
        cost.learn(rows, 0.001 + rows * 0.0001)
    assert pytest.approx(0.001 + 16 * 0.0001) == cost.expect_s(16)
    assert pytest.approx(0.001 + 64 * 0.0001) == cost.expect_s(64)


def test_sizes_never_seen_are_expected_in_proportion() -> None:
    """With one size only, larger batches are taken to cost more and smaller ones no less."""
    cost = BatchCost()
    cost.learn(4, 0.004)
    assert pytest.approx(0.016) == cost.expect_s(16)
    assert pytest.approx(0.004) == cost.expect_s(1)


def test_old_batches_are_forgotten() -> None:
    """A model that has become slower is expected to be slow after some dozens of batches."""
    cost = BatchCost()
    for _ in range(1000):
        cost.learn(8, 0.001)
    for _ in range(150):
        cost.learn(8, 0.01)
    assert cost.expect_s(8) > 0.009


def test_noise_never_makes_time_negative() -> None:
    """A line tilted by noise stops at zero."""
    cost = BatchCost()
    cost.learn(10, 0.0)
    cost.learn(20, 0.1)
    assert cost.expect_s(1) >= 0
    cost = BatchCost()
    cost.learn(10, 0.1)
    cost.learn(20, 0.0)
    assert cost.expect_s(1000) >= 0
