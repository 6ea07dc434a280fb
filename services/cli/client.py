"""Calls to the services: channels with limits, and failures as one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TypeVar, cast

import grpc

from services.cli.errors import Failure, Mistake, from_mesh_error
from services.cli.targets import Target
from services.cli.tokens import showing
from services.mesh.status import from_rpc_error

Stub = TypeVar("Stub")

_DETAILS = "grpc-status-details-bin"

# Calls take turns, and none goes to one that is about to stop: it says so to those who watch its health.
_OF_SEVERAL = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}, separators=(",", ":")
)

OPTIONS: Sequence[tuple[str, str | int]] = (
    # An http_proxy of the environment would swallow calls to loopback and cluster addresses.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
)


@contextmanager
def connect(target: Target, stub: Callable[[grpc.Channel], Stub]) -> Iterator[Stub]:
    """Open a stub of `target`; a call that fails within ends the command."""
    with open_channel(target) as channel:
        try:
            yield stub(channel)
        except grpc.RpcError as error:
            raise failure(error, target) from error


def open_channel(target: Target) -> grpc.Channel:
    """Return a channel to `target`, to be closed by the caller. Failed calls raise `grpc.RpcError`."""
    address, options = target.address, [*OPTIONS]
    if len(target.addresses) > 1:
        address = f"{_scheme(target)}:{','.join(target.addresses)}"
        options.append(("grpc.service_config", _OF_SEVERAL))
    if target.tls is None:
        return showing(grpc.insecure_channel(address, options=options), target.token)
    credentials = target.tls.credentials()
    channel = grpc.secure_channel(address, credentials, options=[*options, *_verified_name(target)])
    return showing(channel, target.token)


def _verified_name(target: Target) -> Sequence[tuple[str, str]]:
    """Return the option that says whose certificate it has to be, where the address does not. Mistake if it is several's."""
    hosts = {address.rpartition(":")[0].strip("[]") for address in target.addresses}
    if len(target.addresses) == 1:
        return ()
    if len(hosts) > 1:
        raise Mistake(f"{target}: with TLS the addresses are those of one host, or one name stands for all")
    return (("grpc.ssl_target_name_override", hosts.pop()),)


def _scheme(target: Target) -> str:
    """Return gRPC's name for lists of such addresses. Mistake for names, which it takes one at a time."""
    try:
        kinds = {ip_address(address.rpartition(":")[0].strip("[]")).version for address in target.addresses}
        [version] = kinds
    except ValueError:
        raise Mistake(f"{target}: several addresses are given as IP:PORT, all of them IPv4 or all IPv6") from None
    return f"ipv{version}"


def failure(error: grpc.RpcError, target: Target) -> Failure:
    """Return what a failed call means to the person who made it."""
    # It has the same methods, but is not typed with them.
    call = cast("grpc.aio.AioRpcError", error)
    if not any(key == _DETAILS for key, _ in call.trailing_metadata() or ()):
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            return Failure(
                f"cannot reach the {target} [UPSTREAM_UNAVAILABLE] ({_remedy(call.details() or '', target)})"
            )
        if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Mistake(f"the {target.service} refuses the message: {call.details()} (send fewer or smaller rows)")
        if call.code() is grpc.StatusCode.UNIMPLEMENTED:
            return Mistake(
                f"{target.address} ({target.source}) is no {target.service} [UNKNOWN_METHOD] "
                f"(--{target.service} names another address)"
            )
        if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Failure(f"no answer of the {target} in time [DEADLINE_EXCEEDED] (--timeout allows more)")
    return from_mesh_error(from_rpc_error(call))


_HUNG_UP = ("Socket closed", "reset by peer", "Broken pipe", "End of TCP stream")


def _remedy(details: str, target: Target) -> str:
    """Return what may help against what gRPC says of a connection."""
    if "WRONG_VERSION_NUMBER" in details:
        return "it is not TLS: leave out --ca"
    if "Hostname Verification" in details:
        return "its certificate is for another host: call it by a name that the certificate has"
    if "handshake failed" in details:
        return "its certificate does not hold, or is of no authority in --ca"
    if any(hung_up in details for hung_up in _HUNG_UP):
        if target.tls is None:
            return "it hangs up: if it is TLS, --ca says whom to trust"
        return "it hangs up: it may want a certificate, --cert and --key, or another one"
    return f"is `predictmesh up` running? --{target.service} names another address"
