"""The endpoints as callers list them."""

from __future__ import annotations

import asyncio

from predictmesh.gateway.v1 import provenance_pb2
from predictmesh.registry.v1 import feature_view_pb2
from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert import decode_predict
from services.gateway.convert_listing import encode_endpoints
from services.gateway.convert_snapshot import TableBuilder
from tests.support.predictions import endpoint, member, release, snapshot, version, view


def test_endpoints() -> None:
    """Everything that a caller needs: keys, features and outputs with their types, and a request that can be sent."""
    keyed = view("n", "v:FP32", carrier="STRING", flight="INT64")
    bound = {"x:FP32:2": ["n:v", "hour"], "m:INT8:3": ["mix"], "t:BYTES": ["note"], "f:FP64:finite": ["share"]}
    defined = snapshot(keyed, versions=[version(bound, outputs=("y:FP32:2:finite", "z:BYTES"))], revision=3)
    defined.endpoints[0].description = "for people"
    answer = encode_endpoints(TableBuilder().build(defined))
    assert 3 == answer.snapshot_revision
    (info,) = answer.endpoints
    assert ("m", "for people", "m", "1.0.0", 1000) == (
        info.name,
        info.description,
        info.model,
        info.version,
        info.default_timeout_ms,
    )
    kinds = {"carrier": feature_view_pb2.KEY_TYPE_STRING, "flight": feature_view_pb2.KEY_TYPE_INT64}
    assert kinds == {key.name: key.type for key in info.entity_keys}
    assert [("hour", []), ("mix", [3]), ("note", []), ("share", [])] == [
        (spec.name, list(spec.shape)) for spec in info.request_features
    ]
    assert [False, False, False, True] == [spec.finite for spec in info.request_features]
    assert [("y", [2], True), ("z", [], False)] == [(spec.name, list(spec.shape), spec.finite) for spec in info.outputs]


def test_sample_can_be_sent() -> None:
    """The sample of every endpoint is a request that its version takes."""
    keyed = view("n", "v:FP32", carrier="STRING", flight="INT64")
    bound = {"x:FP32:2": ["n:v", "hour"], "m:INT8:3": ["mix"], "t:BYTES": ["note"], "f:FP64:finite": ["share"]}
    table = TableBuilder().build(snapshot(keyed, versions=[version(bound)]))
    (info,) = encode_endpoints(table).endpoints
    request = decode_predict(info.sample, {}, None)
    assert "m" == request.endpoint

    async def rows() -> int:
        return member(table.endpoint("m").default.target, *request.entities, features=request.features).rows

    assert 1 == asyncio.run(rows())


def test_fallbacks() -> None:
    """What may answer in place of the version, in order and as provenance calls it."""
    stored = view("n", "v:FP32", carrier="STRING")
    versions = [version({"x:FP32": ["n:v"]}, number=number, digest=number) for number in ("1.0.0", "1.1.0")]
    answer = StaticAnswer(outputs=[Tensor(name="y", floats=[0.5])])
    steps = [Fallback(version="1.0.0"), Fallback(last_answer_max_age_ms=60_000), Fallback(answer=answer)]
    laddered = endpoint({"version": "1.1.0"}, name="a", fallbacks=steps)
    plain = endpoint({"version": "1.1.0"}, name="b")
    table = TableBuilder().build(snapshot(stored, versions=versions, endpoints=[laddered, plain]))
    assert [["version 1.0.0", "last_answer", "answer"], []] == [
        list(info.fallbacks) for info in encode_endpoints(table).endpoints
    ]


def test_shares() -> None:
    """Every version that answers requests without a pin, with its share and why; the largest is the endpoint's version."""
    versions = [version({"x:FP32": ["x"]}, number=number, digest=number) for number in ("1.0.0", "1.1.0", "1.2.0")]
    weighted = endpoint([("1.0.0", 20.0), ("1.1.0", 79.99), ("1.2.0", 0.01)], name="a")
    released = endpoint({"version": "1.0.0"}, name="b")
    defined = snapshot(
        versions=versions,
        endpoints=[weighted, released, endpoint({"version": "1.2.0"}, name="c")],
        releases=[release("1.0.0", "1.1.0", 5, 100, name="b")],
    )
    listed = encode_endpoints(TableBuilder().build(defined)).endpoints
    assert ["1.1.0", "1.0.0", "1.2.0"] == [info.version for info in listed]
    reason = provenance_pb2.RouteReason.Name
    assert [
        [(20.0, "1.0.0", "WEIGHT"), (79.99, "1.1.0", "WEIGHT"), (0.01, "1.2.0", "WEIGHT")],
        [(5.0, "1.1.0", "CANARY"), (95.0, "1.0.0", "STABLE")],
        [(100.0, "1.2.0", "VERSION")],
    ] == [
        [(each.percent, each.version, reason(each.reason).split("_")[-1]) for each in info.versions] for info in listed
    ]
