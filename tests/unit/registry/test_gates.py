"""What a version must have shown before it may answer callers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.mesh.errors import Code, Reason
from services.registry.catalog import Catalog
from services.registry.definitions import Artifact, GoldenSet, MetricGate, Model, Version
from services.registry.gates import Gate, failed, gates_of, refusal
from services.registry.readiness import GoldenState, Readiness, RuntimeState, RuntimeStatus
from services.registry.versions import uploads_of
from tests.support.definitions import SHA256, field, version, view
from tests.support.graphs import composed_in, graph
from tests.worlds.graphs import node

GOLDEN = GoldenSet("9" * 64, size_bytes=77)
GIVEN = version(digest="d1", artifacts=(Artifact("onnx", SHA256, size_bytes=20),))
WITH_GOLDEN = replace(GIVEN, golden=GOLDEN)
STORED = {SHA256: 20, GOLDEN.sha256: 77}


def status(runtime: str = "onnx", **parts: Any) -> RuntimeStatus:
    """The given version READY on a runtime."""
    given: dict[str, Any] = {"state": RuntimeState.READY} | parts
    return RuntimeStatus("churn", "1.0.0", "d1", runtime, **given)


def heard(*told: RuntimeStatus) -> Readiness:
    """Each said by a process of its own."""
    readiness = Readiness(lambda: 0.0, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for index, each in enumerate(told):
        readiness.report(f"model-{index}", (each,))
    return readiness


def gates(
    given: Version = GIVEN,
    *told: RuntimeStatus,
    gate: MetricGate | None = None,
    views: Any = None,
    stored: Any = None,
) -> dict[str, Gate]:
    """The gates of a version by name."""
    model = Model("churn", versions=(given,), metric_gates=(gate,) if gate else ())
    catalog = Catalog(views={"rider_stats": view()} if views is None else views, models={"churn": model})
    found = gates_of(catalog, model, given, heard(*(told or (status(),))), STORED if stored is None else stored)
    return {each.name: each for each in found}


def test_a_good_version_passes_every_gate() -> None:
    """Bound, stored, ready; what it does not have to show is said to be so."""
    found = gates(gate=MetricGate("auc", min=0.7))
    assert ["binding", "artifacts", "ready", "golden/onnx", "metric/auc"] == list(found)
    assert () == failed(found.values())
    assert "no golden set" in found["golden/onnx"].message
    assert {""} == {gate.remedy for gate in found.values()}


def test_a_view_that_lost_a_field_fails_the_binding() -> None:
    """What held when the version was registered is looked at again."""
    found = gates(views={"rider_stats": view(fields=(field("trips"),))})
    assert ["binding"] == [gate.name for gate in failed(found.values())]
    assert "no field 'rating'" in found["binding"].message
    assert "apply" in found["binding"].remedy


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({GOLDEN.sha256: 77}, "the onnx artifact"),
        ({SHA256: 19, GOLDEN.sha256: 77}, "has 19 bytes, not 20"),
        ({SHA256: 20}, "the golden set"),
    ],
)
def test_bytes_that_are_not_stored_fail_the_artifacts(stored: dict[str, int], message: str) -> None:
    """A process that starts tomorrow could not load it."""
    found = gates(WITH_GOLDEN, status(golden=GoldenState.PASSED), stored=stored)
    assert ["artifacts"] == [gate.name for gate in failed(found.values())]
    assert message in found["artifacts"].message
    assert "register the version again" in found["artifacts"].remedy


def test_a_server_elsewhere_has_no_bytes() -> None:
    """There is nothing to be stored, and only one with bytes is looked for."""
    given = replace(GIVEN, artifacts=(Artifact("oip", target="a:1"),))
    assert frozenset() == uploads_of(given)
    assert gates(given, status("oip"), stored={})["artifacts"].passed


def test_a_version_names_its_artifacts_and_its_golden_set() -> None:
    """Those are the uploads to look for."""
    assert {SHA256, GOLDEN.sha256} == uploads_of(WITH_GOLDEN)


def test_no_process_that_has_it_ready_fails_ready() -> None:
    """Where it stands is said; no golden gate is there for what does not serve."""
    found = gates(WITH_GOLDEN, status(state=RuntimeState.FAILED, message="no memory"))
    assert ["ready"] == [gate.name for gate in failed(found.values())]
    assert "no memory" in found["ready"].message
    assert "golden/onnx" not in found


def test_ready_with_other_content_does_not_count() -> None:
    """A process that still has what had the number before has shown nothing."""
    assert not gates(GIVEN, replace(status(), digest="d0"))["ready"].passed


def test_each_runtime_that_serves_has_a_golden_gate() -> None:
    """One that gives other outputs stops the version, whatever the others give."""
    found = gates(
        WITH_GOLDEN,
        status("onnx", golden=GoldenState.PASSED),
        status("triton", golden=GoldenState.FAILED, golden_message="output y, row 3: 0.5 recorded, 0.7 computed"),
        status("oip", state=RuntimeState.LOADING),
    )
    assert ["golden/triton"] == [gate.name for gate in failed(found.values())]
    assert found["golden/onnx"].passed
    assert "0.7 computed" in found["golden/triton"].message
    assert "golden/oip" not in found


def test_one_process_that_fails_the_golden_set_is_enough() -> None:
    """The caller may come to any of them."""
    told = (status(golden=GoldenState.PASSED), status(golden=GoldenState.FAILED, golden_message="worse"))
    assert "worse" == gates(WITH_GOLDEN, *told)["golden/onnx"].message


def test_a_golden_set_that_has_not_been_run_is_waited_for() -> None:
    """Not failed is not passed."""
    gate = gates(WITH_GOLDEN, status(golden=GoldenState.PASSED), status())["golden/onnx"]
    assert (False, "the golden set has not been run on onnx yet") == (gate.passed, gate.message)
    assert "wait" in gate.remedy


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (MetricGate("auc", min=0.8), "0.75 is below 0.8"),
        (MetricGate("auc", max=0.7), "0.75 is above 0.7"),
        (MetricGate("log_loss", max=0.5), "the version has no metric log_loss"),
    ],
)
def test_a_metric_that_misses_its_bounds_fails(gate: MetricGate, message: str) -> None:
    """Missing is failing; the remedy names the model whose gate it is."""
    found = gates(gate=gate)[f"metric/{gate.metric}"]
    assert (False, message) == (found.passed, found.message)
    assert "register a" in found.remedy
    assert "model churn" in found.remedy


@pytest.mark.parametrize("gate", [MetricGate("auc", min=0.75), MetricGate("auc", max=0.75)])
def test_a_metric_at_its_bound_passes(gate: MetricGate) -> None:
    """Bounds are the last values that pass."""
    assert gates(gate=gate)["metric/auc"].passed


def test_the_refusal_names_each_failed_gate_with_its_remedy() -> None:
    """A violation for each, by the gate's name."""
    found = gates(stored={}, gate=MetricGate("auc", min=0.9))
    error = refusal("churn", "1.0.0", found.values())
    assert (Code.FAILED_PRECONDITION, Reason.GATE_FAILED) == (error.code, error.reason)
    assert ["artifacts", "metric/auc"] == [violation.field for violation in error.violations]
    assert "0.75 is below 0.9" in error.violations[1].description
    assert "change the gate" in error.violations[1].description


def composed_gates(*told: RuntimeStatus, stored: dict[str, int] = STORED) -> dict[str, Gate]:
    """The gates of churn@9.0.0 by name, made of churn@1.0.0 with a golden set and of base@1.0.0, whose model has a gate."""
    base = Model("base", versions=(replace(GIVEN, metrics={"auc": 0.6}),), metric_gates=(MetricGate("auc", min=0.7),))
    churn = Model("churn", versions=(WITH_GOLDEN,), metric_gates=(MetricGate("auc", max=0.85),))
    catalog = Catalog(views={"rider_stats": view()}, models={"churn": churn, "base": base})
    given = composed_in(catalog, graph(node("own", "churn@1.0.0"), node("other", "base@1.0.0"), p="own", q="other"))
    return {each.name: each for each in gates_of(catalog, churn, given, heard(*told), stored)}


def test_a_composed_version_has_the_gates_of_its_nodes() -> None:
    """Beside its own binding and metrics; each says of which node it is, and what to do there."""
    told = (status(golden=GoldenState.FAILED, golden_message="worse"), replace(status("triton"), model="base"))
    found = composed_gates(*told)
    assert [
        "binding",
        *("node/own/artifacts", "node/own/ready", "node/own/golden/onnx", "node/own/metric/auc"),
        *("node/other/artifacts", "node/other/ready", "node/other/golden/triton", "node/other/metric/auc"),
        "metric/auc",
    ] == list(found)
    assert {"node/own/golden/onnx", "node/other/metric/auc"} == {gate.name for gate in failed(found.values())}
    assert "gate of model base" in found["node/other/metric/auc"].remedy
    assert "0.8 is at most 0.85" == found["metric/auc"].message


def test_a_composed_version_is_ready_when_each_node_is() -> None:
    """One that is not is named."""
    found = composed_gates(status(golden=GoldenState.PASSED))
    assert found["node/own/ready"].passed
    assert (False, "no model process has base@1.0.0 READY (none has reported it)") == (
        found["node/other/ready"].passed,
        found["node/other/ready"].message,
    )


def test_a_composed_version_needs_the_bytes_of_its_nodes() -> None:
    """A process that starts tomorrow could not load them."""
    found = composed_gates(stored={SHA256: 20})
    assert not found["node/own/artifacts"].passed
    assert found["node/other/artifacts"].passed
