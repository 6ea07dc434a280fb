"""Who may connect to whom, as NetworkPolicies say it: a connection must be let out at one end and in at the other."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from tests.support.manifests import NAMESPACE, Labels, Resources, Template, selects


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod, or with an `address` something outside of the cluster."""

    labels: Labels
    namespace: str = NAMESPACE
    address: str = ""
    namespace_labels: Labels = field(default_factory=dict)
    """Those that its namespace has beside its name."""


def pod(template: Template) -> Peer:
    """Return a pod of the mesh as a peer."""
    return Peer(template.labels)


def connects(resources: Resources, caller: Peer, called: Peer, port: int, protocol: str = "TCP") -> bool:
    """Say whether `caller` gets to `port` of `called`. Outside of the mesh's namespace nobody is held up."""
    ports = {"": port} | next((each.ports for each in resources.templates() if each.labels == called.labels), {})
    wanted = {(name, protocol) for name, number in ports.items() if number == port} | {(str(port), protocol)}
    return _lets(resources, "egress", caller, called, wanted) and _lets(resources, "ingress", called, caller, wanted)


def _lets(resources: Resources, way: str, held: Peer, other: Peer, wanted: set[tuple[str, str]]) -> bool:
    if held.namespace != NAMESPACE or held.address:
        return True
    policies = [
        each["spec"]
        for each in resources.of("NetworkPolicy")
        if way.capitalize() in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], held.labels)
    ]
    rules = [rule for policy in policies for rule in policy.get(way, [])]
    return not policies or any(_fits(rule, "to" if way == "egress" else "from", other, wanted) for rule in rules)


def _fits(rule: Any, end: str, other: Peer, wanted: set[tuple[str, str]]) -> bool:
    ports = {(str(port["port"]), port.get("protocol", "TCP")) for port in rule.get("ports", [])}
    return (not ports or bool(ports & wanted)) and (end not in rule or any(_is(peer, other) for peer in rule[end]))


def _is(meant: Any, peer: Peer) -> bool:
    if "ipBlock" in meant:
        return bool(peer.address) and ipaddress.ip_address(peer.address) in ipaddress.ip_network(
            meant["ipBlock"]["cidr"]
        )
    if peer.address:
        return False
    spaces = meant.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}})
    in_space = selects(spaces, {"kubernetes.io/metadata.name": peer.namespace, **peer.namespace_labels})
    return in_space and selects(meant.get("podSelector", {}), peer.labels)
