"""Takes spans over OTLP, by gRPC and by HTTP, and hands them out as JSON over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.cli.traces import otlp_http
from services.cli.traces.spans import Span, read_export
from services.cli.traces.store import TraceStore

_LONGEST_WAIT_S = 30.0
_LIST_DEFAULT = 20
_STOP_POLL_S = 0.1
_MAX_EXPORT_BYTES = 64 << 20
_READ_LIMIT_S = 10.0


@contextmanager
def receiving(grpc_address: str, http_address: str) -> Iterator[TraceStore]:
    """Run the receiver on both addresses and yield its store. OSError if an address is taken."""
    store = TraceStore()
    with _grpc_server(grpc_address, store), _http_server(http_address, store):
        yield store


@contextmanager
def _grpc_server(address: str, store: TraceStore) -> Iterator[None]:
    # Without so_reuseport=0 a second receiver would share the port and take half of the spans.
    options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_EXPORT_BYTES))
    server = grpc.server(ThreadPoolExecutor(2, "otlp"), options=options)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_TraceServicer(store), server)  # type: ignore[no-untyped-call]  # generated without types
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    server.start()
    try:
        yield
    finally:
        server.stop(grace=0).wait()


class _TraceServicer(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def Export(  # noqa: N802 - named by the proto
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._store.add(read_export(request))
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def _http_server(address: str, store: TraceStore) -> Iterator[None]:
    host, _, port = address.rpartition(":")
    server = _HttpServer((host, int(port)), store)
    thread = threading.Thread(target=server.serve_forever, args=(_STOP_POLL_S,), name="traces-http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _HttpServer(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], store: TraceStore) -> None:
        super().__init__(address, _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    """`/traces` lists the newest, `/traces/ID` shows one; `parent` and `wait_s` wait for the child of that span.

    POST to `/v1/traces` adds spans.
    """

    server: _HttpServer
    timeout = _READ_LIMIT_S

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            status, answer = self._answer(url.path, query)
        except ValueError as error:
            status, answer = 400, {"error": str(error)}
        self._send(status, otlp_http.JSON, json.dumps(answer).encode())

    def do_POST(self) -> None:
        content_type = self.headers.get_content_type()
        try:
            status, body = self._take(content_type)
        except ValueError as error:
            status, body = 400, str(error).encode()
        self._send(status, content_type if status == 200 else "text/plain", body)

    def _take(self, content_type: str) -> tuple[int, bytes]:
        """Keep the spans of an export; return status and body of the answer."""
        if self.path != "/v1/traces":
            return 404, b"there is /v1/traces"
        if content_type not in {otlp_http.JSON, otlp_http.PROTOBUF}:
            return 415, f"exports come as {otlp_http.JSON} or {otlp_http.PROTOBUF}".encode()
        size = int(self.headers.get("Content-Length", "-1"))
        if size < 0:
            return 411, b"the length must be given"
        if size > _MAX_EXPORT_BYTES:
            return 413, f"exports have {_MAX_EXPORT_BYTES} bytes at most".encode()
        encoding = self.headers.get("Content-Encoding", "")
        export = otlp_http.decode(content_type, encoding, self.rfile.read(size))
        self.server.store.add(read_export(export))
        return 200, otlp_http.answer(content_type)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        store = self.server.store
        if path == "/traces":
            traces = store.newest(int(query.get("limit", _LIST_DEFAULT)))
            return 200, {"traces": [_summary(spans) for spans in traces]}
        if path.startswith("/traces/"):
            wait_s = min(float(query.get("wait_s", 0)), _LONGEST_WAIT_S)
            spans = store.get(path.removeprefix("/traces/"), query.get("parent", ""), wait_s)
            return (200 if spans else 404), {"spans": [span.plain() for span in spans]}
        return 404, {"error": "there are /traces and /traces/ID"}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Say nothing: the output of `up` is for the services."""


def _summary(spans: list[Span]) -> dict[str, Any]:
    ids = {span.span_id for span in spans}
    root = min(spans, key=lambda span: (span.parent_id in ids, span.start_ns))
    return {
        "trace_id": root.trace_id,
        "name": f"{root.service} {root.name}",
        "start_ns": root.start_ns,
        "duration_us": (max(span.end_ns for span in spans) - root.start_ns) / 1_000,
        "spans": len(spans),
        "errors": sum(bool(span.error) for span in spans),
    }
