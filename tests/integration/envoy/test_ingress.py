"""Istio's ingress before two gateways: tokens, REST, grpc-web, a next release by header, mirrored calls, ejection."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from tests.integration.envoy.conftest import Issuer, World
from tests.integration.envoy.requests import PREDICT, RIDER, framed, frames, message, path, predicted
from tests.worlds.parts import Part
from tests.worlds.sandbox import Sandbox, eventually

NEXT = "next"


async def counted(gateway: Part, calls: float) -> None:
    """Wait until a gateway has counted so many calls, which it does once they are answered."""

    async def so_many() -> bool:
        return await gateway.calls("Predict") == calls

    await eventually(so_many, f"{calls:g} calls of {gateway.directory.name}")


async def test_token_lets_a_caller_in(world: World, own: Sandbox) -> None:
    """Over https, by REST, with what the gateway has to say."""
    answer = await world.outside().post(path(own), RIDER, x_request_id="mine")
    assert (200, [30]) == (answer.status, predicted(answer))
    assert "1.0.0" == answer.json["provenance"]["version"]
    unknown = await world.outside().post(path(own, endpoint="nobody"), RIDER)
    assert (404, "UNKNOWN_ENDPOINT") == (unknown.status, unknown.reason)


async def test_without_a_token_nobody_is_let_in(world: World, own: Sandbox) -> None:
    """Whether by REST or by gRPC; but for the health of it all."""
    assert 403 == (await world.outside(token=None).post(path(own), RIDER)).status
    async with world.grpc_outside() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await PredictionServiceStub(channel).Predict(message(own), timeout=10)
        assert grpc.StatusCode.PERMISSION_DENIED == failed.value.code()
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health_pb2.HealthCheckResponse.SERVING == health.status


async def test_token_of_another_kind_is_refused(world: World, own: Sandbox) -> None:
    """One that has expired, is for somebody else, of another issuer, or signed by another key."""
    issuer = world.issuer
    forged = Issuer(ec.generate_private_key(ec.SECP256R1())).token()
    tokens = [issuer.token(exp=1), issuer.token(aud="others"), issuer.token(iss="https://other.example.com"), forged]
    assert [401, 403, 401, 401] == [(await world.outside(token=each).post(path(own), RIDER)).status for each in tokens]


async def test_grpc_passes_the_ingress(world: World, own: Sandbox) -> None:
    """With the token as metadata."""
    async with world.grpc_outside() as channel:
        stub = PredictionServiceStub(channel)
        said = (("authorization", f"Bearer {world.issuer.token()}"),)
        answer = await stub.Predict(message(own), timeout=10, metadata=said)
    assert [30] == list(answer.outputs[0].floats)


async def test_grpc_web_passes_the_ingress(world: World, own: Sandbox) -> None:
    """A browser asks whether it may ask, without a token, and then asks."""
    page = {"origin": "https://predict.example.com", "access-control-request-method": "POST"}
    asked = await asyncio.to_thread(world.outside(token=None).ask, "OPTIONS", PREDICT, None, page)
    assert (200, page["origin"]) == (asked.status, asked.headers["access-control-allow-origin"])
    body = framed(message(own).SerializeToString())
    answer = await world.outside().post(PREDICT, body, content_type="application/grpc-web+proto", x_grpc_web="1")
    assert [0, 128] == [kind for kind, _ in frames(answer.body)]
    assert b"grpc-status:0" in frames(answer.body)[1][1]


async def test_other_hosts_and_paths_are_not_there(world: World) -> None:
    """The ingress is for predictions of one host."""
    rest = world.outside()
    assert 404 == (await rest.get("/v1/releases")).status
    assert 403 == (await rest.get("/statusz")).status
    assert 404 == (await rest.get("/v1/endpoints", host="other.example.com")).status


async def test_header_chooses_the_next_release(world: World, own: Sandbox) -> None:
    """Who asks for it is answered by it and nobody else, by REST and by gRPC."""
    present, following = world.gateways
    before = await present.calls("Predict"), await following.calls("Predict")
    rest = world.outside(next_release=True)
    for _ in range(5):
        assert 200 == (await rest.post(path(own), RIDER, x_predictmesh_release=NEXT)).status
    async with world.grpc_outside(next_release=True) as channel:
        said = (("authorization", f"Bearer {world.issuer.token()}"), ("x-predictmesh-release", NEXT))
        await PredictionServiceStub(channel).Predict(message(own), timeout=10, metadata=said)
    await counted(following, before[1] + 6)
    assert before[0] == await present.calls("Predict")


async def test_part_of_the_calls_is_mirrored(world: World, own: Sandbox) -> None:
    """The present release answers all of them; the next one gets some of them once more, and nobody hears its answers."""
    present, following = world.gateways
    before = await present.calls("Predict"), await following.calls("Predict")
    asked = 0
    rest = world.outside(next_release=True)

    async def mirrored() -> bool:
        nonlocal asked
        answers = await asyncio.gather(*(rest.post(path(own), RIDER) for _ in range(5)))
        assert [(200, [30])] * 5 == [(each.status, predicted(each)) for each in answers]
        asked += 5
        return await following.calls("Predict") > before[1]

    await eventually(mirrored, "a mirrored call", within_s=60)
    await counted(present, before[0] + asked)


async def test_gateway_that_is_gone_is_ejected_without_a_failed_call(world: World, own: Sandbox) -> None:
    """What it has not seen is asked of the other one; then it is left alone, and taken back when it is there again."""
    gone, other = world.gateways
    gone.kill()
    before = await other.calls("Predict")
    ejections = r"cluster\.unproxied\.outlier_detection\.ejections_enforced_consecutive_local_origin_failure"

    async def ejected() -> bool:
        answer = await _over_grpc(world, own)
        assert [30] == answer
        return world.mesh.stat(ejections) > 0

    await eventually(ejected, "an ejection", within_s=30)
    assert "failed_outlier_check" in world.mesh.health("unproxied")[gone.grpc_port]
    assert await other.calls("Predict") > before
    await world.up()

    async def back() -> bool:
        assert [30] == await _over_grpc(world, own)
        return await gone.calls("Predict") > 0

    await eventually(back, "an answer of the gateway that is there again", within_s=60)


async def _over_grpc(world: World, own: Sandbox) -> list[float]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.istio.unproxied}") as channel:
        answer = await PredictionServiceStub(channel).Predict(message(own), timeout=10)
    return list(answer.outputs[0].floats)
