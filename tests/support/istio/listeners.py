"""The listeners of Istio's proxies: an ingress, and a sidecar's ways in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.envoy.bootstrap import socket_address
from services.mesh.security.certificates import TlsFiles
from tests.support.certificates import Authority
from tests.support.istio.access import ROUTER
from tests.support.istio.routing import only, typed
from tests.support.manifests import Resource

_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "extensions.transport_sockets.tls.v3"


def listener(
    name: str,
    port: int,
    routes: Sequence[Any],
    filters: Sequence[Any] = (),
    *,
    tls: Any = None,
    hosts: Sequence[str] = ("*",),
) -> dict[str, Any]:
    """A listener on a port of this machine, whose calls pass `filters` and take `routes`."""
    router = {"name": ROUTER, "typed_config": typed("extensions.filters.http.router.v3.Router")}
    domains = [domain for host in hosts for domain in ((host,) if host == "*" else (host, f"{host}:*"))]
    manager = typed(
        _MANAGER,
        stat_prefix=name,
        # As istiod has it: a watch or a stream may be silent for long.
        stream_idle_timeout="0s",
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        http_filters=[*filters, router],
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": domains, "routes": routes}]},
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "address": socket_address(f"127.0.0.1:{port}"),
        "filter_chains": [chain if tls is None else chain | {"transport_socket": tls}],
    }


def cors() -> dict[str, Any]:
    """The filter that answers what browsers ask before they ask."""
    return {"name": "envoy.filters.http.cors", "typed_config": typed("extensions.filters.http.cors.v3.Cors")}


def ingress_tls(server: Resource, authority: Authority, directory: Path) -> dict[str, Any]:
    """How an ingress meets callers from outside, by a server of a Gateway whose Secret has a certificate for its hosts."""
    assert "SIMPLE" == only(server["tls"], "mode", "credentialName", "minProtocolVersion")["mode"]
    files = authority.files(directory / "ingress-server", *server["hosts"])
    return _downstream(files, ["h2", "http/1.1"], minimum=server["tls"]["minProtocolVersion"])


def strict_tls(policy: Resource, identity: TlsFiles) -> dict[str, Any]:
    """How a sidecar meets its peers, by a PeerAuthentication."""
    assert {"mode": "STRICT"} == policy["spec"]["mtls"]
    return _downstream(identity, ["h2"], authority=identity)


def mutual_tls(identity: TlsFiles, peer: str) -> dict[str, Any]:
    """How a sidecar calls a peer, which must be that one."""
    context = _common(identity, ["h2"])
    assert identity.ca is not None
    context["validation_context"] = {
        "trusted_ca": {"filename": str(identity.ca)},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
    }
    return _socket("UpstreamTlsContext", common_tls_context=context)


def _downstream(
    files: TlsFiles, protocols: list[str], *, authority: TlsFiles | None = None, minimum: str = ""
) -> dict[str, Any]:
    context = _common(files, protocols)
    if minimum:
        context["tls_params"] = {"tls_minimum_protocol_version": minimum.replace("TLSV", "TLSv")}
    if authority is not None:
        context["validation_context"] = {"trusted_ca": {"filename": str(authority.ca)}}
    return _socket("DownstreamTlsContext", common_tls_context=context, require_client_certificate=authority is not None)


def _common(files: TlsFiles, protocols: list[str]) -> dict[str, Any]:
    pair = {"certificate_chain": {"filename": str(files.cert)}, "private_key": {"filename": str(files.key)}}
    return {"alpn_protocols": protocols, "tls_certificates": [pair]}


def _socket(kind: str, **config: Any) -> dict[str, Any]:
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed(f"{_TLS}.{kind}", **config)}
