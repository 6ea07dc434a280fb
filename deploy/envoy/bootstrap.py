"""The configuration beside this file, for other addresses than those of a cluster."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.envoy.descriptor import FILE as DESCRIPTOR

FOLDER = Path(__file__).resolve().parent
# Checks by gRPC come to the same door as calls: under overload several in a row are refused, or late, by a gateway that is well.
GRPC_CHECKS_FAILED = 5


def bootstrap(
    listen: str,
    admin: str,
    gateways: Sequence[str],
    tls: Mapping[str, str] | None = None,
    *,
    http_ports: Sequence[int] = (),
) -> dict[str, Any]:
    """Return what Envoy is told to listen at `listen`, answer its operator at `admin`, and call `gateways`; HOST:PORT each.

    With `tls` it calls them over TLS: the PEM file of the authorities to trust as `ca`, and where gateways want to see
    one, a certificate as `cert` and its key as `key`. Their health is asked at `http_ports`, one for each of them; without,
    by gRPC, where a gateway has to fail more often before it is left alone.
    """
    told: dict[str, Any] = yaml.safe_load((FOLDER / "envoy.yaml").read_text())
    told["admin"]["address"] = socket_address(admin)
    listener, cluster = told["static_resources"]["listeners"][0], told["static_resources"]["clusters"][0]
    listener["address"] = socket_address(listen)
    # A second one on the port is an error, not a silent share of its calls.
    listener["enable_reuse_port"] = False
    for each in listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]:
        if "proto_descriptor" in each["typed_config"]:
            each["typed_config"]["proto_descriptor"] = str(DESCRIPTOR)
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints(gateways, http_ports)}]
    if not http_ports:
        _check_by_grpc(cluster["health_checks"][0])
    if tls is not None:
        cluster["transport_socket"] = _upstream_tls(gateways, tls)
    return told


def endpoints(addresses: Sequence[str], http_ports: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return the addresses as a cluster has them, each with the port where its health is asked if there are any."""
    found: list[dict[str, Any]] = [{"address": socket_address(address)} for address in addresses]
    if http_ports:
        for each, port in zip(found, http_ports, strict=True):
            each["health_check_config"] = {"port_value": port}
    return [{"endpoint": each} for each in found]


def socket_address(address: str) -> dict[str, Any]:
    """Return HOST:PORT as Envoy has it."""
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _check_by_grpc(check: dict[str, Any]) -> None:
    del check["http_health_check"], check["transport_socket_match_criteria"]
    check |= {"grpc_health_check": {}, "unhealthy_threshold": GRPC_CHECKS_FAILED}


def _upstream_tls(gateways: Sequence[str], tls: Mapping[str, str]) -> dict[str, Any]:
    """Return how the gateways are called over TLS; each has to show a certificate for its own host."""
    hosts = {address.rpartition(":")[0].strip("[]") for address in gateways}
    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "validation_context": {
            "trusted_ca": {"filename": tls["ca"]},
            "match_typed_subject_alt_names": [_named(host) for host in sorted(hosts)],
        },
    }
    if "cert" in tls:
        shown = {"certificate_chain": {"filename": tls["cert"]}, "private_key": {"filename": tls["key"]}}
        context["tls_certificates"] = [shown]
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": kind, "common_tls_context": context},
    }


def _named(host: str) -> dict[str, Any]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {"san_type": "DNS", "matcher": {"exact": host}}
    return {"san_type": "IP_ADDRESS", "matcher": {"exact": host}}
