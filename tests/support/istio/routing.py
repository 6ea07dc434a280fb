"""What istiod makes of VirtualServices and DestinationRules: routes and clusters of Envoy.

It knows what our resources say and refuses what else they might, so that nothing in them is without an effect here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deploy.envoy.bootstrap import endpoints
from tests.support.manifests import Resource

Name = Callable[[Resource], str]
"""The cluster of a destination."""
_TYPE = "type.googleapis.com/envoy."
# What istiod says of success rates, and of the share of hosts from which on all are called again.
_NEVER = {"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0}


def typed(kind: str, **config: Any) -> dict[str, Any]:
    """A configuration of an extension of Envoy."""
    return {"@type": f"{_TYPE}{kind}", **config}


def only(resource: Resource, *keys: str) -> Resource:
    """Return a part of a resource, which must have no other keys than these."""
    assert set(resource) <= set(keys), f"nothing here knows {sorted(set(resource) - set(keys))}"
    return resource


def routes(service: Resource, name: Name) -> list[Any]:
    """The routes of a VirtualService, one a match, in its order."""
    rules = only(service["spec"], "hosts", "gateways", "http")["http"]
    return [_route(rule, match, name) for rule in rules for match in rule["match"]]


def _route(rule: Resource, match: Resource, name: Name) -> dict[str, Any]:
    only(rule, "name", "match", "route", "timeout", "retries", "corsPolicy", "mirror", "mirrorPercentage")
    [target] = rule["route"]
    # Without a timeout Istio has none, and Envoy 15 s.
    action = {"cluster": name(only(target, "destination")["destination"]), "timeout": rule.get("timeout", "0s")}
    action |= _retries(**rule["retries"])
    if "mirror" in rule:
        share = {"numerator": int(rule["mirrorPercentage"]["value"] * 10_000), "denominator": "MILLION"}
        policy = {"cluster": name(rule["mirror"]), "runtime_fraction": {"default_value": share}}
        action["request_mirror_policies"] = [policy]
    made = {"name": rule.get("name", "default"), "match": _match(**match), "route": action}
    if "corsPolicy" in rule:
        made["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(**rule["corsPolicy"])}
    return made


def _match(uri: Resource | None = None, headers: Resource | None = None, port: int = 0) -> dict[str, Any]:
    """Return a match; that of a port is about the listener."""
    path: dict[str, Any] = {"prefix": "/"}
    if uri is not None:
        [(kind, value)] = uri.items()
        path = {{"prefix": "prefix", "exact": "path"}[kind]: value}
    wanted = [{"name": name, "string_match": only(value, "exact")} for name, value in (headers or {}).items()]
    return {**path, "headers": wanted}


def _retries(attempts: int, retryOn: str = "") -> dict[str, Any]:  # noqa: N803 - Istio's name
    if not attempts:
        return {}
    others = {"name": "others", "typed_config": typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")}
    policy = {"retry_on": retryOn, "num_retries": attempts, "retry_host_predicate": [others]}
    return {"retry_policy": {**policy, "host_selection_retry_max_attempts": 5}}


def _cors(**policy: Any) -> dict[str, Any]:
    only(policy, "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge")
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=policy["allowOrigins"],
        allow_methods=",".join(policy["allowMethods"]),
        allow_headers=",".join(policy["allowHeaders"]),
        expose_headers=",".join(policy["exposeHeaders"]),
    )


def cluster(name: str, rule: Resource, addresses: Sequence[str], tls: Any = None) -> dict[str, Any]:
    """The cluster of a DestinationRule and of the pods at `addresses`; `tls` is who calls, and who must be there."""
    policy = only(
        rule["spec"]["trafficPolicy"], "tls", "loadBalancer", "connectionPool", "retryBudget", "outlierDetection"
    )
    assert {"mode": "ISTIO_MUTUAL"} == policy["tls"]
    made = plain_cluster(name, addresses) | _pool(**policy["connectionPool"], budget=policy.get("retryBudget"))
    # Zones are given to pods by the nodes that they are on: there are none here.
    balancing = only(policy.get("loadBalancer", {}), "simple", "localityLbSetting")
    made["lb_policy"] = balancing.get("simple", "ROUND_ROBIN")
    if "outlierDetection" in policy:
        made["outlier_detection"] = _outliers(**policy["outlierDetection"])
    return made if tls is None else made | {"transport_socket": tls}


def plain_cluster(name: str, addresses: Sequence[str]) -> dict[str, Any]:
    """A cluster that is spoken gRPC to, as a sidecar speaks to the service beside it."""
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    return {
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints(addresses)}]},
    }


def _pool(tcp: Resource, http: Resource, budget: Resource | None) -> dict[str, Any]:
    only(tcp, "connectTimeout", "tcpKeepalive")
    names = {"http1MaxPendingRequests": "max_pending_requests", "http2MaxRequests": "max_requests"}
    only(http, *names, "maxConcurrentStreams")
    limits: dict[str, Any] = {names[key]: value for key, value in http.items() if key in names}
    if budget is not None:
        percent = {"value": budget["percent"]}
        limits["retry_budget"] = {"budget_percent": percent, "min_retry_concurrency": budget["minRetryConcurrency"]}
    return {"connect_timeout": tcp["connectTimeout"], "circuit_breakers": {"thresholds": [limits]}}


def _outliers(**told: Any) -> dict[str, Any]:
    numbers = {"consecutive5xxErrors": "consecutive_5xx", "consecutiveGatewayErrors": "consecutive_gateway_failure"}
    numbers |= {"consecutiveLocalOriginFailures": "consecutive_local_origin_failure"}
    same = {"interval": "interval", "baseEjectionTime": "base_ejection_time"}
    same |= {"maxEjectionPercent": "max_ejection_percent"}
    only(told, "splitExternalLocalOriginErrors", *numbers, *same)
    made: dict[str, Any] = {same[key]: told[key] for key in same}
    for key, name in numbers.items():
        # Istiod turns off what is 0.
        made |= {f"enforcing_{name}": 100 if told[key] else 0, **({name: told[key]} if told[key] else {})}
    return {**made, **_NEVER, "split_external_local_origin_errors": told["splitExternalLocalOriginErrors"]}
