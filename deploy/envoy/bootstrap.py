"""The configuration beside this file, for other addresses than those of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.envoy.descriptor import FILE as DESCRIPTOR

FOLDER = Path(__file__).resolve().parent


def bootstrap(listen: str, admin: str, gateways: Sequence[str]) -> dict[str, Any]:
    """Return what Envoy is told to listen at `listen`, answer its operator at `admin`, and call `gateways`; HOST:PORT each."""
    told: dict[str, Any] = yaml.safe_load((FOLDER / "envoy.yaml").read_text())
    told["admin"]["address"] = socket_address(admin)
    listener, cluster = told["static_resources"]["listeners"][0], told["static_resources"]["clusters"][0]
    listener["address"] = socket_address(listen)
    for each in listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]:
        if "proto_descriptor" in each["typed_config"]:
            each["typed_config"]["proto_descriptor"] = str(DESCRIPTOR)
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints(gateways)}]
    return told


def endpoints(addresses: Sequence[str]) -> list[dict[str, Any]]:
    """Return the addresses as a cluster has them."""
    return [{"endpoint": {"address": socket_address(address)}} for address in addresses]


def socket_address(address: str) -> dict[str, Any]:
    """Return HOST:PORT as Envoy has it."""
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
