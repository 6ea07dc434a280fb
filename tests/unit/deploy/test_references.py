"""What resources name is there: pods, ports, accounts, settings, volumes, services."""

from __future__ import annotations

import re
from typing import Any

from tests.support.manifests import NAMESPACE, SERVICES, WORKLOADS, Resources

_TARGET = re.compile(r"(?:dns:///|redis://|http://)?([a-z-]+)\.predictmesh\.svc(?:\.cluster\.local)?:(\d+)")


def test_everything_is_in_the_namespace(resources: Resources) -> None:
    """Of the mesh, but for what has none."""
    for each in resources:
        if each["kind"] not in ("Namespace", "GatewayClass"):
            assert NAMESPACE == each["metadata"]["namespace"], each


def test_names_are_taken_once(resources: Resources) -> None:
    """No two resources of a kind have the same name."""
    keys = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in resources]
    assert len(keys) == len(set(keys))


def test_workloads_select_their_own_pods(resources: Resources) -> None:
    """And nobody else's."""
    for pod in resources.templates():
        assert {pod.name.removesuffix("-next")} == resources.chosen(pod.workload["spec"]["selector"])


def test_services_lead_to_pods(resources: Resources) -> None:
    """To one workload each, by ports that its containers have."""
    for service in (each for each in resources.of("Service") if each["apiVersion"] == "v1"):
        selector = {"matchLabels": service["spec"]["selector"]}
        assert 1 == len(resources.chosen(selector))
        for pod in resources.selected(selector):
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in pod.ports
                assert port["appProtocol"]


def test_only_one_release_is_balanced_by_callers(resources: Resources) -> None:
    """Who chooses among the pods of a gateway himself finds none of a next release, which is for who asks for it."""
    for service in resources.of("Service", name="gateway-headless"):
        selected = resources.selected({"matchLabels": service["spec"]["selector"]})
        assert ["gateway"] == [pod.name for pod in selected]


def test_containers_find_what_they_name(resources: Resources) -> None:
    """ConfigMaps and volumes; a Secret is made by hand, and may be lacking."""
    for pod in resources.templates():
        volumes = {volume["name"] for volume in pod.volumes}
        for container in pod.containers:
            sources = container.get("envFrom", [])
            maps = {source["configMapRef"]["name"] for source in sources if "configMapRef" in source}
            assert maps <= resources.names("ConfigMap")
            assert all(source["secretRef"]["optional"] for source in sources if "secretRef" in source)
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_pods_find_what_they_name(resources: Resources) -> None:
    """Accounts, and what their volumes are made of; Secrets are those that cert-manager makes, and one made by hand."""
    issued = {each["spec"]["secretName"] for each in resources.of("Certificate")} | {"access"}
    for pod in resources.templates():
        assert pod.spec.get("serviceAccountName", "default") in resources.names("ServiceAccount") | {"default"}
        for volume in pod.volumes:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in resources.names("PersistentVolumeClaim")
            if "configMap" in volume:
                assert volume["configMap"]["name"] in resources.names("ConfigMap")
            if "secret" in volume:
                assert volume["secret"]["secretName"] in issued


def test_settings_name_services_that_are_there(resources: Resources) -> None:
    """By a port that they have; without a cluster address where gateways balance by themselves."""
    services = {
        each["metadata"]["name"]: each["spec"] for each in resources.of("Service") if each["apiVersion"] == "v1"
    }
    found = 0
    for settings in (each["data"] for each in resources.of("ConfigMap")):
        for name, value in settings.items():
            for service, port in _TARGET.findall(value):
                found += 1
                if service in services:
                    assert int(port) in {each["port"] for each in services[service]["ports"]}
                    if name in ("PREDICTMESH_GATEWAY_FEATURES", "PREDICTMESH_GATEWAY_MODEL"):
                        assert "None" == services[service].get("clusterIP")
                else:
                    # Knative makes a Service of that name by itself.
                    assert service in resources.names("Service")
    assert found >= 5


def test_what_is_scaled_or_kept_is_there(resources: Resources) -> None:
    """Budgets and autoscalers are of workloads that there are; one autoscaler each, and no fixed number beside it."""
    scaled: list[str] = []
    for each in resources.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        [workload] = resources.of(target.get("kind", "Deployment"), name=target["name"])
        assert "replicas" not in workload["spec"]
        scaled.append(target["name"])
    assert len(scaled) == len(set(scaled))
    for each in resources.of("PodDisruptionBudget"):
        assert 1 == len(resources.chosen(each["spec"]["selector"]))
    for each in resources.of(*WORKLOADS):
        assert "replicas" in each["spec"] or each["metadata"]["name"] in scaled


def test_monitors_find_pods(resources: Resources) -> None:
    """All of ours, by a port that they have."""
    for monitor in resources.of("PodMonitor"):
        pods = resources.selected(monitor["spec"]["selector"])
        assert set(SERVICES) == resources.chosen(monitor["spec"]["selector"])
        ports: set[Any] = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        assert all(ports <= pod.ports.keys() for pod in pods)


def test_certificates_are_of_the_services(resources: Resources) -> None:
    """Of the account that a pod has, and of the names by which it is called; whoever issues them is there."""
    certificates = [each for each in resources.of("Certificate") if not each["spec"].get("isCA")]
    for each in certificates:
        name, spec = each["metadata"]["name"], each["spec"]
        assert name in resources.names("ServiceAccount")
        assert [f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{name}"] == spec["uris"]
        services = {
            service.removesuffix(".cluster.local").removesuffix(".predictmesh.svc") for service in spec["dnsNames"]
        }
        assert name in services
        # Those that the command line calls, through `kubectl port-forward`.
        forwarded = {"localhost"} if name in ("gateway", "features", "registry") else set()
        assert forwarded <= services <= resources.names("Service") | forwarded
        assert spec["issuerRef"]["name"] in resources.names("Issuer")
        assert {"server auth", "client auth"} == set(spec["usages"])
    assert not certificates or set(SERVICES) == {each["metadata"]["name"] for each in certificates}
