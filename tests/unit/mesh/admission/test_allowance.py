"""So many a second, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.mesh.admission.allowance import SAVED_S, Allowance


@given(rate=st.floats(1, 1e4), waits=st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_no_more_is_used_than_the_rate_allows(rate: float, waits: list[float]) -> None:
    """Whoever uses all that is left, whenever he looks, uses the rate, and what may be saved once."""
    now = 0.0
    allowance = Allowance(rate, clock=lambda: now)
    used = 0
    for wait in waits:
        now += wait
        left = allowance.left()
        assert 0 <= left <= rate * SAVED_S
        for _ in range(left):
            allowance.use()
        used += left
    assert used <= rate * (sum(waits) + SAVED_S) + 1e-6


def test_what_is_used_beyond_is_owed() -> None:
    """It has to be made up for by time before there is any again."""
    now = 0.0
    allowance = Allowance(100, clock=lambda: now)
    for _ in range(30):
        allowance.use()
    now = 0.15
    assert allowance.left() <= 0
    now = 0.25
    assert allowance.left() > 0
