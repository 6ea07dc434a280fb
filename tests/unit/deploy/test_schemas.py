"""Every resource is one that Kubernetes, or the owner of its kind, would take."""

from __future__ import annotations

import pytest

from tests.support.kubernetes_schemas import CRDS, RELEASES, core_faults, custom_faults, is_core
from tests.support.manifests import ROOT, Resources, build

# Kinds whose definitions nobody has handed us, of cert-manager and Knative: the structure of what we write is tested beside this.
UNDEFINED = ("cert-manager.io/", "serving.knative.dev/")


@pytest.mark.parametrize("release", RELEASES)
def test_core_kinds(resources: Resources, release: str) -> None:
    """Of the oldest and the newest release, with no field that is unknown."""
    core = [each for each in resources if is_core(each)]
    assert core
    assert {} == {_name(each): faults for each in core if (faults := core_faults(each, release))}


def test_custom_kinds(resources: Resources) -> None:
    """As the definitions have them, with no field that is unknown."""
    custom = [each for each in resources if not is_core(each)]
    if not CRDS.is_dir() and custom:
        pytest.skip(f"NOT CHECKED against their definitions: there is no {CRDS}, and no PREDICTMESH_CRDS")
    faults = {_name(each): custom_faults(each) for each in custom if not each["apiVersion"].startswith(UNDEFINED)}
    assert {} == {name: found for name, found in faults.items() if found != []}


def test_cluster_resources() -> None:
    """What is for the whole cluster, beside the overlays."""
    [configuration] = build(ROOT / "cluster")
    assert not any(core_faults(configuration, release) for release in RELEASES)


def test_faults_are_found() -> None:
    """Fields that are unknown, and those of a wrong type, in kinds of both sorts."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": "none", "nodes": 1}}
    assert 2 == len(core_faults(pod, RELEASES[0]))
    spec = {"scaleTargetRef": {"name": "a"}, "minReplicaCount": "two", "triggers": [], "maximum": 3}
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"}, "spec": spec}
    found = custom_faults(scaled)
    if not CRDS.is_dir():
        pytest.skip(f"no definitions of custom resources in {CRDS}")
    assert found is not None
    assert 3 == len(found)


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"no definitions of custom resources in {CRDS}")
@pytest.mark.parametrize(("timeout", "number"), [("0s", 1), ("1ms", 0), ("1m0.5s", 0)])
def test_durations_are_long_enough(timeout: str, number: int) -> None:
    """Istio takes none of less than a millisecond, which is a rule beside the structure."""
    route = {"route": [{"destination": {"host": "a"}}], "timeout": timeout}
    spec = {"hosts": ["a"], "http": [route]}
    api = "networking.istio.io/v1"
    found = custom_faults({"apiVersion": api, "kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec})
    assert found is not None
    assert number == len(found)


def _name(resource: dict[str, dict[str, str]]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"
