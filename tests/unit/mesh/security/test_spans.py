"""Spans go to a collector that is TLS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.trace import SpanKind

from services.mesh.context import CallContext, new_trace_id
from services.mesh.telemetry.spans import span
from services.mesh.telemetry.tracing import open_tracing
from tests.support.certificates import LOOPBACK, Authority

LIMIT_S = 20


class Collector(TraceServiceServicer):
    """Takes spans; `came` is set when the first have."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.names: list[str] = []

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.names += [each.name for one in request.resource_spans for scope in one.scope_spans for each in scope.spans]
        self.came.set()
        return ExportTraceServiceResponse()


@contextmanager
def collecting(authority: Authority) -> Iterator[tuple[Collector, str]]:
    """Run a collector on TLS, and yield it with where it is."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    leaf = authority.issue(*LOOPBACK)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(leaf.key, leaf.cert)]))
    server.start()
    try:
        yield collector, f"https://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_spans_go_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_EXPORTER_OTLP_CERTIFICATE has the authority that the collector's certificate is of."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    with collecting(authority) as (collector, endpoint):
        tracing = open_tracing("probe", endpoint=endpoint, sample_ratio=1)
        call = CallContext(request_id="r", trace_id=new_trace_id(), span_id="", sampled=True)
        tracing.decide(call)
        with span("over TLS", call, SpanKind.SERVER):
            pass
        tracing.close()
        assert collector.came.wait(LIMIT_S)
    assert ["over TLS"] == collector.names
