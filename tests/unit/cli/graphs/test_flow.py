"""What goes along each edge follows from the rows that gateways count by node and state."""

from __future__ import annotations

from prometheus_client import REGISTRY, generate_latest

from services.cli.graphs.flow import FAMILIES, Flow, edge_flows, step_flow, version_flow
from services.cli.graphs.metrics import Counts, Measured, increase, read_counts
from services.cli.graphs.reading import read_diagram
from services.mesh.telemetry import names
from tests.unit.cli.graphs.samples import composed, models

# The first stage decides 80 of 100 rows, and `post` fails 2 of the others; `trees` gives an output, so it is asked of all.
ROWS = {
    "mlp": {"computed": 100},
    "trees": {"computed": 99, "defaulted": 1},
    "post": {"computed": 18, "failed": 2, "skipped": 80},
}


def page() -> Counts:
    """What a gateway tells now."""
    return read_counts(generate_latest(REGISTRY).decode(), FAMILIES)


def node_rows(rows: dict[str, dict[str, int]]) -> Counts:
    """What a gateway that counts these rows tells of them."""
    before = page()
    for node, states in rows.items():
        for state, number in states.items():
            names.NODE_ROWS.labels("delay", "3.0.0", node, state).inc(number)
    return increase(before, page())


def flows(counts: Counts) -> dict[tuple[str, str], Flow]:
    """Flows of ten seconds by target and label of the edge."""
    diagram = read_diagram("delay", composed(), models())
    found = edge_flows(diagram, Measured(counts, 10), "delay", "3.0.0")
    assert set(found) == {edge for block in diagram.blocks for edge in block.takes}
    return {(edge.target, edge.label): flow for edge, flow in found.items()}


def test_rows_of_each_kind() -> None:
    """Models give what they computed or have defaults for, ensembles what their members let them, cascades all that no stage failed."""
    found = flows(node_rows(ROWS))
    assert {
        ("mlp", "X"): (10, 1),
        ("trees", "X"): (10, 1),
        ("post", "mlp.probability"): (10, 1),
        ("post", "trees.probability"): (10, 1),
        ("both", "mlp.probability"): (10, 1),
        ("both", "post.probability"): (1.8, 0.18),
        ("sure", "mlp.probability"): (10, 1),
        ("sure", "both.probability"): (1.8, 0.18),
        ("answer", "sure.probability"): (9.8, 0.98),
        ("answer", "trees.probability"): (10, 1),
    } == {edge: (flow.per_second, flow.share) for edge, flow in found.items()}


def test_times_of_calls() -> None:
    """An edge tells the time of its source's calls; nothing is called for ensembles, cascades and features."""
    before = page()
    names.NODE_DURATION.labels("delay", "3.0.0", "mlp").observe(0.004)
    found = flows(increase(before, page()))
    p50, p99 = found["sure", "mlp.probability"].p50_s, found["sure", "mlp.probability"].p99_s
    assert p50 is not None
    assert p99 is not None
    assert 0.0025 < p50 < p99 <= 0.005
    assert {(0, None, None, None)} == {
        (flow.per_second, flow.share, flow.p50_s, flow.p99_s)
        for (_, label), flow in found.items()
        if not label.startswith("mlp")
    }


def test_calls_of_a_version() -> None:
    """Calls of the endpoint, in those of all its versions."""
    before = page()
    for version, number in (("3.0.0", 3), ("1.0.0", 1)):
        for _ in range(number):
            names.PREDICTIONS.labels("departures", version).observe(0.01)
    names.PREDICTIONS.labels("others", "3.0.0").observe(0.01)
    flow = version_flow(Measured(increase(before, page()), 2), "departures", "3.0.0")
    assert (1.5, 0.75) == (flow.per_second, flow.share)
    assert ("1.5 calls/s", "75 %", "p50 7.5 ms", "p99 9.95 ms") == flow.texts("calls")


def test_nothing_was_asked() -> None:
    """Without calls there are neither shares nor times."""
    flow = version_flow(Measured({}, 2), "departures", "3.0.0")
    assert ("0 calls/s", "", "", "") == flow.texts("calls")


def test_rows_of_a_ladder() -> None:
    """Each step has a share of the rows that the route's version failed."""
    before = page()
    for step, rows in (("version 1.0.0", 6), ("answer", 3), ("none", 1)):
        names.FALLBACK_ROWS.labels("departures", step).inc(rows)
    measured = Measured(increase(before, page()), 2)
    assert ("3 rows/s", "60 %", "", "") == step_flow(measured, "departures", "version 1.0.0").texts("rows")
    assert ("1.5 rows/s", "30 %", "", "") == step_flow(measured, "departures", "answer").texts("rows")
