"""The ports of one `up`, all on loopback.

The second process of a service has the ports of the first plus STRIDE, and so on.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.cli.errors import Mistake
from services.cli.targets import GRPC_PORTS, HTTP_PORTS
from services.cli.triton.launch import TritonPorts

HOST = "127.0.0.1"
_DEFAULT_BASE = GRPC_PORTS["gateway"]
COUNT = 26
"""Ports that are taken from a base on, at most, where each service is one process."""
STRIDE = 30
_LAST_PORT = 65_535


@dataclass(frozen=True)
class Ports:
    """Port numbers by what listens there."""

    grpc: Mapping[str, int]
    http: Mapping[str, int]
    redis: int
    traces_grpc: int
    traces_http: int
    triton: TritonPorts

    def all(self) -> list[int]:
        """Return every one of them."""
        triton = self.triton
        beside = [self.redis, self.traces_grpc, self.traces_http, triton.http, triton.grpc, triton.metrics]
        return [*self.grpc.values(), *self.http.values(), *beside]

    def of(self, number: int) -> Ports:
        """Return the ports of the `number`th process of each service, counted from 1, and of its Triton."""
        above = (number - 1) * STRIDE
        triton = self.triton
        return replace(
            self,
            grpc={service: port + above for service, port in self.grpc.items()},
            http={service: port + above for service, port in self.http.items()},
            triton=TritonPorts(http=triton.http + above, grpc=triton.grpc + above, metrics=triton.metrics + above),
        )


def count(replicas: int) -> int:
    """Return how many ports are taken from a base on, at most, where services have up to so many processes."""
    return COUNT + (replicas - 1) * STRIDE


def choose(base: int | None, replicas: int = 1) -> Ports:
    """Return the default ports, or those counted from `base`. Mistake if those of so many processes go beyond the last."""
    if base is not None and base + count(replicas) - 1 > _LAST_PORT:
        raise Mistake(
            f"--port-base {base}: {replicas} processes of a service take ports up to {base + count(replicas) - 1}; "
            f"there are {_LAST_PORT} (at most {_LAST_PORT + 1 - count(replicas)})"
        )
    first = _DEFAULT_BASE if base is None else base
    http = HTTP_PORTS if base is None else {service: base + 10 + index for index, service in enumerate(HTTP_PORTS)}
    return Ports(
        grpc={service: first + index for index, service in enumerate(GRPC_PORTS)},
        http=http,
        redis=first + 20,
        traces_grpc=first + 21,
        traces_http=first + 22,
        triton=TritonPorts(http=first + 23, grpc=first + 24, metrics=first + 25),
    )


def at(port: int) -> str:
    """Return the address of a port."""
    return f"{HOST}:{port}"


def check_free(uses: Mapping[str, int]) -> None:
    """Raise Mistake naming every port of `uses` (what for, and the number) that is taken."""
    taken = [f"{port} ({use})" for use, port in uses.items() if _is_taken(port)]
    if taken:
        raise Mistake(
            f"taken on {HOST}: port {', '.join(taken)} (stop what listens there, or choose others with --port-base)"
        )


def _is_taken(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            return True
        raise
    return False
