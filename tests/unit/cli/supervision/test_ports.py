"""Ports are laid out from a base, and a taken one is named before anything starts."""

from __future__ import annotations

import socket

import pytest

from services.cli.errors import Mistake
from services.cli.supervision.ports import COUNT, check_free, choose
from tests.support.valkey import free_port


def test_layout() -> None:
    """For gRPC from the base, for HTTP from ten above, what else there is from twenty above."""
    ports = choose(20_000)
    assert {"gateway": 20_000, "features": 20_001, "model": 20_002, "registry": 20_003} == ports.grpc
    assert {"gateway": 20_010, "features": 20_011, "model": 20_012, "registry": 20_013} == ports.http
    assert (20_020, 20_021, 20_022) == (ports.redis, ports.traces_grpc, ports.traces_http)
    assert (20_023, 20_024, 20_025) == (ports.triton.http, ports.triton.grpc, ports.triton.metrics)
    assert max(ports.all()) == 20_000 + COUNT - 1


def test_default() -> None:
    """Without a base the services have the ports that their clients try."""
    ports = choose(None)
    assert (50051, 8080, 50071) == (ports.grpc["gateway"], ports.http["gateway"], ports.redis)


def test_taken() -> None:
    """Every taken port is named with its use and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        with pytest.raises(Mistake, match=rf"port {taken} \(model gRPC\) \(stop what listens there, or"):
            check_free({"gateway gRPC": free_port(), "model gRPC": taken})
    check_free({"model gRPC": taken})
