"""Who gets to whom over the network, with every overlay: those who have something to say to each other, and nobody else."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.manifests import NAMESPACE, SERVICES, Mix, Resources, rendered
from tests.support.network_policies import Peer, connects, pod

GRPC = {"gateway": 50051, "features": 50052, "model": 50053, "registry": 50054}
HTTP = {"gateway": 8080, "features": 8082, "model": 8083, "registry": 8084}
CALLS = {
    ("gateway", "features"),
    ("gateway", "model"),
    ("gateway", "registry"),
    ("features", "registry"),
    ("model", "registry"),
    # Anybody may ask a gateway; that our services have no reason to is for identities.
}
STRANGER = Peer({"app": "stranger"}, namespace="default")
PROMETHEUS = Peer({"app.kubernetes.io/name": "prometheus"}, namespace="monitoring")
COLLECTOR = Peer({"app": "jaeger"}, namespace="observability")
WRITER = {"predictmesh/writes-features": "true"}
RELEASER = {"predictmesh/changes-definitions": "true"}
DNS = Peer({"k8s-app": "kube-dns"}, namespace="kube-system")
CLOUD_DNS = Peer({}, address="169.254.169.254")
BUCKET = Peer({}, address="52.216.0.1")


def test_services_get_to_those_whom_they_call(resources: Resources) -> None:
    """And to no others."""
    templates = {each.name: pod(each) for each in resources.templates()}
    pairs = [pair for pair in product(SERVICES, SERVICES) if set(pair) <= templates.keys() and pair[0] != pair[1]]
    allowed = {pair for pair in pairs if connects(resources, templates[pair[0]], templates[pair[1]], GRPC[pair[1]])}
    assert {pair for pair in CALLS if set(pair) <= templates.keys()} == allowed


@pytest.mark.parametrize(
    ("namespace", "namespace_labels", "known"),
    [("pipelines", {"predictmesh/callers": "true"}, True), ("pipelines", {}, False), (NAMESPACE, {}, True)],
)
def test_a_stranger_gets_to_the_gateway_only(
    resources: Resources, namespace: str, namespace_labels: dict[str, str], known: bool
) -> None:
    """Whoever writes features or changes definitions says so by a label, in a namespace that may say so."""
    stranger, writer, releaser = (
        Peer(labels, namespace, namespace_labels=namespace_labels) for labels in ({"app": "stranger"}, WRITER, RELEASER)
    )
    for each in resources.templates():
        reached = {
            name
            for name, peer in (("stranger", stranger), ("writer", writer), ("releaser", releaser))
            for port in each.ports.values()
            if connects(resources, peer, pod(each), port)
        }
        everybody = {"stranger", "writer", "releaser"}
        expected = dict.fromkeys(("gateway", "ingress", "envoy"), everybody)
        expected |= {"features": {"writer"}, "registry": {"releaser"}} if known else {}
        assert expected.get(each.name.removesuffix("-next"), set()) == reached, each.name


def test_pods_get_at_what_they_need(resources: Resources) -> None:
    """Names, spans, artifacts; Prometheus gets at their metrics; the store is the feature service's alone."""
    for each in (template for template in resources.templates() if template.name in SERVICES):
        own = pod(each)
        assert connects(resources, own, DNS, 53, "UDP")
        assert connects(resources, own, CLOUD_DNS, 53, "UDP")
        assert connects(resources, own, COLLECTOR, 4317)
        assert connects(resources, own, BUCKET, 443)
        assert not connects(resources, own, BUCKET, 80)
        assert connects(resources, PROMETHEUS, own, HTTP[each.name])
        assert not connects(resources, STRANGER, own, HTTP[each.name])
        assert (each.name == "features") == connects(resources, own, Peer({}, address="10.3.2.1"), 6379)


def test_envoy_finds_out_which_gateways_are_ready() -> None:
    """By their HTTP port, and by that of nobody else."""
    resources = rendered(Mix("cpu", ("envoy",)))
    envoy = pod(resources.template("envoy"))
    reached = {name for name in SERVICES if connects(resources, envoy, pod(resources.template(name)), HTTP[name])}
    assert {"gateway"} == reached


@pytest.mark.parametrize("service", SERVICES)
def test_the_store_is_for_the_feature_service(service: str) -> None:
    """Of the component, which has no password."""
    resources = rendered(Mix("cpu"))
    store = pod(resources.template("store"))
    assert (service == "features") == connects(resources, pod(resources.template(service)), store, 6379)
    assert not connects(resources, STRANGER, store, 6379)
    assert not connects(resources, store, BUCKET, 443)
