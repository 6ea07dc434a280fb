"""OTLP over HTTP, as protobuf and as JSON: what Triton and others send that do not speak gRPC."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

JSON, PROTOBUF = "application/json", "application/x-protobuf"
# In JSON these are hex, unlike all other bytes.
_IDS = {"traceId", "spanId", "parentSpanId"}


def decode(content_type: str, encoding: str, body: bytes) -> ExportTraceServiceRequest:
    """Read an export; ValueError if it is not one."""
    try:
        content = gzip.decompress(body) if encoding == "gzip" else body
        if content_type == PROTOBUF:
            return ExportTraceServiceRequest.FromString(content)
        plain = json.loads(content, object_hook=_with_ids)
        return json_format.ParseDict(plain, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, EOFError, OSError, zlib.error, TypeError, AttributeError) as error:
        raise ValueError(f"no OTLP export of traces: {error}") from error


def answer(content_type: str) -> bytes:
    """Return the answer to an export that was taken whole."""
    return b"{}" if content_type == JSON else ExportTraceServiceResponse().SerializeToString()


def _with_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """Write the ids as the JSON of protobuf has bytes."""
    return {
        name: base64.b64encode(bytes.fromhex(value)).decode() if name in _IDS else value
        for name, value in fields.items()
    }
