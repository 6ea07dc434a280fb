"""The demo's replay with a real Triton, which is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.flight_delay.online import report
from deploy.demo.flight_delay.online.comparison import compare
from deploy.demo.flight_delay.online.running import running
from deploy.demo.flight_delay.online.summary import Summary, problems
from deploy.demo.flight_delay.online.triton import chosen
from services.cli.options import Services
from tests.integration.demo.conftest import PLAYED
from tests.support.triton import installed_triton

# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
pytestmark = pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")


@pytest.fixture(scope="module")
def summary(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Of a replay over services with a Triton of their own, killed after a third of it."""
    installed_triton()
    directory = tmp_path_factory.mktemp("up")
    with running(directory, "mesh", None, "required") as up:
        triton = chosen("required", up.line)
        return compare(Services({}, directory), trained, PLAYED, lambda _: None, triton, chaos=True).summary


def test_nobody_but_the_report_notices_that_triton_was_killed(summary: Summary) -> None:
    """Nothing fails, its rows are answered in its place and say so, and it is back before the end."""
    assert [] == problems(summary)
    assert {} == summary.failures
    assert [PLAYED] * 3 == [each.answers for each in summary.versions]
    assert summary.chaos is not None
    assert summary.chaos.stood_in > 0
    assert summary.chaos.returned > 0


def test_only_the_wide_version_runs_on_triton(summary: Summary) -> None:
    """And after the kill on the runtime that stands behind it, with a reason; no row is counted twice."""
    small, routed, wide = (each.runtimes for each in summary.versions)
    assert ["onnx"] == [each.runtime for each in small] == [each.runtime for each in routed]
    assert ["triton", "onnx"] == [each.runtime for each in wide]
    first, behind = wide
    assert PLAYED == first.rows + behind.rows
    assert sum(behind.stood_in.values()) == behind.rows


def test_scores_are_those_of_the_pipeline_on_either_runtime(summary: Summary) -> None:
    """ONNX Runtime adds in the same order there; the tolerance is the rounding of its float32 sums, should it not."""
    assert summary.versions[-1].max_score_difference <= 1e-6


def test_the_report_tells_it(summary: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows by runtime, where Triton runs, and what the kill did."""
    report.print_summary(summary)
    text = capsys.readouterr().out
    first, behind = summary.versions[-1].runtimes
    assert f"2.0.0 on  triton {first.rows:,}, onnx {behind.rows:,} (RUNTIME_" in text
    assert "Triton    runs at 127.0.0.1:" in text
    assert f"chaos     Triton killed (SIGKILL) after {PLAYED // 3:,} departures: {behind.rows:,} rows" in text
