"""Puts the feature service together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from predictmesh.features.v1.features_service_pb2_grpc import add_FeatureServiceServicer_to_server
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.features.convert import decode_catalog
from services.features.degrading import DegradingStore
from services.features.deleting import Deleting
from services.features.ingest import Ingest
from services.features.last_read import LastRead
from services.features.plans import Plans
from services.features.servicer import FeatureServicer
from services.features.serving import Serving
from services.features.settings import Settings
from services.features.stores.opening import StoreOptions, open_store
from services.features.streaming import Streaming
from services.mesh.channel import open_stub
from services.mesh.lifecycle import Service
from services.mesh.methods import Servicer
from services.mesh.objects import Objects
from services.mesh.security.identity import open_identity
from services.mesh.snapshots import SnapshotReader
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

MIB = 1024 * 1024


@asynccontextmanager
async def build(settings: Settings, *, registry: RegistryServiceAsyncStub | None = None) -> AsyncIterator[Service]:
    """Open the store and the watch of the registry; `registry` is given where it runs in the same process."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_store(settings.redis_url.get_secret_value(), _options(settings)))
        memory = LastRead(settings.last_read_mib * MIB)
        names.FEATURE_LAST_READ_BYTES.set_function(lambda: memory.size_bytes)
        store = DegradingStore(
            opened, memory, most=settings.store_connections, timeout_s=settings.store_timeout_ms / 1000
        )
        stack.push_async_callback(store.stop)
        if registry is None:
            identity = await stack.enter_async_context(open_identity(settings.tls_for_calls))
            registry = await stack.enter_async_context(
                open_stub(settings.registry, RegistryServiceStub, identity=identity, token=settings.own_token())
            )
        snapshots = await stack.enter_async_context(
            SnapshotReader(
                registry,
                subscriber="features",
                objects=Objects.open(settings.objects),
                cache=settings.data_dir / "snapshot",
            )
        )
        plans = Plans(settings.max_plans)
        snapshots.subscribe(lambda snapshot: plans.use(decode_catalog(snapshot)))
        ingest = Ingest(store, lambda: plans.catalog, max_rows=settings.max_write_rows)
        streaming = Streaming(ingest, window=settings.stream_window, max_rows=settings.max_write_rows)
        servicer = FeatureServicer(
            Serving(store, plans, max_rows=settings.max_read_rows),
            ingest,
            streaming,
            Deleting(store, lambda: plans.catalog),
        )

        def status() -> dict[str, object]:
            current = snapshots.current
            return {
                "snapshot_revision": current.revision if current else None,
                "registry_reachable": snapshots.reachable,
                "store": opened.kind,
                "store_away": store.away,
                "last_read_rows": len(memory),
                "last_read_bytes": memory.size_bytes,
                "durability": settings.durability.value,
                "views": len(current.feature_views) if current else 0,
                "plans": len(plans),
            }

        yield Service(
            name="features",
            servicers=[Servicer(add_FeatureServiceServicer_to_server, servicer)],
            ready=lambda: "" if snapshots.current else "no snapshot of the definitions yet",
            status=status,
            drain=streaming.drain,
        )


def _options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        durability=settings.durability,
        timeout_s=settings.store_timeout_ms / 1000,
        start_timeout_s=settings.store_start_timeout_ms / 1000,
        max_connections=settings.store_connections,
    )
