"""One Envoy as all proxies of a mesh: the ingresses, and the sidecar of each pod of ours, by the resources for Istio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority, spiffe
from tests.support.istio.access import access_filter, inserted_filters, token_filter
from tests.support.istio.listeners import cors, ingress_tls, listener, mutual_tls, strict_tls
from tests.support.istio.routing import cluster, plain_cluster, routes
from tests.support.manifests import SERVICES, Labels, Resource, Resources, selects

# Whom a service calls.
PEERS = {"gateway": ("features", "model", "registry"), "features": ("registry",), "model": ("registry",)}
# Who else is in the mesh, with a sidecar: those whom our resources name, and one whom they do not.
OTHERS = {
    "predictmesh-caller": ("gateway", "registry"),
    "predictmesh-writer": ("features",),
    "predictmesh-releaser": ("registry",),
    "stranger": ("gateway", "features", "model", "registry"),
    "model": ("features", "registry"),
}
# One with the gateway's name, from an authority that nobody here trusts.
FOREIGNER = "foreigner"
DOMAIN = ".predictmesh.svc.cluster.local"


@dataclass
class Istio:
    """The proxies of `pods`, which are the addresses of each service's processes. `present` and `following` are resources.

    The ingress by `following` tells one gateway from the other; that by `present` takes turns.
    """

    present: Resources
    following: Resources
    pods: Mapping[str, Sequence[str]]
    authority: Authority
    jwks: str
    directory: Path
    ports: Iterator[int]
    inbound: dict[str, list[int]] = field(init=False)
    """Ports of the sidecars before a service, one a pod."""
    outbound: dict[tuple[str, str], int] = field(init=False)
    """Ports of the sidecars behind which a caller finds a service, by both."""

    def __post_init__(self) -> None:
        """Give out the ports, and identities to all."""
        self.ingress, self.ingress_next = next(self.ports), next(self.ports)
        # An ingress to gateways without sidecars, whose failures it sees itself.
        self.unproxied = next(self.ports)
        self.inbound = {service: [next(self.ports) for _ in pods] for service, pods in self.pods.items()}
        callers = [*PEERS.items(), *OTHERS.items(), (FOREIGNER, ("model",))]
        self.outbound = {(caller, peer): next(self.ports) for caller, peers in callers for peer in peers}
        accounts = {*SERVICES, "ingress", *OTHERS}
        self._identities = {name: self.authority.files(self.directory / name, spiffe(name)) for name in accounts}
        foreign = Authority("elsewhere").issue(spiffe("gateway"))
        self._identities[FOREIGNER] = foreign.write(self.directory / FOREIGNER, self.authority.cert)
        self._listeners: list[Any] = []
        self._clusters: list[Any] = []

    def bootstrap(self) -> dict[str, Any]:
        """What Envoy is told."""
        for service in SERVICES:
            for number, (address, port) in enumerate(zip(self.pods[service], self.inbound[service], strict=True)):
                self._into(f"{service}-{number}", service, address, port)
        for (caller, peer), port in self.outbound.items():
            self._out(caller, peer, port)
        everyone = self.inbound["gateway"]
        self._ingress("ingress", self.present, self.ingress, {"": everyone})
        self._ingress("next", self.following, self.ingress_next, {"present": everyone[:1], "next": everyone[1:]})
        self._unproxied()
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        return {"admin": admin, "static_resources": {"listeners": self._listeners, "clusters": self._clusters}}

    def _into(self, pod: str, service: str, address: str, port: int) -> None:
        labels = self.present.template(service).labels
        policies = self.present.of("AuthorizationPolicy")
        tls = strict_tls(self._meeting(labels), self._identities[service])
        access = access_filter(policies, labels, {_port(self.present, service): port})
        here = [{"match": {"prefix": "/"}, "route": {"cluster": f"local-{pod}", "timeout": "0s"}}]
        self._clusters.append(plain_cluster(f"local-{pod}", [address]))
        self._listeners.append(listener(f"in-{pod}", port, here, [access], tls=tls))

    def _meeting(self, labels: Labels) -> Resource:
        """The PeerAuthentication of a pod: one that selects it, else that of the namespace."""
        found = self.present.of("PeerAuthentication")
        own = [each for each in found if "selector" in each["spec"] and selects(each["spec"]["selector"], labels)]
        return own[0] if own else next(each for each in found if "selector" not in each["spec"])

    def _out(self, caller: str, peer: str, port: int) -> None:
        name = f"{caller}-to-{peer}"
        [service], [rule] = self.present.of("VirtualService", name=peer), self.present.of("DestinationRule", name=peer)
        tls = mutual_tls(self._identities[caller], spiffe(peer))
        self._clusters.append(cluster(name, rule, _local(self.inbound[peer]), tls))
        self._listeners.append(listener(f"out-{name}", port, routes(service, lambda _: name)))

    def _ingress(self, name: str, resources: Resources, port: int, subsets: Mapping[str, Sequence[int]]) -> None:
        [gateway], [edge] = resources.of("Gateway"), resources.of("VirtualService", name="edge")
        [rule], [token] = resources.of("DestinationRule", name="gateway"), resources.of("RequestAuthentication")
        [rest] = resources.of("EnvoyFilter")
        [server] = gateway["spec"]["servers"]
        labels = resources.template("ingress").labels
        assert selects({"matchLabels": gateway["spec"]["selector"]}, labels)
        assert selects({"matchLabels": rest["spec"]["workloadSelector"]["labels"]}, labels)
        filters = [
            token_filter(token, self.jwks),
            access_filter(resources.of("AuthorizationPolicy"), labels, {}),
            cors(),
            *inserted_filters(rest),
        ]
        for subset, ports in subsets.items():
            tls = mutual_tls(self._identities["ingress"], spiffe("gateway"))
            self._clusters.append(cluster(f"{name}-{subset}", rule, _local(ports), tls))
        taken = routes(edge, lambda where: f"{name}-{_gateway(where).get('subset', '')}")
        tls = ingress_tls(server, self.authority, self.directory)
        self._listeners.append(listener(name, port, taken, filters, tls=tls, hosts=edge["spec"]["hosts"]))

    def _unproxied(self) -> None:
        [edge] = self.present.of("VirtualService", name="edge")
        [rule] = self.present.of("DestinationRule", name="gateway")
        self._clusters.append(cluster("unproxied", rule, self.pods["gateway"]))
        self._listeners.append(listener("unproxied", self.unproxied, routes(edge, lambda _: "unproxied")))


def _gateway(destination: Resource) -> Resource:
    assert destination["host"] == f"gateway{DOMAIN}"
    return destination


def _port(resources: Resources, service: str) -> str:
    return str(resources.template(service).ports["grpc"])


def _local(ports: Sequence[int]) -> list[str]:
    return [f"127.0.0.1:{port}" for port in ports]
