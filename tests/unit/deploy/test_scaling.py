"""Autoscalers and alerts go by metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.kubernetes.rules import MANIFEST, manifest
from services.mesh.telemetry import names
from tests.support.manifests import ROOT, Mix, Resources, components, rendered
from tests.support.promtool import promtool

METRIC = re.compile(r"predictmesh_[a-z_]+")
HPA, KEDA = Mix("cpu", ("hpa",)), Mix("cpu", ("keda",))


def _exposed() -> set[str]:
    made = (each for each in vars(names).values() if isinstance(each, MetricWrapperBase))
    return {metric.name for each in made for metric in each.describe()} | {
        each for each in vars(names).values() if isinstance(each, str)
    }


def _adapted() -> dict[str, Any]:
    values = yaml.safe_load((ROOT / "components" / "hpa" / "adapter-values.yaml").read_text())
    return {rule["name"]["as"]: rule for rule in values["rules"]["custom"]}


def _scaled(resources: Resources) -> dict[str, Any]:
    return {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]
        for each in resources.of("HorizontalPodAutoscaler", "ScaledObject")
    }


def test_the_operator_has_the_rules_of_prometheus() -> None:
    """`make manifests` was run after they were changed."""
    assert manifest() == MANIFEST.read_text()
    [rule] = rendered(Mix("cpu", ("monitoring",))).of("PrometheusRule")
    groups = [
        group
        for path in sorted((ROOT.parent / "telemetry" / "rules").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    assert groups == rule["spec"]["groups"]


def test_labels_stay_as_alerts_know_them() -> None:
    """The operator calls a target's port its `endpoint`: ours wins, and none of ours hides which target it is."""
    [monitor] = rendered(Mix("cpu", ("monitoring",))).of("PodMonitor")
    assert all(endpoint["honorLabels"] for endpoint in monitor["spec"]["podMetricsEndpoints"])
    metrics = (each for each in vars(names).values() if isinstance(each, MetricWrapperBase))
    ours = {label for metric in metrics for label in metric._labelnames}
    assert "endpoint" in ours
    assert not ours & {"job", "instance", "namespace", "pod", "container"}


def test_metrics_of_autoscalers_are_adapted() -> None:
    """All of those, and no others, from metrics that pods show."""
    wanted = {
        metric["pods"]["metric"]["name"]
        for spec in _scaled(rendered(HPA)).values()
        for metric in spec["metrics"]
        if metric["type"] == "Pods"
    }
    assert wanted == _adapted().keys()
    for rule in _adapted().values():
        assert set(METRIC.findall(rule["seriesQuery"] + rule["metricsQuery"])) <= _exposed()


def test_metrics_of_keda_are_exposed() -> None:
    """And asked for in the namespace of the mesh."""
    triggers = [
        trigger
        for spec in _scaled(rendered(KEDA)).values()
        for trigger in spec["triggers"]
        if trigger["type"] == "prometheus"
    ]
    assert triggers
    for query in (trigger["metadata"]["query"] for trigger in triggers):
        found = METRIC.findall(query)
        assert set(found) <= _exposed()
        assert len(found) == query.count('{namespace="predictmesh"}')


def _queries() -> dict[str, str]:
    """Return how each of the two asks Prometheus for the load of the gateways: the sum over all, and each by itself."""
    [keda] = [each for each in _scaled(rendered(KEDA))["gateway"]["triggers"] if each["type"] == "prometheus"]
    adapted = _adapted()["predictmesh_admission_utilization"]["metricsQuery"]
    by_pod = adapted.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'namespace="predictmesh"')
    return {"keda": keda["metadata"]["query"], "hpa": by_pod}


@pytest.mark.parametrize(
    ("component", "expected"),
    [("keda", {"{}": 1.1}), ("hpa", {'{pod="gateway-1"}': 0.9, '{pod="gateway-2"}': 0.2})],
)
def test_services_without_a_limit_do_not_spoil_the_load(
    component: str, expected: dict[str, float], tmp_path: Path
) -> None:
    """They tell a limit of 0 and nothing under way, which is no load of a gateway."""
    told = {"gateway-1": (90, 100), "gateway-2": (20, 100), "features-1": (0, 0), "model-1": (0, 0)}
    series = [
        {"series": f'predictmesh_admission_{name}{{namespace="predictmesh",pod="{pod}"}}', "values": f"{value}x5"}
        for pod, values in told.items()
        for name, value in zip(("in_flight", "limit"), values, strict=True)
    ]
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    case = {"expr": _queries()[component], "eval_time": "5m", "exp_samples": samples}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [case]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    promtool("test", "rules", tmp_path / "test.yaml")


def test_both_autoscalers_mean_the_same() -> None:
    """Whoever changes from one to the other has as many pods as before."""
    ours, theirs = _scaled(rendered(HPA)), _scaled(rendered(KEDA))
    assert ours.keys() == theirs.keys() == {"gateway", "features", "model"}
    for name, spec in ours.items():
        other = theirs[name]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (other["minReplicaCount"], other["maxReplicaCount"])
        assert _targets(spec["metrics"]) == [
            float(each["metadata"].get("value", each["metadata"].get("threshold"))) for each in other["triggers"]
        ]
        assert (
            spec["behavior"]["scaleDown"] == other["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        )


def _targets(metrics: list[Any]) -> list[float]:
    cpu = [float(each["resource"]["target"]["averageUtilization"]) for each in metrics if each["type"] == "Resource"]
    pods = [each["pods"]["target"]["averageValue"] for each in metrics if each["type"] == "Pods"]
    return cpu + [float(value.removesuffix("m")) / (1000 if value.endswith("m") else 1) for value in pods]


@pytest.mark.parametrize("component", ["hpa", "keda"])
def test_enough_pods_stay(component: str) -> None:
    """Two of each at least, so that one can be away."""
    assert component in components()
    for spec in _scaled(rendered(Mix("cpu", (component,)))).values():
        assert spec.get("minReplicas", spec.get("minReplicaCount")) >= 2
