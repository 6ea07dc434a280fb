"""What istiod makes of AuthorizationPolicies, RequestAuthentications and EnvoyFilters: filters of Envoy's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.istio.routing import only, typed
from tests.support.manifests import Labels, Resource, selects

ROUTER = "envoy.filters.http.router"
JWT = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
SPIFFE = "spiffe://"


def access_filter(policies: Iterable[Resource], labels: Labels, ports: Mapping[str, int]) -> dict[str, Any]:
    """The filter of the policies that are about pods with `labels`; `ports` are those of here, by those of the cluster.

    Istio refuses everything that none of the policies allows as soon as there is one.
    """
    about = [each for each in policies if selects(each["spec"].get("selector", {}), labels)]
    assert about
    assert {"ALLOW"} == {each["spec"].get("action", "ALLOW") for each in about}
    rules = {
        f"{each['metadata']['name']}-{number}": _rule(rule, ports)
        for each in about
        for number, rule in enumerate(each["spec"].get("rules", []))
    }
    config = typed("extensions.filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": rules})
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def _rule(rule: Resource, ports: Mapping[str, int]) -> dict[str, Any]:
    only(rule, "from", "to")
    sources = [only(each, "source")["source"] for each in rule.get("from", [])]
    operations = [only(each, "operation")["operation"] for each in rule.get("to", [])]
    return {
        "principals": [_source(each) for each in sources] or [{"any": True}],
        "permissions": [_operation(each, ports) for each in operations] or [{"any": True}],
    }


def _source(source: Resource) -> dict[str, Any]:
    only(source, "principals", "requestPrincipals")
    conditions = []
    if "principals" in source:
        conditions.append({"or_ids": {"ids": [_identity(each) for each in source["principals"]]}})
    if "requestPrincipals" in source:
        conditions.append({"or_ids": {"ids": [_token(each) for each in source["requestPrincipals"]]}})
    return {"and_ids": {"ids": conditions}}


def _identity(principal: str) -> dict[str, Any]:
    assert "*" not in principal
    return {"authenticated": {"principal_name": {"exact": SPIFFE + principal}}}


def _token(principal: str) -> dict[str, Any]:
    issuer, _, subject = principal.rpartition("/")
    assert "*" == subject
    return {"and_ids": {"ids": [_claim("iss", string_match={"exact": issuer}), _claim("sub", present_match=True)]}}


def _claim(name: str, **wanted: Any) -> dict[str, Any]:
    path = [{"key": PAYLOAD}, {"key": name}]
    return {"sourced_metadata": {"metadata_matcher": {"filter": JWT, "path": path, "value": wanted}}}


def _operation(operation: Resource, ports: Mapping[str, int]) -> dict[str, Any]:
    only(operation, "paths", "methods", "ports")
    wanted: list[list[dict[str, Any]]] = []
    if "paths" in operation:
        wanted.append([{"url_path": {"path": _path(each)}} for each in operation["paths"]])
    if "methods" in operation:
        methods = [{"name": ":method", "string_match": {"exact": each}} for each in operation["methods"]]
        wanted.append([{"header": each} for each in methods])
    if "ports" in operation:
        # A port of another pod is none of this one's.
        wanted.append([{"destination_port": ports.get(each, 0)} for each in operation["ports"]])
    return {"and_rules": {"rules": [{"or_rules": {"rules": each}} for each in wanted]}}


def _path(path: str) -> dict[str, str]:
    return {"prefix": path[:-1]} if path.endswith("*") else {"exact": path}


def token_filter(authentication: Resource, jwks: str) -> dict[str, Any]:
    """The filter of a RequestAuthentication: what it lets by has no token, or one that `jwks` vouches for."""
    [rule] = only(authentication["spec"], "selector", "jwtRules")["jwtRules"]
    only(rule, "issuer", "jwksUri", "audiences", "forwardOriginalToken")
    provider = {
        "issuer": rule["issuer"],
        "audiences": rule["audiences"],
        "forward": rule["forwardOriginalToken"],
        # In the cluster istiod fetches them from jwksUri, and tells them like this.
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": PAYLOAD,
    }
    one = {"requires_any": {"requirements": [{"provider_name": "one"}, {"allow_missing": {}}]}}
    return {
        "name": JWT,
        "typed_config": typed(
            "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"one": provider},
            rules=[{"match": {"prefix": "/"}, "requires": one}],
        ),
    }


def inserted_filters(envoy_filter: Resource) -> Sequence[Any]:
    """The filters that an EnvoyFilter puts before the router, in order."""
    patches = envoy_filter["spec"]["configPatches"]
    router = {"filter": {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": ROUTER}}}
    for each in patches:
        assert "HTTP_FILTER" == each["applyTo"]
        assert {"context": "GATEWAY", "listener": {"filterChain": router}} == each["match"]
        assert "INSERT_BEFORE" == each["patch"]["operation"]
    return [each["patch"]["value"] for each in patches]
