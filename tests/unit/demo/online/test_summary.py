"""The numbers of a replay and the verdict on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from deploy.demo.flight_delay.online.chaos import ChaosSummary
from deploy.demo.flight_delay.online.computed import RuntimeRows
from deploy.demo.flight_delay.online.summary import AHEAD, Degraded, Summary, VersionSummary, auc, problems

GOOD_VERSION = VersionSummary(
    version="1.0.0",
    asked="by pin",
    calls=10,
    answers=100,
    auc_online=0.7612,
    auc_offline=0.7600,
    max_score_difference=0.01,
    differing=0,
    auc_offline_whole=0.76,
    p50_ms=1,
    p99_ms=2,
    batch_rows=3,
    runtimes=(RuntimeRows("onnx", 100, {}),),
)
GOOD_CHAOS = ChaosSummary(killed_after=50, killed=True, stood_in=10, silent=0, returned=30, returned_s=1.5)
GOOD = Summary(
    departures=100,
    departures_whole=1000,
    first_as_of="",
    last_as_of="",
    slices=10,
    replay_s=1,
    answers=100,
    answers_per_s=100,
    rows_sent=50,
    rows_written=50,
    rows_per_s=50,
    failures={},
    degraded_answers=3,
    degraded=(Degraded("plane", "feature absent", 3),),
    versions=(GOOD_VERSION,),
    triton="",
    chaos=GOOD_CHAOS,
)
UNRANKED = replace(GOOD_VERSION, auc_online=None, auc_offline=None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2))
def test_auc_is_the_one_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    """Ties count half, as there; without both kinds of row there is none."""
    late, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.float32)
    if late.all() or not late.any():
        assert auc(late, scores) is None
    else:
        assert roc_auc_score(late, scores) == pytest.approx(auc(late, scores))


def test_a_good_replay_has_no_problems() -> None:
    """Degraded answers that say so are none, nor is an AUC within the tolerance, nor a Triton that came back."""
    assert [] == problems(GOOD)
    assert [] == problems(replace(GOOD, chaos=None))


@pytest.mark.parametrize(
    ("summary", "named"),
    [
        (replace(GOOD, failures={"no time [DEADLINE_EXCEEDED]": 2}), "2 failures"),
        (replace(GOOD, rows_written=49), "1 of 50"),
        (replace(GOOD, degraded=(Degraded("plane", AHEAD, 1),)), "future"),
        (replace(GOOD, versions=(replace(GOOD_VERSION, auc_online=0.7631),)), "AUC of 1.0.0"),
        (replace(GOOD, versions=(replace(GOOD_VERSION, auc_online=None),)), "AUC of 1.0.0"),
        (replace(GOOD, versions=(replace(GOOD_VERSION, differing=1),)), "differ from the offline scores"),
        (replace(GOOD, chaos=replace(GOOD_CHAOS, killed=False, returned=0)), "Triton was not killed"),
        (replace(GOOD, chaos=replace(GOOD_CHAOS, stood_in=0)), "no row was answered in Triton's place"),
        (replace(GOOD, chaos=replace(GOOD_CHAOS, silent=3)), "3 rows"),
        (replace(GOOD, chaos=replace(GOOD_CHAOS, returned=0, returned_s=None)), "answered no row"),
        (replace(GOOD, versions=(replace(UNRANKED, max_score_difference=0.01),)), "AUC of 1.0.0"),
    ],
)
def test_each_check_can_fail(summary: Summary, named: str) -> None:
    """One wrong number is one problem, and it is named."""
    (problem,) = problems(summary)
    assert named in problem
