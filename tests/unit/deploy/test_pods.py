"""Pods run what there is, with settings that are known, as little as they need, and end when they have answered."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.features.settings import Settings as FeatureSettings
from services.gateway.settings import Settings as GatewaySettings
from services.mesh.draining import PATIENCE_S
from services.mesh.settings import ServiceSettings
from services.model.settings import Settings as ModelSettings
from services.registry.settings import Settings as RegistrySettings
from tests.support.manifests import SERVICES, Resources, Template

SETTINGS: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "features": FeatureSettings,
    "model": ModelSettings,
    "registry": RegistrySettings,
}
VERSION = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]


def _settings(resources: Resources, service: str, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    for name, value in resources.settings(service).items():
        monkeypatch.setenv(name, value)
    return SETTINGS[service].load()


def _ours(resources: Resources) -> list[Template]:
    """Return the pods of our services; an overlay may have others run one of them."""
    return [each for each in resources.templates() if each.name in SERVICES]


def test_settings_are_known(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is a setting and fits; each service listens where its container says, to others as well."""
    for pod in _ours(resources):
        settings = _settings(resources, pod.name, monkeypatch)
        assert "0.0.0.0" == settings.host
        assert {"grpc": settings.grpc_port, "http": settings.http_port} == pod.ports


def test_files_of_settings_lie_on_volumes(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root is read-only: what is written, and what is read, is mounted."""
    for pod in _ours(resources):
        settings = _settings(resources, pod.name, monkeypatch)
        mounted = [mount["mountPath"] for mount in pod.main["volumeMounts"]]
        paths = {value for value in settings.model_dump().values() if isinstance(value, Path)}
        if settings.objects.startswith("file://"):
            paths.add(Path(settings.objects.removeprefix("file://")))
        assert paths
        assert not {path for path in paths if not any(path.is_relative_to(each) for each in mounted)}


def test_only_the_registry_writes_artifacts(resources: Resources) -> None:
    """Where artifacts lie on a shared volume the others have it to read."""
    for pod in _ours(resources):
        for mount in pod.main["volumeMounts"]:
            if mount["name"] == "objects":
                assert (pod.name != "registry") == mount.get("readOnly", False)


def test_pods_are_ended_after_they_have_answered(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a service takes to drain is less than what the kubelet gives it."""
    for pod in _ours(resources):
        settings = _settings(resources, pod.name, monkeypatch)
        assert settings.drain_delay_s > 0
        draining_s = settings.drain_delay_s + PATIENCE_S + settings.grace_s
        assert pod.spec["terminationGracePeriodSeconds"] > draining_s


def test_images_have_a_version(resources: Resources) -> None:
    """Ours that of this release, others one that does not change under its users."""
    for pod in resources.templates():
        for container in pod.containers:
            name, _, tag = container["image"].rpartition(":")
            ours = pod.name in SERVICES and name.startswith("predictmesh/")
            assert tag == VERSION if ours else tag not in ("", "latest")


def test_pods_may_do_as_little_as_possible(resources: Resources) -> None:
    """As the Pod Security Standard "restricted" demands; and the root of ours is read-only."""
    [namespace] = resources.of("Namespace") or [None]
    for pod in resources.templates():
        user = pod.spec["securityContext"]
        assert user["runAsNonRoot"]
        assert user["runAsUser"] > 0
        assert "RuntimeDefault" == user["seccompProfile"]["type"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert all({"emptyDir", "persistentVolumeClaim", "secret", "configMap"} & each.keys() for each in pod.volumes)
        for container in pod.containers:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert ["ALL"] == container["securityContext"]["capabilities"]["drop"]
        assert pod.main["securityContext"]["readOnlyRootFilesystem"]
    assert namespace is None or "pod-security.kubernetes.io/enforce" in namespace["metadata"]["labels"]


def test_pods_have_nothing_of_the_cluster(resources: Resources) -> None:
    """No token of its API, and no variables of its Services: PREDICTMESH_MODEL_PORT would be an unknown setting."""
    for pod in resources.templates():
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False


def test_pods_say_what_they_need(resources: Resources) -> None:
    """Processor time and memory; ours never more memory than they ask for: who takes more is ended, not his neighbours."""
    for pod in resources.templates():
        for container in pod.containers:
            needs = container["resources"]
            assert needs["requests"]["cpu"]
            assert needs["limits"]["memory"]
            assert pod.name not in SERVICES or needs["requests"]["memory"] == needs["limits"]["memory"]


def test_probes_ask_what_there_is(resources: Resources) -> None:
    """By HTTP, as checks by gRPC are refused with calls; readiness is never what a pod is ended for."""
    for pod in _ours(resources):
        assert "http" in pod.ports
        assert {"path": "/readyz", "port": "http"} == pod.main["readinessProbe"]["httpGet"]
        for probe in ("startupProbe", "livenessProbe"):
            assert {"path": "/healthz", "port": "http"} == pod.main[probe]["httpGet"]


def test_replicas(resources: Resources) -> None:
    """Two of each at least, of which one is always there; one registry, which writes the log."""
    for pod in _ours(resources):
        spec: dict[str, Any] = pod.workload["spec"]
        if pod.name == "registry":
            assert ("StatefulSet", 1) == (pod.workload["kind"], spec["replicas"])
        else:
            assert spec.get("replicas", 2) >= 2
            # Names of pods are cached for 5 s.
            assert spec["minReadySeconds"] >= 10
            assert 1 >= spec["strategy"]["rollingUpdate"]["maxUnavailable"]
            assert {each["topologyKey"] for each in pod.spec["topologySpreadConstraints"]} == {
                "topology.kubernetes.io/zone",
                "kubernetes.io/hostname",
            }
