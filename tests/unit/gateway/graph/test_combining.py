"""Ensembles and confidence: every row as if it were computed alone, by hand, of the members that it has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.graph.combining import combine, confidence
from services.gateway.graph.nodes import ConfidenceMeasure, EnsembleMethod

Array = npt.NDArray[Any]
FLOATS = {16: np.dtype("<f2"), 32: np.dtype("<f4"), 64: np.dtype("<f8")}
NAN = math.nan
examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Ensemble(NamedTuple):
    """Members [rows, width], which rows of each count (None: all), and weights."""

    members: list[Array]
    present: list[npt.NDArray[np.bool_] | None]
    weights: tuple[float, ...]

    def counting(self, row: int) -> list[int]:
        """Places of the members that count in a row."""
        return [place for place, flags in enumerate(self.present) if flags is None or flags[row]]

    def row(self, row: int) -> Ensemble:
        """One row alone."""
        flags = [None if each is None else each[row : row + 1] for each in self.present]
        return Ensemble([member[row : row + 1] for member in self.members], flags, self.weights)


@st.composite
def ensembles(draw: st.DrawFn, elements: Callable[[int], st.SearchStrategy[Any]], kinds: Sequence[Any]) -> Ensemble:
    """Two to five members of a type, in which anything stands at rows that do not count."""
    number = draw(st.integers(0, len(kinds) - 1))
    count, rows, width = draw(st.integers(2, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    flags = st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows).map(np.array)
    values = st.lists(elements(number), min_size=rows * width, max_size=rows * width)
    weights = st.floats(5e-324, 1e308)
    made = [np.array(draw(values), kinds[number]).reshape(rows, width) for _ in range(count)]
    present = [draw(flags) for _ in range(count)]
    for member, counts in zip(made, present, strict=True):
        if counts is not None and member.dtype.kind == "f":
            member[~counts] = draw(st.sampled_from([NAN, math.inf, 1.0]))
    return Ensemble(made, present, tuple(draw(weights) for _ in range(count)))


def floats(number: int) -> st.SearchStrategy[float]:
    """Finite numbers of the type."""
    return st.floats(width=list(FLOATS)[number], allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]


OF_FLOATS = ensembles(floats, list(FLOATS.values()))
OF_INTS = ensembles(lambda _: st.integers(0, 3), [np.int64, np.uint8, np.bool_, np.dtype("<u8")])
OF_TEXTS = ensembles(lambda _: st.sampled_from([b"", b"a", b"bc"]), [object])
COMBINED = [
    pytest.param(OF_FLOATS, list(EnsembleMethod)[1:], id="floats"),
    pytest.param(OF_INTS, [EnsembleMethod.VOTE, EnsembleMethod.MAX], id="integers"),
    pytest.param(OF_TEXTS, [EnsembleMethod.VOTE], id="texts"),
]


@examples
@given(OF_FLOATS, st.booleans())
def test_mean_is_exact_but_for_rounding(ensemble: Ensemble, weighted: bool) -> None:
    """The mean by weight of the members that count, rounded to their type once; never outside of them."""
    method = EnsembleMethod.WEIGHTED_MEAN if weighted else EnsembleMethod.MEAN
    values, _ = combine(method, ensemble.members, ensemble.present, ensemble.weights if weighted else ())
    assert ensemble.members[0].dtype == values.dtype
    for row, column in np.ndindex(values.shape):
        taken = ensemble.counting(row)
        if taken:
            counted = [ensemble.members[place][row, column] for place in taken]
            parts = [Fraction(ensemble.weights[place] if weighted else 1) for place in taken]
            products = (Fraction(float(x)) * part for x, part in zip(counted, parts, strict=True))
            exact = sum(products, Fraction()) / sum(parts, Fraction())
            value = float(values[row, column])
            spacing = float(np.spacing(abs(values[row, column]))) if abs(value) < np.finfo(values.dtype).max else 0.0
            rounding = max(abs(float(x)) for x in counted) * 2**-50
            assert abs(Fraction(value) - exact) <= Fraction(spacing) + Fraction(rounding)
            assert min(counted) <= value <= max(counted)


@examples
@given(OF_FLOATS | OF_INTS)
def test_largest(ensemble: Ensemble) -> None:
    """The largest of the members that count, of each element."""
    values, _ = combine(EnsembleMethod.MAX, ensemble.members, ensemble.present)
    for row, column in np.ndindex(values.shape):
        counted = [ensemble.members[place][row, column] for place in ensemble.counting(row)]
        assert not counted or max(counted) == values[row, column]


@examples
@given(OF_INTS | OF_TEXTS)
def test_vote(ensemble: Ensemble) -> None:
    """The most frequent value of the members that count; of equally many the one that the first member has."""
    values, _ = combine(EnsembleMethod.VOTE, ensemble.members, ensemble.present)
    for row, column in np.ndindex(values.shape):
        counted = [ensemble.members[place][row, column] for place in ensemble.counting(row)]
        # Counter keeps the order in which values come, and so does most_common of equals.
        assert not counted or Counter(counted).most_common(1)[0][0] == values[row, column]


@examples
@given(st.data())
@pytest.mark.parametrize(("strategy", "methods"), COMBINED)
def test_rows_stand_alone(
    strategy: st.SearchStrategy[Ensemble], methods: list[EnsembleMethod], data: st.DataObject
) -> None:
    """A row's values are the same to the bit whoever travels along."""
    method, ensemble = data.draw(st.sampled_from(methods)), data.draw(strategy)
    values, present = combine(method, *ensemble)
    for row in range(len(values)):
        alone, there = combine(method, *ensemble.row(row))
        assert values[row : row + 1].tolist() == alone.tolist()
        assert (present is None or present[row]) == (there is None)


@examples
@given(st.data())
@pytest.mark.parametrize(("strategy", "methods"), COMBINED)
def test_flags_of_all_are_as_none(
    strategy: st.SearchStrategy[Ensemble], methods: list[EnsembleMethod], data: st.DataObject
) -> None:
    """A row in which every member counts has the same values to the bit, whether others lack some or not."""
    method, ensemble = data.draw(st.sampled_from(methods)), data.draw(strategy)
    values, _ = combine(method, *ensemble)
    for row in range(len(values)):
        if len(ensemble.counting(row)) == len(ensemble.members):
            whole = ensemble.row(row)._replace(present=[None] * len(ensemble.members))
            assert combine(method, *whole)[0].tolist() == values[row : row + 1].tolist()


@examples
@given(st.data())
@pytest.mark.parametrize(("strategy", "methods"), COMBINED)
def test_presence(strategy: st.SearchStrategy[Ensemble], methods: list[EnsembleMethod], data: st.DataObject) -> None:
    """A row is there if any member is; without one it is zero, or empty, whatever the members have there."""
    method, ensemble = data.draw(st.sampled_from(methods)), data.draw(strategy)
    before = repr(ensemble)
    values, present = combine(method, *ensemble)
    there = [bool(ensemble.counting(row)) for row in range(len(values))]
    assert there == (present.tolist() if present is not None else [True] * len(values))
    assert (present is None) == all(there)
    assert not any(any(row) for row, is_there in zip(values.tolist(), there, strict=True) if not is_there)
    assert before == repr(ensemble), "what the nodes answered was written to"


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        pytest.param([65504.0, 65504.0], (1.0, 1.0), 65504.0, id="FP16 sums would overflow"),
        pytest.param([1.0, 0.0], (1e308, 1e308), 0.5, id="weights would overflow"),
        pytest.param([None, 1.0, 0.0], (1e308, 1e-308, 1e-308), 0.5, id="others are tiny beside what is left out"),
        pytest.param([0.5, None, 0.25], (1.0, 5.0, 3.0), 0.3125, id="weights of the others count"),
    ],
)
def test_weights(values: list[float | None], weights: tuple[float, ...], expected: float) -> None:
    """What is large or left out does not spoil the others."""
    members = [np.array([[NAN if value is None else value]], np.float16) for value in values]
    present = [None if value is not None else np.array([False]) for value in values]
    assert expected == combine(EnsembleMethod.WEIGHTED_MEAN, members, present, weights)[0].item()


@pytest.mark.parametrize("count", [6, 9, 11])
def test_mean_of_what_is_alike_is_that(count: int) -> None:
    """Shares of 1 do not add up to it for so many: ones would be more than a probability, and the largest infinite."""
    for value in (1.0, np.finfo(np.float64).max):
        alike = np.array([[value], [value]])
        some_rows = np.array([True, False])
        assert [[value], [value]] == combine(EnsembleMethod.MEAN, [alike] * count, [None] * count)[0].tolist()
        present = [some_rows] * count
        assert [[value], [0.0]] == combine(EnsembleMethod.MEAN, [alike] * count, present)[0].tolist()


def test_rows_of_many_members_stand_alone() -> None:
    """Sums are taken in the order of the members, however many there are."""
    drawn = np.random.default_rng(7)
    members = list(drawn.random((10, 50, 1)))
    weights = tuple(drawn.random(10).tolist())
    flags = [drawn.random(50) < 0.9 for _ in members]
    values, _ = combine(EnsembleMethod.WEIGHTED_MEAN, members, flags, weights)
    for row in range(50):
        alone = Ensemble(members, list(flags), weights).row(row)
        assert values[row] == combine(EnsembleMethod.WEIGHTED_MEAN, *alone)[0]
        if all(each[row] for each in flags):
            whole = combine(EnsembleMethod.WEIGHTED_MEAN, alone.members, [None] * 10, weights)
            assert values[row] == whole[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([[0.75], [0.25], [0.5], [0.0], [1.0]], [0.75, 0.75, 0.5, 1.0, 1.0], id="one element"),
        pytest.param([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]], [0.5, 1.0], id="several elements"),
        pytest.param([[NAN], [math.inf], [-0.25], [1.25], [0.5]], [NAN, NAN, NAN, NAN, 0.5], id="no probability"),
        pytest.param(
            [[0.9, NAN], [0.9, -0.1], [1.5, 0.2], [0.9, 0.1]], [NAN, NAN, NAN, 0.9], id="one of several is none"
        ),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_probability(values: list[list[float]], expected: list[float], kind: type[np.floating[Any]]) -> None:
    """Of one element the larger of p and 1 - p, of several the largest; NaN, which no threshold is below, if it is none."""
    found = confidence(np.array(values, kind), ConfidenceMeasure.PROBABILITY)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert found.dtype == np.float64


def test_value() -> None:
    """The element itself, whatever it is; NaN is not sure."""
    values = np.array([[3.5], [-2.0], [NAN], [math.inf]], np.float32)
    found = confidence(values, ConfidenceMeasure.VALUE)
    assert [3.5, -2.0, math.inf] == found[[0, 1, 3]].tolist()
    assert [True, False, False, True] == (found >= 0).tolist()


def test_answers_are_not_written_to() -> None:
    """What a node answered may be an output as well as a confidence."""
    answered = np.array([[0.25], [2.0]])
    confidence(answered, ConfidenceMeasure.PROBABILITY)
    assert [[0.25], [2.0]] == answered.tolist()
