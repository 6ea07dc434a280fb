"""Ports are laid out from a base, and a taken one is named before anything starts."""

from __future__ import annotations

import socket

import pytest

from services.cli.errors import Mistake
from services.cli.supervision.ports import COUNT, check_free, choose, count
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


def test_replicas() -> None:
    """The second process of each service is thirty ports above the first; what there is once has the same ports."""
    second = choose(20_000, 2).of(2)
    assert (20_030, 20_043) == (second.grpc["gateway"], second.http["registry"])
    assert (20_053, 20_054, 20_055) == (second.triton.http, second.triton.grpc, second.triton.metrics)
    assert (20_020, 20_021) == (second.redis, second.traces_grpc)
    assert max(second.all()) == 20_000 + count(2) - 1


def test_beyond_the_last_port() -> None:
    """A base that is too high for so many processes is refused, with the highest that is not."""
    highest = 65_536 - count(8)
    choose(highest, 8)
    with pytest.raises(Mistake, match=rf"take ports up to 65536; there are 65535 \(at most {highest}\)"):
        choose(highest + 1, 8)
