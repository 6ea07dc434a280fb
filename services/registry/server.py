"""Composes the registry: the only place that chooses its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from predictmesh.registry.v1.quality_service_pb2_grpc import add_QualityServiceServicer_to_server
from predictmesh.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from predictmesh.registry.v1.release_service_pb2_grpc import add_ReleaseServiceServicer_to_server
from services.mesh.lifecycle import Service
from services.mesh.methods import Servicer
from services.mesh.objects import SNAPSHOT, Objects
from services.registry.artifacts import Artifacts
from services.registry.controller import Controller
from services.registry.convert import decode_golden
from services.registry.gathering import GatheredEvidence
from services.registry.golden import GoldenSets
from services.registry.ledger import Ledger
from services.registry.mirror import Mirror
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.store import QualityStore
from services.registry.quality_servicer import QualityServicer
from services.registry.readiness import Readiness
from services.registry.registry import Registry
from services.registry.release_servicer import ReleaseServicer
from services.registry.releases import Releases
from services.registry.servicer import RegistryServicer
from services.registry.settings import Settings
from services.registry.snapshots import Snapshots
from services.registry.stores.sqlite import SqliteEventStore
from services.registry.stores.traffic import SqliteTrafficStore
from services.registry.traffic import Traffic

# What surrounds a snapshot or an event in its message.
ENVELOPE_BYTES = 4096


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Service]:
    """Open the log, what is counted beside it, and object storage, and serve them for the time of the context."""
    objects = Objects.open(settings.objects)
    snapshots = Snapshots(settings.max_message_bytes - ENVELOPE_BYTES, _now)
    readiness = Readiness(time.monotonic, _now)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqliteEventStore.open(settings.data_dir / "registry.sqlite3"))
        ledger = Ledger(
            store, now=_now, admit=snapshots.admit, max_event_bytes=settings.max_message_bytes - ENVELOPE_BYTES
        )
        await ledger.open()
        mirror = await stack.enter_async_context(Mirror(ledger.newest, objects, SNAPSHOT, snapshots.data).running())
        artifacts = Artifacts(objects, settings.max_artifact_bytes)
        registry = Registry(ledger, artifacts, GoldenSets(artifacts, decode_golden), readiness, _now)

        totals = await stack.enter_async_context(
            SqliteTrafficStore.open(settings.data_dir / "traffic.sqlite3", store.log_id)
        )
        traffic = Traffic(totals, lambda: ledger.newest.value.catalog, _now)
        kept = await stack.enter_async_context(QualityStore.open(settings.data_dir / "quality.sqlite3", store.log_id))
        outcomes = Outcomes(kept, _now, max_predictions=settings.max_predictions)
        await stack.enter_async_context(outcomes.forgetting())
        evidence = GatheredEvidence(traffic, outcomes)
        releases = Releases(ledger, registry.transactions, evidence, _now)
        controller = Controller(
            ledger, registry.transactions, evidence, traffic, _now, interval_s=settings.release_interval_s
        )
        await stack.enter_async_context(controller.running())

        page_bytes = settings.max_message_bytes // 4
        registry_servicer = RegistryServicer(
            registry, snapshots, heartbeat_s=settings.heartbeat_s, page_bytes=page_bytes
        )
        quality_servicer = QualityServicer(outcomes, releases.check_endpoint, page_bytes=page_bytes)
        yield Service(
            name=settings.service,
            servicers=[
                Servicer(add_RegistryServiceServicer_to_server, registry_servicer, shared=["WatchSnapshot"]),
                Servicer(add_ReleaseServiceServicer_to_server, ReleaseServicer(releases, traffic)),
                Servicer(add_QualityServiceServicer_to_server, quality_servicer),
            ],
            ready=lambda: "",
            status=lambda: _status(ledger, mirror, readiness),
            drain=ledger.close,
        )


def _status(ledger: Ledger, mirror: Mirror, readiness: Readiness) -> dict[str, object]:
    newest = ledger.newest.value
    return {
        "log_id": newest.log_id,
        "revision": newest.number,
        "stored_revision": mirror.revision,
        "feature_views": len(newest.catalog.views),
        "models": len(newest.catalog.models),
        "endpoints": len(newest.catalog.endpoints),
        "releases_under_way": sum(release.state.under_way for release in newest.catalog.releases.values()),
        "model_processes": len(readiness.reports()),
    }


def _now() -> datetime:
    return datetime.now(UTC)
