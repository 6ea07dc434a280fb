"""The model service as Knative runs it is the one of base, within what Knative allows."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.settings import Settings as GatewaySettings
from services.mesh.draining import PATIENCE_S
from services.model.settings import Settings
from tests.support.manifests import Mix, Resources, Template, rendered

# What Knative takes of a pod where none of its features is enabled, and of a container.
POD = {
    "serviceAccountName",
    "enableServiceLinks",
    "automountServiceAccountToken",
    "timeoutSeconds",
    "containers",
    "volumes",
}
CONTAINER = {
    "name",
    "image",
    "env",
    "envFrom",
    "ports",
    "readinessProbe",
    "livenessProbe",
    "startupProbe",
    "resources",
    "securityContext",
    "volumeMounts",
}
# Where Knative lets nothing be mounted.
RESERVED = {"/", "/dev", "/dev/log", "/tmp", "/var", "/var/log"}


@pytest.fixture
def knative() -> Resources:
    """The overlay."""
    return rendered(Mix("knative"))


@pytest.fixture
def model(knative: Resources) -> Template:
    """The pods that Knative makes."""
    [service] = [each for each in knative.of("Service") if each["apiVersion"] == "serving.knative.dev/v1"]
    template = service["spec"]["template"]
    return Template(service, template["metadata"]["labels"], template["spec"])


@pytest.fixture
def settings(knative: Resources, model: Template, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the model service makes of its variables."""
    [source] = [each["configMapRef"]["name"] for each in model.main["envFrom"] if "configMapRef" in each]
    [config] = knative.of("ConfigMap", name=source)
    for name, value in config["data"].items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_knative_takes_the_pod(model: Template) -> None:
    """Nothing in it needs a feature that is off; the one port is of HTTP/2."""
    assert model.spec.keys() <= POD
    [container] = model.spec["containers"]
    assert container.keys() <= CONTAINER
    assert {"h2c"} == model.ports.keys()
    assert all("valueFrom" not in variable for variable in container.get("env", []))
    assert {"emptyDir"} == {kind for volume in model.volumes for kind in volume if kind != "name"}
    assert not RESERVED & {mount["mountPath"] for mount in container["volumeMounts"]}


def test_pod_is_the_one_of_base(model: Template, settings: Settings) -> None:
    """The image, the needs, the account, and what it may do."""
    base = rendered(Mix("base")).template("model")
    for key in ("image", "resources"):
        assert base.main[key] == model.main[key]
    allowed_mounts = [each for each in base.main["volumeMounts"] if each["mountPath"] not in RESERVED]
    assert allowed_mounts == model.main["volumeMounts"]
    assert base.labels == model.labels
    assert base.spec["serviceAccountName"] == model.spec["serviceAccountName"]
    assert settings.grpc_port == model.ports["h2c"] == model.main["readinessProbe"]["grpc"]["port"]
    assert str(settings.compute_threads) == model.main["resources"]["limits"]["cpu"]
    allowed: dict[str, Any] = base.main["securityContext"] | base.spec["securityContext"]
    assert {key: value for key, value in allowed.items() if not key.startswith("fsGroup")} == model.main[
        "securityContext"
    ]


def test_pod_is_ended_after_it_has_answered(model: Template, settings: Settings) -> None:
    """Knative gives it as long as a call may take."""
    assert model.spec["timeoutSeconds"] > settings.drain_delay_s + PATIENCE_S + settings.grace_s


def test_there_may_be_no_pod(model: Template) -> None:
    """And then there is one as soon as somebody asks."""
    annotations = model.workload["spec"]["template"]["metadata"]["annotations"]
    assert "0" == annotations["autoscaling.knative.dev/min-scale"]


def test_nothing_else_makes_pods_of_it(knative: Resources) -> None:
    """Neither a Deployment, nor a Service or a budget by that name, which Knative makes itself."""
    assert not [
        each
        for each in knative.of("Deployment", "Service", "PodDisruptionBudget", name="model")
        if "knative" not in each["apiVersion"]
    ]


def test_gateways_keep_nothing_under_way(knative: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the pod would never be ended; they call it by Knative's ingress, whose network they get at."""
    for name, value in knative.settings("gateway").items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings.load()
    assert settings.model_on_demand
    assert "dns:///model.predictmesh.svc.cluster.local:80" == settings.model


def test_only_knative_is_called_on_demand() -> None:
    """Streams that stay open are several times cheaper."""
    for overlay in ("base", "cpu", "gpu"):
        assert "PREDICTMESH_GATEWAY_MODEL_ON_DEMAND" not in rendered(Mix(overlay)).settings("gateway")
