"""The services in a mesh of Istio: its resources, as istiod would tell them to Envoy, before the real services."""

from __future__ import annotations

from typing import TypeAlias

import grpc

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.integration.envoy.conftest import World
from tests.integration.envoy.requests import RIDER, message, path, predicted
from tests.support.istio.mesh import FOREIGNER
from tests.worlds.failures import failure
from tests.worlds.sandbox import Sandbox

TIMEOUT_S = 10.0
DENIED = "PERMISSION_DENIED"
Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


def sidecar(world: World, account: str, peer: str) -> grpc.aio.Channel:
    """A channel of an account of the mesh, by its sidecar, to a service."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{world.istio.outbound[account, peer]}")


async def test_prediction_goes_over_mutual_tls_all_the_way(world: World, own: Sandbox) -> None:
    """From the ingress to a gateway, and on to features and model, each behind a sidecar; nobody of ours is refused."""
    refused = world.mesh.stats(r"http\.in-.*\.rbac\.denied$")
    assert refused
    answer = await world.outside().post(path(own), RIDER)
    assert (200, [30]) == (answer.status, predicted(answer))
    assert refused == world.mesh.stats(r"http\.in-.*\.rbac\.denied$")
    for service, ports in world.istio.inbound.items():
        for port in ports:
            found = world.mesh.stat(rf"listener\.127\.0\.0\.1_{port}\.ssl\.handshake")
            assert found > 0 or service == "gateway"
    assert world.mesh.stat(r"cluster\.ingress-\.ssl\.handshake") > 0


async def test_application_in_the_mesh_may_ask_for_predictions(world: World, own: Sandbox) -> None:
    """As the account predictmesh-caller."""
    async with sidecar(world, "predictmesh-caller", "gateway") as channel:
        answer = await PredictionServiceStub(channel).Predict(message(own), timeout=TIMEOUT_S)
    assert [30] == list(answer.outputs[0].floats)


async def test_stranger_is_refused_everywhere(world: World, own: Sandbox) -> None:
    """One of the mesh whom no policy names, whatever he asks."""
    async with sidecar(world, "stranger", "gateway") as channel:
        assert DENIED == (await failure(PredictionServiceStub(channel).Predict(message(own), timeout=TIMEOUT_S))).code
    for peer in ("features", "model", "registry"):
        async with sidecar(world, "stranger", peer) as channel:
            call: Method = channel.unary_unary("/predictmesh.mesh.v1.ExchangeService/Exchange")
            assert DENIED == (await failure(call(b"", timeout=TIMEOUT_S))).code


async def test_accounts_may_do_no_more_than_is_theirs(world: World, own: Sandbox) -> None:
    """A writer writes, a releaser changes definitions; the model service may do neither, nor may an application."""
    write = features_pb.WriteFeaturesRequest()
    async with sidecar(world, "predictmesh-writer", "features") as channel:
        # A view that is not there: the call has come to the service.
        assert "NOT_FOUND" == (await failure(FeatureServiceStub(channel).WriteFeatures(write, timeout=TIMEOUT_S))).code
    async with sidecar(world, "model", "features") as channel:
        assert DENIED == (await failure(FeatureServiceStub(channel).WriteFeatures(write, timeout=TIMEOUT_S))).code
    async with sidecar(world, "predictmesh-releaser", "registry") as channel:
        await RegistryServiceStub(channel).ListEvents(registry_pb.ListEventsRequest(), timeout=TIMEOUT_S)
    for account in ("predictmesh-caller", "model"):
        async with sidecar(world, account, "registry") as channel:
            call = RegistryServiceStub(channel).Apply(registry_pb.ApplyRequest(), timeout=TIMEOUT_S)
            assert DENIED == (await failure(call)).code


async def test_without_an_identity_of_the_mesh_nobody_gets_in(world: World, own: Sandbox) -> None:
    """Neither in the clear, nor with the right name from another authority: there is no connection at all."""
    for port in (world.istio.outbound[FOREIGNER, "model"], world.istio.inbound["model"][0]):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            assert "UNAVAILABLE" == (await failure(call(b"", timeout=TIMEOUT_S))).code
    assert world.mesh.stat(rf"listener\.127\.0\.0\.1_{world.istio.inbound['model'][0]}\.ssl\.fail_verify_error") > 0


async def test_proxies_repeat_nothing_between_services(world: World, own: Sandbox) -> None:
    """Retries belong to our services, so that those of two layers do not multiply."""
    retries = world.mesh.stats(r"cluster\..*-to-.*\.upstream_rq_retry$")
    assert retries
    assert not any(retries.values())
