"""What container engines run to know whether a service serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from services.mesh.healthcheck import main
from services.mesh.http import HttpPort
from tests.support.certificates import LOOPBACK, Authority, settings
from tests.support.probe import new_probe, server

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
TLS = "PREDICTMESH_GATEWAY_TLS_CERT_FILE"


@pytest.fixture
def servicer() -> health.HealthServicer:
    """A health service."""
    return health.HealthServicer()


@pytest.fixture
def port(servicer: health.HealthServicer) -> Iterator[int]:
    """Where that health service answers."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_HealthServicer_to_server(servicer, server)
    bound = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield bound
    server.stop(None).wait()


def check(monkeypatch: pytest.MonkeyPatch, grpc_port: int, http_port: int = 1) -> int:
    """Run the check of a gateway; its exit status."""
    monkeypatch.setattr(sys, "argv", ["healthcheck", "gateway", str(grpc_port), str(http_port)])
    return main()


@pytest.mark.parametrize(("status", "exit_status"), [(SERVING, 0), (NOT_SERVING, 1)])
def test_health_service_is_believed(
    monkeypatch: pytest.MonkeyPatch,
    servicer: health.HealthServicer,
    port: int,
    status: int,
    exit_status: int,
) -> None:
    """A process that listens and does not serve is not healthy."""
    servicer.set("", status)
    assert exit_status == check(monkeypatch, port)


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is told."""
    assert 1 == check(monkeypatch, 1)
    assert "gateway does not serve: UNAVAILABLE\n" == capsys.readouterr().err


def test_variable_of_the_port_holds(
    monkeypatch: pytest.MonkeyPatch, servicer: health.HealthServicer, port: int
) -> None:
    """The service goes by it, too."""
    servicer.set("", SERVING)
    monkeypatch.setenv("PREDICTMESH_GATEWAY_GRPC_PORT", str(port))
    assert 0 == check(monkeypatch, 1)


@pytest.mark.parametrize(("reason", "exit_status"), [("", 0), ("no snapshot of the definitions yet", 1)])
async def test_over_tls_the_http_port_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str, exit_status: int
) -> None:
    """The check has no certificate to show."""
    monkeypatch.setenv(TLS, "/certificate.pem")
    with HttpPort("127.0.0.1", 0, ready=lambda: reason, status=dict) as http:
        port = int(http.address.rpartition(":")[2])
        assert exit_status == await asyncio.to_thread(check, monkeypatch, 1, port)
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(("reason", "exit_status"), [("", 0), ("no snapshot of the definitions yet", 1)])
async def test_tls_that_only_a_file_of_settings_knows_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str, exit_status: int
) -> None:
    """The port itself tells that it is TLS."""
    own = settings(Authority().files(tmp_path, *LOOPBACK))
    async with server(new_probe(), **own) as serving:
        with HttpPort("127.0.0.1", 0, ready=lambda: reason, status=dict) as http:
            ports = [int(address.rpartition(":")[2]) for address in (serving.address, http.address)]
            assert exit_status == await asyncio.to_thread(check, monkeypatch, *ports)


async def test_port_that_is_gone_is_not_taken_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the HTTP port says that all is well."""
    with HttpPort("127.0.0.1", 0, ready=lambda: "", status=dict) as http:
        port = int(http.address.rpartition(":")[2])
        assert 1 == await asyncio.to_thread(check, monkeypatch, 1, port)
