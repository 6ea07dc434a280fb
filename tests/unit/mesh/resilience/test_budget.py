"""How many calls may be made again: a fraction of recent ones."""

from __future__ import annotations

from services.mesh.resilience.budget import RetryBudget


def taken(budget: RetryBudget, calls: int) -> int:
    """Make so many calls that all want to be made again; return how many may."""
    count = 0
    for _ in range(calls):
        budget.called()
        count += budget.take()
    return count


def test_a_fraction_of_calls() -> None:
    """Once what was saved is spent, one call of ten may be made again."""
    budget = RetryBudget(fraction=0.1, start=10)
    taken(budget, 100)
    assert 99 <= taken(budget, 1000) <= 101


def test_what_is_saved() -> None:
    """Those who fail together after many good calls may all be made again, up to a tenth of the last thousand."""
    budget = RetryBudget(fraction=0.1, most=100, start=0)
    for _ in range(5000):
        budget.called()
    spent = 0
    while budget.take():
        spent += 1
    assert 100 == spent


def test_the_first_calls_of_a_process() -> None:
    """A few may be made again before there is anything to save."""
    budget = RetryBudget(start=10)
    assert 10 == sum(budget.take() for _ in range(20))
