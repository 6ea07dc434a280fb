"""Composes the registry: the only place that chooses its adapters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from predictmesh.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from services.mesh.lifecycle import Service
from services.mesh.methods import Servicer
from services.mesh.objects import SNAPSHOT, Objects
from services.registry.artifacts import Artifacts
from services.registry.convert import decode_golden
from services.registry.golden import GoldenSets
from services.registry.ledger import Ledger
from services.registry.mirror import Mirror
from services.registry.readiness import Readiness
from services.registry.registry import Registry
from services.registry.servicer import RegistryServicer
from services.registry.settings import Settings
from services.registry.snapshots import Snapshots
from services.registry.stores.sqlite import SqliteEventStore

# What surrounds a snapshot or an event in its message.
ENVELOPE_BYTES = 4096


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Service]:
    """Open the log and object storage, and serve them for the time of the context."""
    objects = Objects.open(settings.objects)
    snapshots = Snapshots(settings.max_message_bytes - ENVELOPE_BYTES, _now)
    readiness = Readiness(time.monotonic, _now)

    async with SqliteEventStore.open(settings.data_dir / "registry.sqlite3") as store:
        ledger = Ledger(
            store, now=_now, admit=snapshots.admit, max_event_bytes=settings.max_message_bytes - ENVELOPE_BYTES
        )
        await ledger.open()
        async with Mirror(ledger.newest, objects, SNAPSHOT, snapshots.data).running() as mirror:
            artifacts = Artifacts(objects, settings.max_artifact_bytes)
            registry = Registry(ledger, artifacts, GoldenSets(artifacts, decode_golden), readiness, _now)
            servicer = RegistryServicer(
                registry,
                snapshots,
                heartbeat_s=settings.heartbeat_s,
                page_bytes=settings.max_message_bytes // 4,
            )
            yield Service(
                name=settings.service,
                servicers=[Servicer(add_RegistryServiceServicer_to_server, servicer)],
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
        "model_processes": len(readiness.reports()),
    }


def _now() -> datetime:
    return datetime.now(UTC)
