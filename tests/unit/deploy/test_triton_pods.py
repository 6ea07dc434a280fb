"""The manifests of GPU pods say what the services understand, and the same in every place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.model.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy" / "triton"
SHARED = {"mig": "nvidia.com/mig-1g.10gb", "time-slicing": "nvidia.com/gpu.shared", "mps": "nvidia.com/gpu.shared"}
# As services.model.runtimes.triton_control waits for.
UNLOAD_LIMIT_S = 10


@pytest.fixture(scope="module")
def pod() -> Any:
    """The pod's specification."""
    deployment = yaml.safe_load((DEPLOY / "gpu" / "model-pod.yaml").read_text())
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def triton(pod: Any) -> Any:
    """Its Triton."""
    return _named(pod["initContainers"], "triton")


@pytest.fixture
def settings(pod: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What its model service makes of its variables; every one has to be known, and to fit."""
    model = _named(pod["containers"], "model")
    for variable in model["env"]:
        monkeypatch.setenv(variable["name"], _value(variable, model["resources"]))
    return Settings.load()


def _named(things: list[Any], name: str) -> Any:
    return next(thing for thing in things if thing["name"] == name)


def _value(variable: Any, resources: Any) -> str:
    if "value" in variable:
        return str(variable["value"])
    kind, _, resource = variable["valueFrom"]["resourceFieldRef"]["resource"].partition(".")
    return str(math.ceil(float(resources[kind][resource])))


def _argument(triton: Any, name: str) -> str:
    return str(next(arg for arg in triton["args"] if arg.startswith(f"--{name}="))).partition("=")[2]


def _mount(container: Any, volume: str) -> Any:
    return next(mount for mount in container["volumeMounts"] if mount["name"] == volume)


def test_settings_are_known_and_differ_from_the_defaults(settings: Settings) -> None:
    """Triton is used, and only on a GPU; the threads are those of the pod, not of the node."""
    assert ("0.0.0.0", "gpu", 2) == (settings.host, settings.triton_kind, settings.compute_threads)


def test_both_containers_mean_the_same_ports(settings: Settings, triton: Any) -> None:
    """On loopback: nobody else gets at Triton."""
    assert settings.triton == f"{_argument(triton, 'grpc-address')}:{_argument(triton, 'grpc-port')}"
    assert settings.triton_metrics == f"{_argument(triton, 'metrics-address')}:{_argument(triton, 'metrics-port')}"
    assert {"127.0.0.1"} == {_argument(triton, f"{kind}-address") for kind in ("http", "grpc", "metrics")}
    live = f"http://127.0.0.1:{_argument(triton, 'http-port')}/v2/health/live"
    assert {live} == {triton[probe]["exec"]["command"][-1] for probe in ("startupProbe", "livenessProbe")}


def test_both_containers_mean_the_same_directory(pod: Any, settings: Settings, triton: Any) -> None:
    """On one volume with the artifacts, so that these are linked instead of copied."""
    ours, its = _mount(_named(pod["containers"], "model"), "models"), _mount(triton, "models")
    assert settings.triton_repository == Path(ours["mountPath"], its["subPath"])
    assert settings.data_dir.is_relative_to(ours["mountPath"])
    assert its["mountPath"] == _argument(triton, "model-repository")


def test_triton_outlives_the_service_and_does_not_decide_about_readiness(
    pod: Any, settings: Settings, triton: Any
) -> None:
    """The service unloads while it stops, and answers from the CPU while Triton is away."""
    assert "Always" == triton["restartPolicy"]
    assert "readinessProbe" not in triton
    stopping_s = settings.drain_delay_s + settings.grace_s + UNLOAD_LIMIT_S
    assert pod["terminationGracePeriodSeconds"] > stopping_s + int(_argument(triton, "exit-timeout-secs"))


def test_kubernetes_adds_no_variables_of_its_own(pod: Any) -> None:
    """A Service named predictmesh-model would bring some that are no settings."""
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("sharing", SHARED)
def test_a_shared_gpu_takes_the_place_of_a_whole_one(pod: Any, triton: Any, sharing: str) -> None:
    """In the same container; every name in the patch is one of the pod's."""
    kustomization = yaml.safe_load((DEPLOY / sharing / "kustomization.yaml").read_text())
    [patch] = [yaml.safe_load(each["patch"])["spec"]["template"]["spec"] for each in kustomization["patches"]]
    [container] = patch["initContainers"]
    assert "triton" == container["name"]
    limits = triton["resources"]["limits"] | container["resources"]["limits"]
    assert [SHARED[sharing]] == [name for name, count in limits.items() if "nvidia.com" in name and count]
    assert {volume["name"] for volume in patch.get("volumes", [])} <= {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
    assert mounts <= {mount["mountPath"] for mount in triton["volumeMounts"]}
