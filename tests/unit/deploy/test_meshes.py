"""What the resources of Istio and Linkerd name is there: methods, hosts, ports, pods, accounts, and each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2 as oip_pb

from predictmesh.mesh.v1 import exchange_service_pb2
from tests.contract.wire.samples import SERVICES as PUBLIC
from tests.support.manifests import (
    NAMESPACE,
    ROOT,
    Mix,
    Resource,
    Resources,
    Template,
    components,
    overlays,
    parts,
    rendered,
    selects,
)

MESHES = [Mix(name) for name in overlays() if name in ("istio", "linkerd")]
MESHES += [Mix(name.partition("/")[0], (name,)) for name in components() if name.startswith(("istio/", "linkerd/"))]
SERVICES: dict[str, Any] = {
    service.full_name: service
    for service in (
        *PUBLIC,
        exchange_service_pb2.DESCRIPTOR.services_by_name["ExchangeService"],
        oip_pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
    )
}
METHODS = {f"/{name}/{method.name}" for name, service in SERVICES.items() for method in service.methods}
# Of REST: as google.api.http annotations have them.
REST = "/v1/"
HTTP = {"/metrics", "/healthz", "/readyz"}
DOMAIN = f".{NAMESPACE}.svc.cluster.local"
# Accounts that users give to what calls us.
GUESTS = {"predictmesh-caller", "predictmesh-writer", "predictmesh-releaser"}


@pytest.fixture(params=MESHES, ids=str)
def mesh(request: pytest.FixtureRequest) -> Resources:
    """An overlay with a service mesh."""
    return rendered(request.param)


def _of_group(resources: Resources, group: str, *kinds: str) -> list[Resource]:
    return [each for each in resources.of(*kinds) if str(each["apiVersion"]).startswith(group)]


def _exists(path: str) -> bool:
    if path.startswith(REST) or path in HTTP:
        return True
    return (
        any(method.startswith(path.rstrip("*")) for method in METHODS) if path.endswith(("*", "/")) else path in METHODS
    )


def _paths(resources: Resources) -> Iterator[str]:
    """Every path that a policy or a route of Istio is about."""
    for each in _of_group(resources, "security.istio.io", "AuthorizationPolicy"):
        for part in parts(each["spec"]):
            yield from part.get("paths", [])
            yield from part.get("notPaths", [])
    for each in _of_group(resources, "networking.istio.io", "VirtualService"):
        for part in parts(each["spec"]):
            uri = part.get("uri", {})
            yield from [value for key in ("exact", "prefix") if isinstance(value := uri.get(key), str)]


def _pods(resources: Resources, labels: Any) -> list[Template]:
    return [each for each in resources.templates() if selects({"matchLabels": labels}, each.labels)]


def test_paths_are_methods(mesh: Resources) -> None:
    """A policy about a method that there is not would protect, or open, nothing."""
    assert [] == [path for path in _paths(mesh) if not _exists(path)]
    for each in mesh.of("GRPCRoute"):
        for match in (match for rule in each["spec"]["rules"] for match in rule.get("matches", [])):
            service = SERVICES[match["method"]["service"]]
            assert match["method"].get("method") in {None, *service.methods_by_name}


def test_hosts_are_services(mesh: Resources) -> None:
    """With the port that calls go to, and the subsets that they choose from."""
    ports = {each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]} for each in mesh.of("Service")}
    rules = {each["spec"]["host"]: each["spec"] for each in mesh.of("DestinationRule")}
    for each in _of_group(mesh, "networking.istio.io", "VirtualService"):
        for part in parts(each["spec"]):
            if not str(part.get("host", "")).endswith(DOMAIN):
                continue
            service = part["host"].removesuffix(DOMAIN)
            assert part["port"]["number"] in ports[service]
            subsets = {subset["name"] for subset in rules[part["host"]].get("subsets", [])}
            assert part.get("subset") in subsets | {None}
    for host, rule in rules.items():
        assert host.removesuffix(DOMAIN) in ports
        assert all(_pods(mesh, subset["labels"]) for subset in rule.get("subsets", []))


def test_edges_are_there(mesh: Resources) -> None:
    """Routes belong to gateways that there are, and those to hosts that routes have."""
    gateways = {each["metadata"]["name"]: each for each in _of_group(mesh, "networking.istio.io", "Gateway")}
    used = {
        name: each["spec"]["hosts"]
        for each in _of_group(mesh, "networking.istio.io", "VirtualService")
        for name in each["spec"].get("gateways", [])
    }
    assert gateways.keys() == used.keys()
    for name, gateway in gateways.items():
        assert set(used[name]) <= {host for server in gateway["spec"]["servers"] for host in server["hosts"]}
        assert _pods(mesh, gateway["spec"]["selector"])


def test_selectors_find_pods(mesh: Resources) -> None:
    """Every policy is about somebody; ports are those of its pods."""
    for each in [
        *_of_group(mesh, "security.istio.io", "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
        *mesh.of("EnvoyFilter"),
    ]:
        selector = each["spec"].get("selector", each["spec"].get("workloadSelector"))
        if selector is None:
            continue
        pods = _pods(mesh, selector.get("matchLabels", selector.get("labels")))
        assert pods, each["metadata"]["name"]
        ports = {str(port) for pod in pods for port in pod.ports.values()}
        named = {port for part in parts(each["spec"]) for port in part.get("ports", [])}
        assert named | each["spec"].get("portLevelMtls", {}).keys() <= ports
    for each in _of_group(mesh, "policy.linkerd.io", "Server"):
        pods = [pod for pod in mesh.templates() if selects(each["spec"]["podSelector"], pod.labels)]
        assert pods
        assert all(each["spec"]["port"] in pod.ports for pod in pods)


def test_identities_are_accounts(mesh: Resources) -> None:
    """Of pods that there are, or of guests."""
    accounts = mesh.names("ServiceAccount") | GUESTS
    principals = [name for each in mesh for part in parts(each.get("spec", {})) for name in part.get("principals", [])]
    # Named in full: an account of the same name in somebody else's namespace is somebody else.
    assert set(principals) <= {f"cluster.local/ns/{NAMESPACE}/sa/{name}" for name in accounts}
    for each in mesh.of("MeshTLSAuthentication"):
        for reference in each["spec"].get("identityRefs", []):
            assert NAMESPACE == reference["namespace"]
            assert reference["name"] in accounts


def test_references_of_linkerd_are_there(mesh: Resources) -> None:
    """Routes belong to Servers or Services, authorizations to routes or Servers, and callers are described."""
    there = {(str(each["apiVersion"]).rpartition("/")[0], each["kind"], each["metadata"]["name"]) for each in mesh}
    routes = mesh.of("GRPCRoute", "HTTPRoute")
    named = [reference for each in routes for reference in each["spec"]["parentRefs"]]
    for each in _of_group(mesh, "policy.linkerd.io", "AuthorizationPolicy"):
        named += [each["spec"]["targetRef"], *each["spec"]["requiredAuthenticationRefs"]]
    assert {(each["group"], each["kind"], each["name"]) for each in named} <= there
    targets = {_of_target(each) for each in _of_group(mesh, "policy.linkerd.io", "AuthorizationPolicy")}
    for each in routes:
        if each["spec"]["parentRefs"][0]["kind"] == "Server":
            # Nobody is let in by a route that no authorization is about.
            assert (each["kind"], each["metadata"]["name"]) in targets


def _of_target(policy: Resource) -> tuple[str, str]:
    return policy["spec"]["targetRef"]["kind"], policy["spec"]["targetRef"]["name"]


def test_providers_of_telemetry_are_there(mesh: Resources) -> None:
    """Istio knows them by itself, or is told; proxies' spans go where the services' go."""
    [told] = yaml.safe_load((ROOT / "cluster" / "istio.yaml").read_text())["spec"]["meshConfig"]["extensionProviders"]
    for each in mesh.of("Telemetry"):
        names = {provider["name"] for part in parts(each["spec"]) for provider in part.get("providers", [])}
        assert {told["name"], "envoy"} == names
    collector = rendered(Mix("cpu", ("tracing",))).settings("gateway")["PREDICTMESH_GATEWAY_OTLP_ENDPOINT"]
    service = told["opentelemetry"]["service"].removesuffix(".cluster.local")
    assert f"http://{service}:{told['opentelemetry']['port']}" == collector


def test_nobody_else_repeats_calls(mesh: Resources) -> None:
    """Between our services proxies repeat nothing: the caller of a hop does, with a budget."""
    inside = [
        each for each in _of_group(mesh, "networking.istio.io", "VirtualService") if "gateways" not in each["spec"]
    ]
    hosts = {host.removesuffix(DOMAIN) for each in inside for host in each["spec"]["hosts"]}
    assert not inside or {"gateway", "gateway-headless", "features", "model", "registry"} == hosts
    for each in inside:
        assert {0} == {route["retries"]["attempts"] for route in each["spec"]["http"]}
    for each in mesh.of("GRPCRoute"):
        if each["spec"]["parentRefs"][0]["kind"] == "Service":
            assert "0" == each["metadata"]["annotations"]["retry.linkerd.io/limit"]
