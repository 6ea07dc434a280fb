"""Snapshots of models, and a registry that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, cast

from predictmesh.registry.v1 import model_pb2, registry_service_pb2
from predictmesh.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.data_type_pb2 import DataType
from services.mesh.errors import StoreUnavailable
from services.mesh.local import LocalStub
from services.mesh.methods import Servicer
from services.model.versions import GoldenSet, TensorSpec, Version

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


def snapshot(revision: int, versions: Iterable[Version]) -> Snapshot:
    """Write versions as the registry does."""
    models: dict[str, model_pb2.Model] = {}
    for version in versions:
        model = models.setdefault(version.model, model_pb2.Model(name=version.model))
        model.versions.append(
            model_pb2.Version(
                version=version.version,
                digest=version.digest,
                signature=model_pb2.Signature(
                    inputs=map(_spec, version.signature.inputs), outputs=map(_spec, version.signature.outputs)
                ),
                artifacts=[
                    model_pb2.Artifact(
                        runtime=artifact.runtime,
                        sha256=artifact.sha256,
                        format=artifact.format,
                        target=artifact.target,
                    )
                    for artifact in version.artifacts
                ],
                golden=_golden(version.golden) if version.golden else None,
            )
        )
    return Snapshot(revision=revision, log_id="test", models=models.values())


class ScriptedRegistry(RegistryServiceServicer):
    """Sends the snapshots that a test publishes, and keeps the reports that it gets. `down` refuses reports."""

    def __init__(self) -> None:
        self.reports: list[registry_service_pb2.ReportRuntimeRequest] = []
        self.down = False
        self._snapshot = Snapshot()
        self._changed = asyncio.Event()

    def publish(self, versions: Iterable[Version]) -> None:
        """Define exactly these versions."""
        self._snapshot = snapshot(self._snapshot.revision + 1, versions)
        self._changed.set()
        self._changed = asyncio.Event()

    async def WatchSnapshot(
        self, request: registry_service_pb2.WatchSnapshotRequest, context: object
    ) -> AsyncIterator[registry_service_pb2.WatchSnapshotResponse]:
        seen = request.known_revision
        while True:
            changed = self._changed
            if self._snapshot.revision > seen:
                seen = self._snapshot.revision
                yield registry_service_pb2.WatchSnapshotResponse(revision=seen, snapshot=self._snapshot)
            await changed.wait()

    async def ReportRuntime(
        self, request: registry_service_pb2.ReportRuntimeRequest, context: object
    ) -> registry_service_pb2.ReportRuntimeResponse:
        if self.down:
            raise StoreUnavailable("the registry is down")
        self.reports.append(request)
        return registry_service_pb2.ReportRuntimeResponse(expires_in_ms=15_000)


def scripted_registry() -> tuple[ScriptedRegistry, RegistryServiceAsyncStub]:
    """Make a registry and the stub that calls it in this process."""
    registry = ScriptedRegistry()  # type: ignore[abstract]  # its other methods answer UNIMPLEMENTED
    stub = LocalStub(Servicer(add_RegistryServiceServicer_to_server, registry), ())
    return registry, cast("RegistryServiceAsyncStub", stub)


def _golden(golden: GoldenSet) -> model_pb2.GoldenSet:
    return model_pb2.GoldenSet(
        sha256=golden.sha256,
        absolute_tolerance=golden.absolute_tolerance,
        relative_tolerance=golden.relative_tolerance,
    )


def _spec(spec: TensorSpec) -> model_pb2.TensorSpec:
    data_type = DataType.Value(f"DATA_TYPE_{spec.datatype}")
    return model_pb2.TensorSpec(name=spec.name, data_type=data_type, shape=spec.shape, finite=spec.finite)
