"""The numbers of the alternatives and the verdict on them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.demo.flight_delay.composition.definitions import ALTERNATIVES
from deploy.demo.flight_delay.composition.offline import Cascade
from deploy.demo.flight_delay.composition.report import passed, print_trial
from deploy.demo.flight_delay.composition.summary import AlternativeSummary, Trial, problems
from deploy.demo.flight_delay.composition.tally import Tally
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import NodeState, NodeStep, Provenance
from predictmesh.types.v1.tensor_pb2 import Tensor

CASCADE = ALTERNATIVES[2]
GOOD_CASCADE = AlternativeSummary(
    name="cascade",
    version="3.0.0",
    answers=1_000,
    auc_online=0.76,
    auc_offline=0.76,
    auc_offline_whole=0.77,
    differing=0,
    max_score_difference=0,
    at_first=600,
    sure=600,
    cpu_us={"gateway": 400.0, "features": 200.0, "model": 150.0},
    p50_ms=2,
    p99_ms=9,
)
ALONE = replace(GOOD_CASCADE, name="MLP alone", version="1.0.0", at_first=None, sure=None)
GOOD = Trial(departures=250, callers=4, seconds=3, failures={}, alternatives=(ALONE, GOOD_CASCADE))


def answer(state: NodeState.ValueType, cause: str, node: str = "sure") -> PredictResponse:
    """An answer of 3.0.0 about one departure."""
    step = NodeStep(node=node, state=state, cause=cause)
    return PredictResponse(
        outputs=[Tensor(name="probability", floats=[0.04])], provenance=Provenance(version="3.0.0", nodes=[step])
    )


def departure(first: float) -> Departure:
    """One of which the small network says `first`."""
    scores = {"1.0.0": first, "1.1.0": 0.2, "3.0.0": 0.04}
    return Departure(entities={}, features={}, as_of=0, departed=0, late=False, scores=scores)


def test_answers_of_the_first_stage_are_counted_by_their_provenance() -> None:
    """Those that it should have given by the offline scores, beside them."""
    tally = Tally(CASCADE, Cascade("1.0.0", "1.1.0", 0.9))
    tally.add(departure(0.04), answer(NodeState.NODE_STATE_CHOSEN, "mlp"), 0.001)
    tally.add(departure(0.4), answer(NodeState.NODE_STATE_CHOSEN, "trees"), 0.001)
    tally.add(departure(0.96), answer(NodeState.NODE_STATE_SKIPPED, "mlp", node="trees"), 0.001)
    assert (1, 2, 3) == (tally.at_first, tally.sure, len(tally.answers.online))


def test_cpu_is_summed_by_service() -> None:
    """Whatever else the processes do between two of its turns is left out."""
    tally = Tally(CASCADE)
    tally.used(["gateway", "model"], [100, 50], [130, 51])
    tally.used(["gateway", "model"], [900, 90], [905, 99])
    assert {"gateway": 35, "model": 10} == tally.cpu_ns


def test_a_good_trial_has_no_problems() -> None:
    """One answer in a thousand may be at the edge."""
    assert [] == problems(GOOD)
    assert [] == problems(replace(GOOD, alternatives=(replace(GOOD_CASCADE, differing=1, at_first=601),)))


@pytest.mark.parametrize(
    ("trial", "named"),
    [
        (replace(GOOD, failures={"cascade: no time [DEADLINE_EXCEEDED]": 2}), "2 failures of the cascade"),
        (replace(GOOD, alternatives=(replace(ALONE, differing=2),)), "2 answers of the MLP alone differ"),
        (replace(GOOD, alternatives=(replace(GOOD_CASCADE, at_first=590),)), "590 answers of the cascade"),
    ],
)
def test_each_check_can_fail(trial: Trial, named: str) -> None:
    """One wrong number is one problem, and it is named."""
    (problem,) = problems(trial)
    assert named in problem


def test_the_table_has_a_line_for_each_alternative(capsys: pytest.CaptureFixture[str]) -> None:
    """With its CPU time of all services, then of each; a stage has only the cascade."""
    print_trial(GOOD)
    _, head, alone, cascade, *_ = capsys.readouterr().out.splitlines()
    assert ["alternative", "version", "AUC", "offline", "whole"] == head.split()[:5]
    assert ["MLP", "alone", "1.0.0", "0.7600", "0.7600", "0.7700", "750", "us", "400", "us"] == alone.split()[:10]
    assert ["cascade", "3.0.0", "0.7600", "0.7600", "0.7700", "60%", "750", "us"] == cascade.split()[:8]
    assert "60% answered at stage one" in passed(GOOD)


def test_the_table_of_a_monolith_has_one_column_of_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Its process cannot be parted."""
    print_trial(replace(GOOD, alternatives=(replace(ALONE, cpu_us={"services": 700.0}),)))
    _, head, alone, *_, cpu, _ = capsys.readouterr().out.splitlines()
    assert ["CPU", "p50", "p99"] == head.split()[-3:]
    assert ["700", "us", "2.0", "ms"] == alone.split()[-6:-2]
    assert "the process that is all services" in cpu
