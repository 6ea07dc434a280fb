"""What the tests of this folder ask, and what they read of answers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from tests.support.rest import Answer
from tests.worlds.sandbox import Sandbox

PREDICT = "/predictmesh.gateway.v1.PredictionService/Predict"
# The third of the riders of `own`: 30 is the answer. As REST has it.
RIDER: dict[str, Any] = {"entities": [{"name": "rider_id", "strings": ["r3"]}]}


def path(own: Sandbox, verb: str = "predict", endpoint: str = "ride") -> str:
    """Where an endpoint is asked by REST."""
    return f"/v1/endpoints/{own.full(endpoint)}:{verb}"


def message(own: Sandbox) -> gateway_pb.PredictRequest:
    """The same as a message."""
    return own.request("ride", {"rider_id": ["r3"]})


def predicted(answer: Answer) -> Sequence[float]:
    """The values of an answer."""
    [output] = answer.json["outputs"]
    found: Sequence[float] = output["floats"]
    return found


def framed(body: bytes) -> bytes:
    """A message as gRPC and grpc-web send it."""
    return b"\0" + struct.pack(">I", len(body)) + body


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """What has come: messages with 0, trailers with 128."""
    found = []
    while body:
        kind, size = struct.unpack(">BI", body[:5])
        found.append((kind, body[5 : 5 + size]))
        body = body[5 + size :]
    return found
