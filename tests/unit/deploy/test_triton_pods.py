"""The manifests of GPU pods say what the services understand, and the same in every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.model.settings import Settings
from tests.support.manifests import Mix, Resources, Template, rendered

SHARED = {"mig": "nvidia.com/mig-1g.10gb", "time-slicing": "nvidia.com/gpu.shared", "mps": "nvidia.com/gpu.shared"}
# As services.model.runtimes.triton_control waits for.
UNLOAD_LIMIT_S = 10
# As services.mesh.draining waits for callers that are late to leave.
PATIENCE_S = 5


@pytest.fixture
def gpu() -> Resources:
    """The overlay."""
    return rendered(Mix("gpu"))


@pytest.fixture
def pod(gpu: Resources) -> Template:
    """A pod of the model service."""
    return gpu.template("model")


@pytest.fixture
def triton(pod: Template) -> Any:
    """Its Triton."""
    return _triton(pod)


@pytest.fixture
def settings(gpu: Resources, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What its model service makes of its variables."""
    for name, value in gpu.settings("model").items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def _triton(pod: Template) -> Any:
    return next(each for each in pod.spec["initContainers"] if each["name"] == "triton")


def _argument(triton: Any, name: str) -> str:
    return str(next(arg for arg in triton["args"] if arg.startswith(f"--{name}="))).partition("=")[2]


def _mount(container: Any, path: str) -> Any:
    return next(mount for mount in container["volumeMounts"] if mount["mountPath"] == path)


def test_settings_differ_from_the_defaults(settings: Settings) -> None:
    """Triton is used, and only on a GPU; the threads are those of the pod, not of the node."""
    assert ("0.0.0.0", "gpu", 2) == (settings.host, settings.triton_kind, settings.compute_threads)


def test_both_containers_mean_the_same_ports(settings: Settings, triton: Any) -> None:
    """On loopback: nobody else gets at Triton."""
    assert settings.triton == f"{_argument(triton, 'grpc-address')}:{_argument(triton, 'grpc-port')}"
    assert settings.triton_metrics == f"{_argument(triton, 'metrics-address')}:{_argument(triton, 'metrics-port')}"
    assert {"127.0.0.1"} == {_argument(triton, f"{kind}-address") for kind in ("http", "grpc", "metrics")}
    live = f"http://127.0.0.1:{_argument(triton, 'http-port')}/v2/health/live"
    assert {live} == {triton[probe]["exec"]["command"][-1] for probe in ("startupProbe", "livenessProbe")}


def test_both_containers_mean_the_same_directory(pod: Template, settings: Settings, triton: Any) -> None:
    """On one volume with the artifacts, so that these are linked instead of copied."""
    ours, its = _mount(pod.main, "/var/lib/predictmesh"), _mount(triton, _argument(triton, "model-repository"))
    assert ours["name"] == its["name"]
    assert settings.triton_repository == Path(ours["mountPath"], its["subPath"])
    assert settings.data_dir.is_relative_to(ours["mountPath"])


def test_both_containers_run_as_the_same_user(pod: Template, triton: Any) -> None:
    """They share files; 1000 is the user of NVIDIA's image."""
    assert 1000 == pod.spec["securityContext"]["runAsUser"]
    assert not {"runAsUser", "runAsGroup"} & triton["securityContext"].keys()


def test_triton_outlives_the_service_and_does_not_decide_about_readiness(
    pod: Template, settings: Settings, triton: Any
) -> None:
    """The service unloads while it stops, and answers from the CPU while Triton is away."""
    assert "Always" == triton["restartPolicy"]
    assert "readinessProbe" not in triton
    stopping_s = settings.drain_delay_s + PATIENCE_S + settings.grace_s + UNLOAD_LIMIT_S
    assert pod.spec["terminationGracePeriodSeconds"] > stopping_s + int(_argument(triton, "exit-timeout-secs"))


def test_one_pod_leaves_before_another_comes(pod: Template) -> None:
    """A new pod needs the GPU of an old one."""
    assert {"maxSurge": 0, "maxUnavailable": 1} == pod.workload["spec"]["strategy"]["rollingUpdate"]


@pytest.mark.parametrize("sharing", SHARED)
def test_a_shared_gpu_takes_the_place_of_a_whole_one(sharing: str) -> None:
    """In the same container, on nodes that share in this way."""
    pod = rendered(Mix("gpu", (sharing,))).template("model")
    assert [SHARED[sharing]] == [name for name in _triton(pod)["resources"]["limits"] if "nvidia.com" in name]
    assert {"nvidia.com/gpu.present"} < pod.spec["nodeSelector"].keys()


def test_pods_under_mps_have_the_shared_memory_of_its_daemon() -> None:
    """The device plugin mounts it, so that nothing of ours may be there."""
    pod = rendered(Mix("gpu", ("mps",))).template("model")
    assert "/dev/shm" not in {mount["mountPath"] for mount in _triton(pod)["volumeMounts"]}
    assert "shared-memory" not in {volume["name"] for volume in pod.spec["volumes"]}
