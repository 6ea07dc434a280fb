"""Answers of a ladder's versions: what callers may rely on in the route's version holds for those that stand in."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.errors import InvalidOutput, VersionNotLoaded
from services.gateway.ladder.merging import Merging
from services.gateway.prediction import LadderStep, LadderStepKind, Outcome
from services.gateway.target import DType, Output, Target


def target(*, finite: bool) -> Target:
    """A version whose output p is finite, or need not be."""
    output = Output("p", DType.FP32, (), 1, finite)
    return Target("delay", "2.0.0", "", (), (), (), (output,), (), (), b"", None)


def step(kind: LadderStepKind) -> LadderStep:
    """A step that has been taken."""
    return LadderStep(kind, "1.0.0", [], None, 1)


def merged(*values: float, finite: bool) -> Merging:
    """What a version answers as its second output, for rows that the route's version has failed."""
    failed = dict.fromkeys(range(len(values)), VersionNotLoaded("not here"))
    merging = Merging(target(finite=finite), len(values), None, failed, step(LadderStepKind.ROUTE))
    other = np.full((len(values), 1), np.inf, np.float32)
    found = Outcome([other, np.array(values, np.float32).reshape(-1, 1)], {}, [], [], "onnx")
    merging.add("version 1.0.0", step(LadderStepKind.VERSION), found, (1,))
    return merging


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_goes_on_to_the_next_step(broken: float) -> None:
    """The route's version promises numbers, and its fallback has none here."""
    merging = merged(0.5, broken, 0.25, finite=True)
    assert ([1], [0, 2]) == (merging.open, merging.steps[-1].answered)
    assert isinstance(merging.steps[-1].left, InvalidOutput)
    merging.add("answer", step(LadderStepKind.ANSWER), Outcome([np.array([[0.1]], np.float32)], {}, [], [], ""))
    assert [0.5, np.float32(0.1), 0.25] == merging.outcome().outputs[0][:, 0].tolist()


def test_last_answer_that_is_not_finite_goes_on_to_the_next_step() -> None:
    """Another version of the route has given it, which did not promise numbers."""
    merging = merged(np.nan, finite=True)
    remembered = Outcome([np.array([[np.nan]], np.float32)], {}, [], [], "onnx")
    merging.add("last_answer", step(LadderStepKind.LAST_ANSWER), remembered)
    assert ([0], []) == (merging.open, merging.steps[-1].answered)


def test_what_nobody_relies_on_is_answered() -> None:
    """NaN is an answer where the route's version may give it, too."""
    merging = merged(0.5, np.nan, finite=False)
    assert [] == merging.open
    np.testing.assert_array_equal([0.5, np.nan], merging.outcome().outputs[0][:, 0])
