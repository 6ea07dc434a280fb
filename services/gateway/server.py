"""The composition of the gateway: the only place that chooses its adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1.prediction_service_pb2 import DESCRIPTOR
from predictmesh.gateway.v1.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.gateway.agreement import Agreements
from services.gateway.clients import FeatureClient, ModelClient, TrafficClient
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.ladder.last_answers import LastAnswers
from services.gateway.outcomes import OutcomeFlow
from services.gateway.predict import PredictFlow
from services.gateway.quality_client import QualityClient
from services.gateway.recording import Recorder
from services.gateway.reporting import Reporter
from services.gateway.servicer import PredictionServicer
from services.gateway.settings import Settings
from services.gateway.shadowing import Shadowing
from services.gateway.traffic import Traffic
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.channel import open_stub
from services.mesh.connecting import open_connections
from services.mesh.lifecycle import Service
from services.mesh.methods import Servicer
from services.mesh.objects import Objects
from services.mesh.replicas import Connection, only
from services.mesh.resilience import Hop
from services.mesh.security.identity import open_identity
from services.mesh.snapshots import SnapshotReader

if TYPE_CHECKING:
    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub
    from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceAsyncStub
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceAsyncStub


class _Peers(NamedTuple):
    """What the gateway calls: the registry's services, and those on the path of predictions."""

    registry: RegistryServiceAsyncStub
    releases: ReleaseServiceAsyncStub
    quality: Sequence[Connection[QualityServiceAsyncStub]]
    features: Sequence[Connection[FeatureServiceAsyncStub]]
    inference: Sequence[Connection[object]]


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    registry: RegistryServiceAsyncStub | None = None,
    features: FeatureServiceAsyncStub | None = None,
    inference: object | None = None,
) -> AsyncIterator[Service]:
    """Build the gateway. A peer that is not given is called over gRPC at its target in `settings`."""
    async with AsyncExitStack() as stack:
        peers = await _peers(settings, stack, registry, features, inference)
        reader = SnapshotReader(
            peers.registry,
            subscriber="gateway",
            objects=Objects.open(settings.objects),
            cache=settings.data_dir / "snapshot.binpb",
        )
        feature_client, model_client = FeatureClient(peers.features), ModelClient(peers.inference)
        traffic, agreements = Traffic(), Agreements()
        last_answers = LastAnswers(settings.max_last_answer_bytes)
        quality_client = QualityClient(peers.quality, max_message_bytes=settings.max_message_bytes)
        recorder = Recorder(quality_client.keep, max_waiting_rows=settings.max_waiting_prediction_rows)
        # For an answer that nobody waits for no second replica is asked.
        shadow_features = FeatureClient(peers.features, hop="shadow_features", hedged=False)
        shadow_model = ModelClient(peers.inference, hop="shadow_model", hedged=False)
        shadowing = Shadowing(shadow_features, shadow_model, agreements, idle=lambda: flow.idle)
        clients = (feature_client, model_client, quality_client, shadow_features, shadow_model)
        hops = [client.hop for client in clients]
        for hop in hops:
            stack.push_async_callback(hop.stop)
        flow = PredictFlow(
            feature_client,
            model_client,
            last_answers=last_answers,
            registry_reachable=lambda: reader.reachable,
            max_batch_rows=settings.max_batch_rows,
            max_queued_rows=settings.max_queued_rows,
            observers=[traffic, recorder, shadowing],
        )
        _lead(reader, traffic, agreements, flow)
        await stack.enter_async_context(reader)
        await stack.enter_async_context(recorder)
        await stack.enter_async_context(shadowing)
        await stack.enter_async_context(
            Reporter(TrafficClient(peers.releases), traffic, agreements, interval_s=settings.report_interval_s)
        )

        gate, draining = (
            Gate(AdaptiveLimit(settings.max_predictions), refusals_per_s=settings.max_refusals_per_s),
            asyncio.Event(),
        )
        yield Service(
            name="gateway",
            servicers=apis(flow, OutcomeFlow(quality_client, recorder.settle), settings, gate, draining),
            ready=lambda: "" if flow.ready else "no snapshot of the definitions yet",
            status=lambda: _status(reader, flow, last_answers, hops),
            drain=draining.set,
            gates={_path(method): gate for method in ("Predict", "Explain")},
        )


def _lead(reader: SnapshotReader, traffic: Traffic, agreements: Agreements, flow: PredictFlow) -> None:
    """Have all go by the newest snapshot; those who count know it before the first request is routed by it."""
    tables = TableBuilder()

    def use(snapshot: Snapshot) -> None:
        table = tables.build(snapshot)
        traffic.use(table)
        agreements.use(table)
        flow.use(table)

    reader.subscribe(use)


def _status(
    reader: SnapshotReader, flow: PredictFlow, last_answers: LastAnswers, hops: Iterable[Hop[Any]]
) -> dict[str, object]:
    return {
        "snapshot_revision": reader.current.revision if reader.current else 0,
        "registry_reachable": reader.reachable,
        "endpoints": sorted(flow.table.endpoints) if flow.ready else [],
        "last_answers": {"rows": last_answers.rows, "bytes": last_answers.bytes},
        "breakers": {hop.name: hop.states() for hop in hops},
    }


def _path(method: str) -> str:
    return f"/{DESCRIPTOR.services_by_name['PredictionService'].full_name}/{method}"


def apis(
    flow: PredictFlow, outcomes: OutcomeFlow, settings: Settings, gate: Gate, draining: asyncio.Event
) -> list[Servicer]:
    """Return the API packages that the gateway serves, side by side on the same flows, until it is `draining`."""
    v1 = PredictionServicer(flow, outcomes, gate, max_stream_requests=settings.max_stream_requests, draining=draining)
    return [Servicer(add_PredictionServiceServicer_to_server, v1)]


async def _peers(
    settings: Settings,
    stack: AsyncExitStack,
    registry: RegistryServiceAsyncStub | None,
    features: FeatureServiceAsyncStub | None,
    inference: object | None,
) -> _Peers:
    limit = settings.max_message_bytes
    identity = await stack.enter_async_context(open_identity(settings.tls_for_calls))
    token = settings.own_token()
    connect = partial(open_connections, max_message_bytes=limit, identity=identity, token=token)
    if registry is None:
        open_registry = partial(open_stub, settings.registry, max_message_bytes=limit, identity=identity, token=token)
        registry = await stack.enter_async_context(open_registry(RegistryServiceStub))
        releases = await stack.enter_async_context(open_registry(ReleaseServiceStub))
        quality = await stack.enter_async_context(connect(settings.registry, QualityServiceStub))
    else:
        # A stub of all that the registry serves.
        releases = cast("ReleaseServiceAsyncStub", registry)
        quality = only(cast("QualityServiceAsyncStub", registry))
    if features is None:
        feature_replicas = await stack.enter_async_context(connect(settings.features, FeatureServiceStub))
    else:
        feature_replicas = only(features)
    if inference is None:
        model_replicas = await stack.enter_async_context(
            connect(settings.model, GRPCInferenceServiceStub, standing=not settings.model_on_demand)
        )
    else:
        model_replicas = only(inference)
    return _Peers(registry, releases, quality, feature_replicas, model_replicas)
