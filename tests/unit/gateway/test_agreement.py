"""What shadows have agreed in so far: totals, examples, and what is still to be told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.gateway.agreement import MAX_EXAMPLES, Agreement, Agreements, Pair, ShadowExample
from services.gateway.comparing import Comparison, compare
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.routing import RoutingTable
from tests.support.predictions import endpoint, snapshot, version

PAIR = Pair("m", "1.0.0", "2.0.0")


def compared(*differences: float) -> Comparison:
    """Return rows of which the shadow's answers are so much larger."""
    primary = np.zeros((len(differences), 1))
    return compare([(primary, np.array(differences).reshape(-1, 1))], absolute=1)


def example(index: int, difference: float) -> ShadowExample:
    """Return a row without its answers."""
    return ShadowExample("p", index, difference, (), (), (), 1)


def test_counts_add_up() -> None:
    """Over all that was compared, failed and left out."""
    agreement = Agreement(PAIR)
    agreement.add(compared(0, 1), example, 5)
    agreement.add(compared(-2, math.nan), example, 6)
    agreement.failed()
    agreement.left_out()
    agreement.left_out()
    totals = agreement.totals()
    assert (4, 1, 2, 1, 2) == (totals.rows, totals.exact_rows, totals.tolerant_rows, totals.errors, totals.dropped)
    assert (0, 0) == (totals.ranked_rows, totals.top1_rows)
    assert {0: 1, 41: 1, 42: 1, 81: 1} == totals.differences
    assert (-1, 6) == (totals.difference_sum, totals.last_time_us)


def test_ranked_rows() -> None:
    """Rows of outputs among whose elements there is a largest."""
    agreement = Agreement(PAIR)
    agreement.add(compare([(np.array([[1, 2], [1, 2]]), np.array([[1, 3], [3, 1]]))]), example, 1)
    assert (2, 1) == (agreement.totals().ranked_rows, agreement.totals().top1_rows)


def test_worst_are_kept_in_order() -> None:
    """The largest, those that came first among equals, and none that is equal; made only when needed."""
    agreement = Agreement(PAIR)
    made: list[float] = []

    def noted(index: int, difference: float) -> ShadowExample:
        """Return a row, and note that it was asked for."""
        made.append(difference)
        return example(index, difference)

    agreement.add(compared(*range(MAX_EXAMPLES + 1)), noted, 1)
    agreement.add(compared(0, 1, 5, math.inf), noted, 1)
    worst = agreement.totals().worst
    assert [math.inf, 10, 9, 8, 7, 6, 5, 5, 4, 3] == [each.difference for each in worst]
    assert [5, 2] == [each.row for each in worst if each.difference == 5]
    assert [*range(1, MAX_EXAMPLES + 1), 5, math.inf] == made


def test_totals_do_not_change_afterwards() -> None:
    """They are as they were when they were asked for."""
    agreement = Agreement(PAIR)
    agreement.add(compared(1), example, 1)
    before = agreement.totals()
    agreement.add(compared(1, 2), example, 2)
    assert (1, {41: 1}, 1) == (before.rows, before.differences, len(before.worst))


def test_what_has_changed_is_told_until_it_is_taken() -> None:
    """What is counted after the totals were made is told the next time."""
    agreements = Agreements()
    agreements.of(PAIR).failed()
    told = agreements.changed()
    assert [(PAIR, 1)] == [(totals.pair, totals.errors) for totals in told]
    agreements.of(PAIR).failed()
    agreements.taken(told)
    assert [2] == [totals.errors for totals in agreements.changed()]
    agreements.taken(agreements.changed())
    assert [] == agreements.changed()
    agreements.of(Pair("n", "1.0.0", "2.0.0")).left_out()
    assert ["n"] == [totals.pair.endpoint for totals in agreements.changed()]


def table(*endpoints: str, log_id: str = "log") -> RoutingTable:
    """Return a table of endpoints with two versions."""
    versions = [version({"x:FP32": ["x"]}, number=number, digest=number) for number in ("1.0.0", "2.0.0")]
    made = snapshot(versions=versions, endpoints=[endpoint({"version": "1.0.0"}, name) for name in endpoints])
    made.log_id = log_id
    return TableBuilder().build(made)


def test_what_is_not_defined_any_more_is_forgotten() -> None:
    """An endpoint that is gone, a version, or all of another log; a report that comes back late changes nothing."""
    agreements = Agreements()
    agreements.use(table("m", "n"))
    for pair in (PAIR, Pair("n", "1.0.0", "2.0.0"), Pair("m", "1.0.0", "3.0.0")):
        agreements.of(pair).failed()
    late = agreements.changed()
    agreements.use(table("m"))
    agreements.taken(late)
    assert [] == agreements.changed()
    agreements.of(PAIR).failed()
    assert [2] == [totals.errors for totals in agreements.changed()]
    agreements.use(table("m", log_id="another"))
    assert [] == agreements.changed()


@pytest.mark.parametrize("count", ["failed", "left_out"])
def test_every_count_is_a_change(count: str) -> None:
    """Whatever is counted."""
    agreements = Agreements()
    agreements.of(PAIR).add(compared(1), example, 1)
    agreements.taken(agreements.changed())
    getattr(agreements.of(PAIR), count)()
    assert 1 == len(agreements.changed())
