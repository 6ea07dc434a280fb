"""The path of an answer as people read it."""

from __future__ import annotations

import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import LadderStep, NodeStep, Provenance, RouteReason
from services.cli.answers import print_answer
from services.cli.paths import print_path, rows_text

LADDER = """
step                        answered  time     why it left the others
route 3.0.0                 0, 4      3.21 ms  trees is not loaded [VERSION_NOT_LOADED]
last answer 3.0.0, 9 s old  1 to 3    12 us    no answer is remembered [NO_LAST_ANSWER]
answer                      5         1 us
"""
NODES = """
node   state      rows    why                time    in the batch
mlp    computed   all                        1.2 ms  32
trees  skipped    0 to 2  mlp was sure
trees  defaulted  3, 5    DEADLINE_EXCEEDED  9 ms    12
sure   chosen     0 to 2  mlp stands
"""


def test_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step with the rows that it answered, and why it left others to the next."""
    made = Provenance(
        ladder=[
            LadderStep(
                kind=1,  # type: ignore[arg-type]
                version="3.0.0",
                answered_rows=[0, 4],
                reason="VERSION_NOT_LOADED",
                message="trees is not loaded",
                duration_us=3_210,
            ),
            LadderStep(
                kind=3,  # type: ignore[arg-type]
                version="3.0.0",
                answered_rows=[1, 2, 3],
                reason="NO_LAST_ANSWER",
                message="no answer is remembered",
                duration_us=12,
                age_ms=9_000,
            ),
            LadderStep(kind=4, answered_rows=[5], duration_us=1),  # type: ignore[arg-type]
        ]
    )
    print_path(made)
    assert LADDER == capsys.readouterr().out


def test_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each node with what became of which rows there, and why."""
    print_path(
        Provenance(
            nodes=[
                NodeStep(node="mlp", state=1, duration_us=1_200, batch_rows=32),  # type: ignore[arg-type]
                NodeStep(node="trees", state=2, rows=[0, 1, 2], cause="mlp"),  # type: ignore[arg-type]
                NodeStep(
                    node="trees",
                    state=3,  # type: ignore[arg-type]
                    rows=[3, 5],
                    cause="DEADLINE_EXCEEDED",
                    duration_us=9_000,
                    batch_rows=12,
                ),
                NodeStep(node="sure", state=5, rows=[0, 1, 2], cause="mlp"),  # type: ignore[arg-type]
            ]
        )
    )
    assert NODES == capsys.readouterr().out


def test_plain_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Where neither ladder nor graph was there, nothing is said of them."""
    print_path(Provenance(model="churn"))
    assert "" == capsys.readouterr().out


def test_static_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """An answer of no version and no runtime says so by leaving them out."""
    made = Provenance(model="churn", route_reason=RouteReason.ROUTE_REASON_FALLBACK)
    print_answer(PredictRequest(), PredictResponse(provenance=made))
    assert "model       churn (fallback)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], ""), ([7], "7"), ([0, 1], "0, 1"), ([0, 1, 2], "0 to 2"), ([0, 2, 4, 5, 6, 7, 9], "0, 2, 4 to 7, 9")],
)
def test_rows(rows: list[int], expected: str) -> None:
    """Long runs are told by their ends."""
    assert expected == rows_text(rows)
