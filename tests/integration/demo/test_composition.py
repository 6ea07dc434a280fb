"""The demo's compositions through real services, on models and a recording made in small by the pipeline's own parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from deploy.demo.flight_delay.composition.report import passed, print_trial
from deploy.demo.flight_delay.composition.summary import Trial, problems
from deploy.demo.flight_delay.composition.trial import CALLERS, compare_alternatives
from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.definitions import define
from deploy.demo.flight_delay.online.running import running
from deploy.demo.flight_delay.online.session import load
from deploy.demo.flight_delay.replay import Recording
from services.cli.options import Services

DEPARTURES = 150

# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
pytestmark = pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")


@pytest.fixture(scope="module", params=["mesh", "monolith"])
def trial(trained: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """All alternatives on the first departures, on services of their own."""
    directory = tmp_path_factory.mktemp("up")
    with running(directory, request.param, None, "off"):
        services = Services({}, directory)
        define(services, trained, triton=False)
        uvloop.run(load(services, Recording(trained / RECORDING)))
        yield compare_alternatives(services, trained, 0, lambda _: None, DEPARTURES)


def test_every_alternative_answers_as_the_offline_scores_make_it(trial: Trial) -> None:
    """To the last bit for what is taken over; a mean is rounded once."""
    assert [] == problems(trial)
    assert [DEPARTURES * CALLERS] * 4 == [each.answers for each in trial.alternatives]
    *others, ensemble = trial.alternatives
    assert [0, 0, 0] == [each.max_score_difference for each in others]
    assert ensemble.max_score_difference < 1e-6
    assert all(each.auc_online == pytest.approx(each.auc_offline) for each in trial.alternatives)


def test_the_cascade_asks_the_trees_where_the_network_is_unsure(trial: Trial) -> None:
    """And says so in each answer."""
    mlp, trees, cascade, ensemble = trial.alternatives
    assert [None, None, None] == [each.at_first for each in (mlp, trees, ensemble)]
    assert cascade.sure == cascade.at_first
    assert cascade.at_first is not None
    assert 0 < cascade.at_first < cascade.answers


def test_cpu_is_told_of_every_service(trial: Trial) -> None:
    """Of each alternative; a monolith is one process."""
    for each in trial.alternatives:
        assert set(each.cpu_us) in ({"gateway", "features", "model"}, {"services"})
        assert all(used > 0 for used in each.cpu_us.values())


def test_the_report_tells_it(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each alternative."""
    print_trial(trial)
    lines = capsys.readouterr().out.splitlines()
    assert ["MLP alone", "trees alone", "cascade", "ensemble"] == [line.split("  ")[0] for line in lines[2:6]]
    assert "answered at stage one" in passed(trial)
