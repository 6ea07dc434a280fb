"""A running mesh as its callers see it: a stub for each service, over real channels, whatever runs behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.model.v1.model_service_pb2_grpc import ModelServiceStub
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from tests.support.access import showing

if TYPE_CHECKING:
    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub
    from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceAsyncStub
    from predictmesh.model.v1.model_service_pb2_grpc import ModelServiceAsyncStub
    from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceAsyncStub
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceAsyncStub

# What callers of several gateways are told to use: calls take turns, and go to none that says it is about to stop.
SEVERAL = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
# Requests beyond what a server takes must reach it, to be refused there.
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0))


@dataclass(frozen=True)
class Addresses:
    """Where the services listen, HOST:PORT; with commas between those of several replicas."""

    gateway: str
    features: str
    model: str
    registry: str


@dataclass(frozen=True)
class Mesh:
    """Plain generated stubs: what they raise is what is on the wire."""

    addresses: Addresses
    gateway: PredictionServiceAsyncStub
    features: FeatureServiceAsyncStub
    runtimes: ModelServiceAsyncStub
    inference: Any
    registry: RegistryServiceAsyncStub
    releases: ReleaseServiceAsyncStub
    quality: QualityServiceAsyncStub


@asynccontextmanager
async def connect(
    addresses: Addresses, credentials: grpc.ChannelCredentials | None = None, *, token: str = ""
) -> AsyncIterator[Mesh]:
    """Open a channel to each service, over TLS with `credentials`; calls show the token if there is one."""
    shown = showing(token) if token else ()
    async with AsyncExitStack() as stack:

        async def channel(address: str) -> grpc.aio.Channel:
            several = "," in address and not address.startswith("ipv4:")
            target = f"ipv4:{address}" if several else address
            options = (*_OPTIONS, ("grpc.service_config", SEVERAL)) if several else _OPTIONS
            if credentials is None:
                return await stack.enter_async_context(
                    grpc.aio.insecure_channel(target, options=options, interceptors=shown)
                )
            # All of them are of this machine.
            named = (*options, ("grpc.ssl_target_name_override", "127.0.0.1"))
            return await stack.enter_async_context(
                grpc.aio.secure_channel(target, credentials, options=named, interceptors=shown)
            )

        model, registry = await channel(addresses.model), await channel(addresses.registry)
        yield Mesh(
            addresses=addresses,
            gateway=PredictionServiceStub(await channel(addresses.gateway)),
            features=FeatureServiceStub(await channel(addresses.features)),
            runtimes=ModelServiceStub(model),
            inference=GRPCInferenceServiceStub(model),
            registry=RegistryServiceStub(registry),
            releases=ReleaseServiceStub(registry),
            quality=QualityServiceStub(registry),
        )
