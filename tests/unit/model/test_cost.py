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
    """With one size only, nothing tells a fixed cost."""
    cost = BatchCost()
    cost.learn(4, 0.004)
    assert pytest.approx(0.016) == cost.expect_s(16)
    assert pytest.approx(0.001) == cost.expect_s(1)


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


def test_the_cost_by_row_is_not_forgotten_while_all_batches_are_as_large() -> None:
    """Steady load brings one size; other sizes must still be told apart when it changes."""
    cost = BatchCost()
    for rows in (1, 32):
        cost.learn(rows, 0.001 + rows * 0.0001)
    for _ in range(2000):
        cost.learn(64, 0.001 + 64 * 0.0001)
    assert pytest.approx(0.0011, rel=0.05) == cost.expect_s(1)


def test_how_far_batches_stray_is_learnt() -> None:
    """One in twenty takes five times as long: nine of ten do not show it, 99 of a hundred do."""
    cost = BatchCost()
    for turn in range(400):
        cost.learn(1 + turn % 32, (0.001 + (1 + turn % 32) * 0.0001) * (5 if turn % 20 == 0 else 1))
    assert cost.likely < 1.5
    assert cost.surely > 3


def test_rows_within_is_the_inverse_of_likely() -> None:
    """The most rows that still end in time."""
    cost = BatchCost()
    for rows in (1, 32, 1, 32):
        cost.learn(rows, 0.001 + rows * 0.0001)
    rows = cost.rows_within(0.02, 256)
    assert cost.likely_s(rows) <= 0.02 < cost.likely_s(rows + 1)
    assert (0, 256) == (cost.rows_within(0.0005, 256), cost.rows_within(10, 256))


def test_an_efficient_batch_has_its_share_of_the_throughput() -> None:
    """And one row less has not."""
    cost = BatchCost()
    for rows in (1, 32, 1, 32):
        cost.learn(rows, 0.001 + rows * 0.0001)
    rows = cost.efficient_rows(256, 0.9)
    most = 256 / cost.expect_s(256)
    assert rows / cost.expect_s(rows) >= 0.9 * most > (rows - 1) / cost.expect_s(rows - 1)
