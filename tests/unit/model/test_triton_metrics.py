"""Triton's metrics among ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.model.triton_metrics import TritonMetrics

SAID = b"""# HELP nv_inference_count Rows
# TYPE nv_inference_count counter
nv_inference_count{model="m",version="1"} 3
# HELP other_total Others
# TYPE other_total counter
other_total 5
"""


class _Teller(HTTPServer):
    said = SAID


class _Answer(BaseHTTPRequestHandler):
    server: _Teller

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.said)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def teller() -> Iterator[_Teller]:
    """A server that answers everything with what it is to say."""
    with _Teller(("127.0.0.1", 0), _Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _told(port: int) -> str:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(TritonMetrics(f"127.0.0.1:{port}"))
    return generate_latest(registry).decode()


def test_its_own_families_are_told_under_their_names(teller: _Teller) -> None:
    """Nothing else that it says."""
    told = _told(teller.server_port)
    assert '\nnv_inference_count{model="m",version="1"} 3.0\n' in told
    assert "\npredictmesh_triton_up 1.0\n" in told
    assert "other" not in told


@pytest.mark.parametrize("said", [b"", b"<html>", b"nv_x{", b"\xff\xfe"])
def test_something_else_is_not_triton(teller: _Teller, said: bytes) -> None:
    """Whatever it says."""
    teller.said = said
    told = _told(teller.server_port)
    assert "\npredictmesh_triton_up 0.0\n" in told
    assert "nv_" not in told


def test_nobody_is_not_triton() -> None:
    """And no scrape fails of it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert "\npredictmesh_triton_up 0.0\n" in _told(held.getsockname()[1])
