"""How a shadow compares, as people read it."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.registry.v1.traffic_pb2 import Histogram, ShadowExample, ShadowTotals
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.releases.shadows import explain_command, print_comparison, quantile

EXAMPLE = ShadowExample(
    prediction_id="p-1",
    row=2,
    difference=0.25,
    entities=[Tensor(name="tail", strings=["N 1"]), Tensor(name="slot", ints=[7])],
    primary=[Tensor(name="p", floats=[0.5])],
    shadow=[Tensor(name="p", floats=[0.75])],
    as_of=Timestamp(seconds=1_380_585_600),
)
TOTALS = ShadowTotals(
    endpoint="delay",
    primary="1.0.0",
    shadow="1.1.0",
    rows=1_000,
    exact_rows=900,
    tolerant_rows=999,
    errors=3,
    dropped=4,
    differences=Histogram(bins=[0, 29, 40], counts=[900, 99, 1]),
    difference_sum=-0.5,
    worst=[EXAMPLE],
    last_time=Timestamp(seconds=1_380_585_600),
)


@pytest.mark.parametrize(
    ("bins", "counts", "share", "bound"),
    [
        ([], [], 0.5, None),
        ([0], [10], 0.999, 0.0),
        # Bin 40 holds differences below 1, and bin 36 those below a tenth.
        ([0, 40], [99, 1], 0.99, 0.0),
        ([0, 40], [98, 2], 0.99, 1.0),
        ([36, 40], [50, 50], 0.5, 0.1),
        ([36, 40], [49, 51], 0.5, 1.0),
        ([81], [1], 0.5, math.inf),
    ],
)
def test_quantile(bins: list[int], counts: list[int], share: float, bound: float | None) -> None:
    """A share of the rows is off by no more than the upper end of the bin in which it is reached."""
    found = quantile(Histogram(bins=bins, counts=counts), share)
    assert bound == (None if found is None else pytest.approx(found))


def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """Agreement with its counts, quantiles, the mean with its sign, what was not compared, and the worst rows."""
    print_comparison(TOTALS, ["distance"])
    lines = capsys.readouterr().out.splitlines()
    pairs = {name.strip(): value for name, _, value in (line.partition("  ") for line in lines[: lines.index("")])}
    said = {name: value.strip() for name, value in pairs.items()}
    assert "1.1.0 beside 1.0.0 at delay" == said["shadow"]
    assert "90 % (900 of 1,000)" == said["exact"]
    assert "99.9 % (999 of 1,000)" == said["in tolerance"]
    assert "same top-1" not in said
    assert "p50 0 at most, p90 0 at most, p99 0.0018 at most, p99.9 0.0018 at most" == said["off by"]
    assert said["mean"].startswith("-0.0005 ")
    assert "3 requests" == said["failed"]
    assert said["left out"].startswith("4 requests")
    assert ["p-1", "2", "tail=N", "1,", "slot=7", "0.5", "0.75", "0.25"] == lines[lines.index("") + 2].split()


def test_nothing_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """A shadow that has only failed makes no figures up."""
    print_comparison(ShadowTotals(endpoint="delay", primary="1.0.0", shadow="1.1.0", errors=3), [])
    printed = capsys.readouterr().out
    assert "nothing yet" in printed
    assert "p50" not in printed


def test_ranking(capsys: pytest.CaptureFixture[str]) -> None:
    """Of outputs with several elements, it is said how often the same one was largest."""
    totals = ShadowTotals(rows=10, ranked_rows=8, top1_rows=6)
    print_comparison(totals, [])
    assert "75 % (6 of 8)" in capsys.readouterr().out


def test_command_that_explains_a_row() -> None:
    """A row can be looked into by pasting a line; values that nobody kept are left to fill in."""
    assert (
        "predictmesh explain delay --version 1.1.0 --entity 'tail=N 1' --entity slot=7 "
        "--as-of 2013-10-01T00:00:00Z --feature distance=..."
    ) == explain_command(TOTALS, EXAMPLE, ["distance"])
