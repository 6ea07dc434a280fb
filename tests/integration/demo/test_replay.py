"""The demo's replay through real services, on models and a recording made in small by the pipeline's own parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.comparison import Comparison
from deploy.demo.flight_delay.online.computed import RuntimeRows
from deploy.demo.flight_delay.online.sample import Sample
from deploy.demo.flight_delay.online.session import replay
from deploy.demo.flight_delay.online.summary import problems, summarize
from deploy.demo.flight_delay.online.ways import ways_of
from deploy.demo.flight_delay.replay import Recording
from services.cli.options import Services
from tests.integration.demo.conftest import COMPARED

VERSIONS = ("1.0.0", "1.1.0", "2.0.0")
WAYS = ways_of(VERSIONS, "1.1.0")

# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
pytestmark = pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")


def test_every_version_scores_every_departure_online_as_offline(comparison: Comparison) -> None:
    """To the last bit, as the same graph got the same bytes; so that there is no problem to report."""
    summary = comparison.summary
    assert [] == problems(summary)
    assert [(version, COMPARED, 0.0) for version in VERSIONS] == [
        (each.version, each.answers, each.max_score_difference) for each in summary.versions
    ]
    assert len({each.auc_online for each in summary.versions}) == len(VERSIONS)
    assert [(RuntimeRows("onnx", COMPARED, {}),)] * 3 == [each.runtimes for each in summary.versions]
    assert summary.rows_written > COMPARED


def test_a_replay_that_sees_the_future_is_told(comparison: Comparison, services: Services, trained: Path) -> None:
    """Played again over a store that is at its end already, the first departures read what they must not know."""
    recording = Recording(trained / RECORDING)
    played = uvloop.run(replay(services, recording, 50, WAYS, lambda _: None))
    found = problems(summarize(played, WAYS, dict.fromkeys(WAYS, 0.5), ""))
    assert any("from their future" in problem for problem in found)
    assert any("were not stored" in problem for problem in found)


def test_the_sample_repeats_the_last_answer_and_is_traced_over_all_hops(
    comparison: Comparison, sample: tuple[Sample, list[dict[str, object]]]
) -> None:
    """The store still is as the last departure found it; its trace has a span of each service on the way."""
    asked, spans = sample
    assert comparison.last.scores["1.1.0"] == pytest.approx(asked.response.outputs[0].floats[0], abs=0)
    on_the_way = {f"predictmesh-{name}" for name in ("gateway", "features", "model")}
    assert on_the_way == {span["service"] for span in spans}
