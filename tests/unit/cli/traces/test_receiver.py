"""The receiver takes what OpenTelemetry's own exporter sends, and hands it out to other processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

from services.cli.fetch import fetch_json
from services.cli.traces.receiver import receiving
from services.cli.traces.spans import Span
from tests.support.commands import run
from tests.support.valkey import free_port


@dataclass(frozen=True)
class Receiver:
    """Where a receiver listens, and the data directory of an `up` that would have it."""

    grpc: str
    http: str
    data: Path


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A running receiver."""
    grpc, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with receiving(grpc, http):
        line = {"traces": {"otlp": grpc, "http": http}, "supervisor": os.getpid()}
        (tmp_path / "up.json").write_text(json.dumps(line))
        yield Receiver(grpc, http, tmp_path)


def grpc_exporter(receiver: Receiver) -> SpanExporter:
    """The exporter over gRPC."""
    return OTLPSpanExporter(endpoint=f"http://{receiver.grpc}", insecure=True)


def http_exporter(receiver: Receiver) -> SpanExporter:
    """The exporter of protobuf over HTTP."""
    return HttpExporter(f"http://{receiver.http}/v1/traces")


def gzip_exporter(receiver: Receiver) -> SpanExporter:
    """The same, which compresses."""
    return HttpExporter(f"http://{receiver.http}/v1/traces", compression=Compression.Gzip)


def send(receiver: Receiver, exporter: Callable[[Receiver], SpanExporter] = grpc_exporter) -> str:
    """Send a trace of a call with a failed hop, through the SDK; return its id."""
    provider = TracerProvider(resource=Resource.create({"service.name": "predictmesh-gateway"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter(receiver)))
    tracer = provider.get_tracer("test")
    root = tracer.start_span("Predict", kind=SpanKind.SERVER, attributes={"rows": 3, "views": ["a", "b"]})
    hop = tracer.start_span("GetFeatures", context=set_span_in_context(root), links=[Link(root.get_span_context())])
    hop.set_status(Status(StatusCode.ERROR, "no store"))
    hop.add_event("retry", {"replica": "10.0.0.1:50052"}, 7)
    hop.end()
    root.end()
    provider.shutdown()
    return f"{root.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("exporter", [grpc_exporter, http_exporter, gzip_exporter])
def test_spans_come_back(receiver: Receiver, exporter: Callable[[Receiver], SpanExporter]) -> None:
    """Every part of a span that is shown survives the way through."""
    trace_id = send(receiver, exporter)
    status, answer = fetch_json(receiver.http, f"/traces/{trace_id}", 5)
    assert 200 == status
    spans = {span["name"]: span for span in answer["spans"]}
    root, hop = spans["Predict"], spans["GetFeatures"]
    assert ("predictmesh-gateway", "server", "", {"rows": "3", "views": "a, b"}) == (
        root["service"],
        root["kind"],
        root["parent_id"],
        root["attributes"],
    )
    assert ("no store", root["span_id"], [[trace_id, root["span_id"]]]) == (
        hop["error"],
        hop["parent_id"],
        hop["links"],
    )
    assert [{"name": "retry", "at_ns": 7, "attributes": {"replica": "10.0.0.1:50052"}}] == hop["events"]
    assert hop == Span.from_plain(hop).plain() | {"links": hop["links"], "events": hop["events"]}
    assert root["start_ns"] <= hop["start_ns"] <= hop["end_ns"] <= root["end_ns"]


def post(address: str, content_type: str, body: bytes, path: str = "/v1/traces") -> tuple[int, str]:
    """Send bytes as an export; return status and body of the answer."""
    connection = http.client.HTTPConnection(address, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_json(receiver: Receiver) -> None:
    """In JSON ids are hex and kinds are numbers; a field that nobody knows is left out."""
    trace_id, span_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent_id,
        "name": "compute",
        "kind": 2,
        "startTimeUnixNano": "1795327348832925586",
        "endTimeUnixNano": "1795327348833964236",
        "attributes": [{"key": "triton.model_name", "value": {"stringValue": "m"}}],
        "unheardOf": 1,
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "predictmesh-triton"}}]}
    export = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": [span]}]}]}
    assert (200, "{}") == post(receiver.http, "application/json", json.dumps(export).encode())
    (found,) = fetch_json(receiver.http, f"/traces/{trace_id}", 5)[1]["spans"]
    expected = {
        "span_id": span_id,
        "parent_id": parent_id,
        "service": "predictmesh-triton",
        "kind": "server",
        "start_ns": 1795327348832925586,
        "end_ns": 1795327348833964236,
        "attributes": {"triton.model_name": "m"},
    }
    assert expected == {name: found[name] for name in expected}


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[1]", 400),
        ("application/json", b'{"resourceSpans": 1}', 400),
        ("application/json", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', 400),
        ("application/json", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', 400),
        ("application/x-protobuf", b"\xff", 400),
        ("text/plain", b"{}", 415),
    ],
)
def test_wrong_exports(receiver: Receiver, content_type: str, body: bytes, status: int) -> None:
    """What is no export is refused, and the receiver goes on."""
    assert status == post(receiver.http, content_type, body)[0]
    assert (200, "{}") == post(receiver.http, "application/json", b"{}")


def test_exports_elsewhere(receiver: Receiver) -> None:
    """Spans are taken at one path only."""
    assert 404 == post(receiver.http, "application/json", b"{}", "/traces")[0]


def test_command_shows_it(receiver: Receiver) -> None:
    """`predictmesh trace` lists the newest traces and draws one."""
    trace_id = send(receiver)
    listed = run("trace", "--data", receiver.data, "--json")
    assert [(trace_id, 2, 1)] == [
        (trace["trace_id"], trace["spans"], trace["errors"]) for trace in json.loads(listed.out)
    ]
    drawn = run("trace", trace_id.upper(), "--data", receiver.data)
    assert 0 == drawn.code
    assert ["gateway Predict", "  gateway GetFeatures"] == [
        line.split("█")[0].rstrip() for line in drawn.out.splitlines()
    ]
    assert "✗ no store" in drawn.out


def test_unknown_trace(receiver: Receiver) -> None:
    """A trace that is not there is the caller's mistake."""
    assert 404 == fetch_json(receiver.http, "/traces/abc", 5)[0]
    outcome = run("trace", "abc", "--data", receiver.data)
    assert (2, "") == (outcome.code, outcome.out)
    assert "no trace 'abc'" in outcome.err


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/traces?limit=x", 400), ("/traces/a?wait_s=x", 400)])
def test_wrong_requests(receiver: Receiver, path: str, status: int) -> None:
    """What cannot be answered is said so."""
    found, answer = fetch_json(receiver.http, path, 5)
    assert status == found
    assert answer["error"]


def test_taken_port(receiver: Receiver) -> None:
    """A second receiver on a taken port is an error, not a share of the spans."""
    with pytest.raises(OSError, match=receiver.grpc), receiving(receiver.grpc, f"127.0.0.1:{free_port()}"):
        pass


def test_no_receiver(tmp_path: Path) -> None:
    """Without a running `up` the command says what is missing."""
    outcome = run("trace", "--data", tmp_path)
    assert 1 == outcome.code
    assert "no trace receiver runs on" in outcome.err
