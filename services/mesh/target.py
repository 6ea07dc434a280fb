"""Where a service is: one gRPC target, or the addresses of its replicas, listed with commas."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

LISTED_SCHEMES = ("ipv4:", "ipv6:")


def addresses(target: str) -> tuple[str, ...]:
    """Return the address of each replica that `target` lists, as a gRPC target; raises ValueError if one is amiss.

    A name, such as that of a headless service, is one address here: the channel finds the replicas behind it.
    """
    scheme = next((scheme for scheme in LISTED_SCHEMES if target.startswith(scheme)), "")
    listed = [address.strip() for address in target.removeprefix(scheme).split(",")]
    if not all(listed):
        raise ValueError("an address is empty")
    if len(set(listed)) < len(listed):
        raise ValueError("an address is listed twice")
    return tuple(scheme + address for address in listed)


def is_name(address: str) -> bool:
    """Say whether several replicas may be behind one address."""
    if address.startswith((*LISTED_SCHEMES, "unix:", "unix-abstract:")):
        return False
    host = address.rpartition(":")[0] or address
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False


def _listed(target: str) -> str:
    addresses(target)
    return target


def _single(target: str) -> str:
    if len(addresses(target)) > 1:
        raise ValueError("this service has one replica")
    return target


Target = Annotated[str, AfterValidator(_single)]
"""A setting: the gRPC target of a service that has one replica."""

Targets = Annotated[str, AfterValidator(_listed)]
"""A setting: where the replicas of a service are."""
