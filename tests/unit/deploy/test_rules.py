"""The rules for Prometheus: they say what they mean, of metrics that there are, and somebody knows what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from services.gateway import errors as gateway_errors
from services.mesh import errors as mesh_errors
from services.mesh.errors import Code, MeshError
from services.mesh.telemetry import names
from services.model.engine import Engine
from services.model.metrics import ModelMetrics
from tests.support.prometheus import TELEMETRY
from tests.support.promtool import promtool

RULES = sorted((TELEMETRY / "rules").glob("*.yaml"))
TESTS = sorted((TELEMETRY / "tests").glob("*.yaml"))
SEVERITIES = {"critical", "warning", "info"}
# What Prometheus, its client library, Triton and Kubernetes add.
OTHERS = {
    "up": set(),
    "process_start_time_seconds": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "nv_inference_request_success": {"model", "version"},
    "nv_inference_request_failure": {"model", "version", "reason"},
}
OF_THE_TARGET = {"job", "instance", "namespace"}
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

_GROUPING = re.compile(r"\b(?:by|on|group_left|group_right) \(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w:.])([a-z_][\w:]*)(?![\w:]*\()(?:\{([^}]*)\})?")
_WORDS = {"and", "or", "unless", "offset", "sum", "min", "max", "avg"}


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return all rules of a kind, by name."""
    made = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    found = {rule[kind]: rule for rule in made if kind in rule}
    assert len(found) == sum(kind in rule for rule in made), "two rules have one name"
    return found


ALERTS, RECORDS = rules("alert"), rules("record")


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that an expression reads, with the labels that it chooses by."""
    for name, chosen in _SELECTOR.findall(_GROUPING.sub(" ", expression)):
        if name not in _WORDS:
            yield name, set(re.findall(r"(\w+)(?:=~|!~|!=|=)", chosen))


def known() -> dict[str, set[str]]:
    """Return the labels of every series that there can be."""
    nothing = cast("Engine", SimpleNamespace(servings=list, board=SimpleNamespace(current=())))
    families = [(each.name, each.type, each._labelnames) for each in ModelMetrics(nothing).collect()]  # type: ignore[attr-defined]
    own = [metric for metric in vars(names).values() if isinstance(metric, MetricWrapperBase)]
    families += [(metric._name, metric._type or "", metric._labelnames) for metric in own]
    made = {name + end: set(labels) | {"le"} for name, kind, labels in families for end in SAMPLES[kind]}
    recorded = {
        name: {label for labels in _GROUPING.findall(rule["expr"]) for label in labels.split(", ")}
        for name, rule in RECORDS.items()
    }
    # Some recordings pass on what they read as it is.
    for name, rule in RECORDS.items():
        recorded[name] |= {label for read, _ in selectors(rule["expr"]) for label in made.get(read, ())}
    return OTHERS | made | recorded | {names.TRITON_UP: set()}


def test_prometheus_takes_them() -> None:
    """Configuration and rules are right to Prometheus itself."""
    promtool("check", "config", TELEMETRY / "prometheus.yaml")
    promtool("check", "config", TELEMETRY / "local.yaml")
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """Series that mean trouble fire the alert, with a text that can be read; others do not."""
    promtool("test", "rules", path)


def test_every_alert_is_tried() -> None:
    """Each one fires in a test, and what takes its time does not fire before."""
    cases = [
        case for path in TESTS for test in yaml.safe_load(path.read_text())["tests"] for case in test["alert_rule_test"]
    ]
    assert set(ALERTS) == {case["alertname"] for case in cases if case["exp_alerts"]}


@pytest.mark.parametrize("name", [*ALERTS, *RECORDS])
def test_metrics_exist(name: str) -> None:
    """Each rule reads metrics of ours, of Triton or of recordings, and chooses by labels that they have."""
    series = known()
    for read, chosen in selectors((ALERTS | RECORDS)[name]["expr"]):
        assert read in series, f"{name} reads {read}, which nobody tells"
        assert chosen <= series[read] | OF_THE_TARGET, f"{name} chooses {read} by {chosen - series[read]}"


def test_what_callers_can_mend_is_no_fault_of_ours() -> None:
    """Both recordings part the reasons alike: what a request can be refused for is the caller's to mend."""
    classes = [*vars(mesh_errors).values(), *vars(gateway_errors).values()]
    errors = [
        each for each in classes if isinstance(each, type) and issubclass(each, MeshError) and hasattr(each, "code")
    ]
    theirs = {str(each.reason) for each in errors if each.code in {Code.INVALID_ARGUMENT, Code.NOT_FOUND}}
    for kind, operator in (("mistakes", "=~"), ("faults", "!~")):
        expression = RECORDS[f"endpoint:predictmesh_prediction_{kind}:ratio_rate5m"]["expr"]
        chosen = re.search(rf'reason{operator}"([^"]*)"', expression)
        assert chosen is not None
        assert theirs == set(chosen[1].split("|"))


@pytest.mark.parametrize("name", ALERTS)
def test_somebody_knows_what_to_do(name: str) -> None:
    """Each alert says how urgent it is, what has happened, and where that is explained."""
    alert = ALERTS[name]
    assert name.startswith("Predictmesh")
    assert alert["labels"]["severity"] in SEVERITIES
    assert {"summary", "description", "runbook"} == set(alert["annotations"])
    assert f"deploy/telemetry/runbook.md#{name.lower()}" == alert["annotations"]["runbook"]


def test_runbook_is_of_these_alerts() -> None:
    """A section for each alert and no other, and every link in it leads somewhere."""
    text = (TELEMETRY / "runbook.md").read_text()
    sections = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert sorted(ALERTS) == sorted(sections)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = TELEMETRY / path if path else TELEMETRY / "runbook.md"
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def test_recordings_are_named_by_what_they_keep() -> None:
    """As Prometheus advises: labels, metric, operation. What is summed over everything else keeps the namespace."""
    for name, rule in RECORDS.items():
        assert 2 == name.count(":"), name
        assert all("namespace" in labels for labels in _GROUPING.findall(rule["expr"]) if labels), name
