"""A namespace of a test's own in a running mesh: definitions, features and predictions there."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Route
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.graph_pb2 import Graph
from predictmesh.registry.v1.model_pb2 import Artifact, Model, Version
from predictmesh.registry.v1.release_pb2 import RELEASE_STATE_HELD, RELEASE_STATE_RUNNING
from predictmesh.registry.v1.release_service_pb2 import RollbackRequest
from services.model.versions import Signature
from tests.support.onnx_models import OnnxModel
from tests.worlds.failures import failure_of
from tests.worlds.graphs import in_namespace
from tests.worlds.mesh import Mesh
from tests.worlds.resources import bindings, signature, tensors

LIMIT_S = 20.0
TIMEOUT_S = 10.0
UNDER_WAY = {RELEASE_STATE_RUNNING, RELEASE_STATE_HELD}
# When the features of tests became true, microseconds since the epoch.
NOON_US = 1_376_913_600_000_000


@dataclass
class Sandbox:
    """Names given to its methods are without the namespace. What it defines, it deletes when it is closed."""

    mesh: Mesh
    namespace: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    _made: list[registry_pb.DeleteRequest] = field(default_factory=list)

    def full(self, name: str) -> str:
        """The name with the namespace."""
        return f"{self.namespace}/{name}"

    async def apply(self, *resources: registry_pb.Resource, **parts: Any) -> int:
        """Apply resources, wait until the gateway serves them, and return the revision."""
        request = registry_pb.ApplyRequest(resources=resources, actor="test", **parts)
        revision = (await self.mesh.registry.Apply(request, timeout=TIMEOUT_S)).revision
        await self.until_served(revision)
        return revision

    async def until_served(self, revision: int) -> None:
        """Wait until the gateway serves a revision."""

        async def served() -> bool:
            try:
                listed = await self.mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                assert failure_of(error).reason == "NOT_READY"  # noqa: PT017 - any other is a failure of the test
                return False
            return listed.snapshot_revision >= revision

        await eventually(served, f"revision {revision} at the gateway")

    async def view(self, view: FeatureView) -> None:
        """Define a view."""
        named = FeatureView()
        named.CopyFrom(view)
        named.name = self.full(view.name)
        await self.apply(registry_pb.Resource(feature_view=named))
        self._made.append(registry_pb.DeleteRequest(feature_view=named.name))

    async def model(self, name: str, **aliases: str) -> None:
        """Define a model, or its aliases; they move only to versions that are ready."""
        await self.apply(registry_pb.Resource(model=Model(name=self.full(name), aliases=aliases)))
        deletion = registry_pb.DeleteRequest(model=self.full(name))
        if deletion not in self._made:
            self._made.append(deletion)

    async def upload(self, content: bytes) -> str:
        """Upload an artifact, and return its digest."""
        digest = hashlib.sha256(content).hexdigest()

        async def parts() -> AsyncIterator[registry_pb.UploadArtifactRequest]:
            header = registry_pb.ArtifactHeader(sha256=digest, size_bytes=len(content))
            yield registry_pb.UploadArtifactRequest(header=header)
            for start in range(0, len(content), 2**20):
                yield registry_pb.UploadArtifactRequest(chunk=content[start : start + 2**20])

        await self.mesh.registry.UploadArtifact(parts(), timeout=TIMEOUT_S)
        return digest

    async def register(
        self,
        model: str,
        version: str,
        onnx: OnnxModel,
        sources: Mapping[str, Sequence[str]],
        *,
        runtimes: Sequence[str] = ("onnx",),
        **parts: Any,
    ) -> None:
        """Upload and register a version whose one file serves every runtime."""
        sha256 = await self.upload(onnx.content)
        made = Version(
            version=version,
            signature=signature(onnx.signature),
            bindings=bindings(sources, self.namespace),
            artifacts=[Artifact(runtime=runtime, sha256=sha256, format="onnx") for runtime in runtimes],
            **parts,
        )
        await self._register(model, made)

    async def register_at(
        self, target: str, model: str, version: str, given: Signature, sources: Mapping[str, Sequence[str]]
    ) -> None:
        """Register a version whose model is at another server."""
        artifacts = [Artifact(runtime="oip", target=target)]
        bound = bindings(sources, self.namespace)
        await self._register(
            model, Version(version=version, signature=signature(given), bindings=bound, artifacts=artifacts)
        )

    async def compose(self, model: str, version: str, graph: Graph, **parts: Any) -> None:
        """Register a composed version."""
        await self._register(model, Version(version=version, graph=in_namespace(graph, self.namespace), **parts))

    async def _register(self, model: str, version: Version) -> None:
        request = registry_pb.RegisterVersionRequest(model=self.full(model), version=version, actor="test")
        response = await self.mesh.registry.RegisterVersion(request, timeout=TIMEOUT_S)
        await self.until_served(response.revision)

    async def until_runtime(
        self,
        model: str,
        version: str,
        state: RuntimeState.ValueType = RuntimeState.RUNTIME_STATE_READY,
        *,
        processes: int = 1,
    ) -> str:
        """Wait until so many model processes report a version in a state; return what one says of it."""
        found: list[RuntimeStatus] = []

        async def reported() -> bool:
            listed = await self.mesh.registry.ListRuntimes(registry_pb.ListRuntimesRequest(), timeout=TIMEOUT_S)
            found[:] = [
                status
                for instance in listed.instances
                for status in instance.runtimes
                if status.model == self.full(model) and status.version == version and status.state == state
            ]
            return len(found) >= processes

        await eventually(reported, f"{model}@{version} in {RuntimeState.Name(state)}")
        return found[0].message

    async def endpoint(
        self,
        name: str,
        model: str,
        *,
        version: str = "",
        alias: str = "",
        route: Route | None = None,
        allow_unready: bool = False,
        **parts: Any,
    ) -> None:
        """Define an endpoint that is routed to a version or an alias, or otherwise."""
        route = route or (Route(alias=alias) if alias else Route(version=version))
        made = Endpoint(name=self.full(name), model=self.full(model), route=route, **parts)
        await self.apply(registry_pb.Resource(endpoint=made), allow_unready=allow_unready)
        deletion = registry_pb.DeleteRequest(endpoint=made.name)
        if deletion not in self._made:
            self._made.append(deletion)

    async def serve(self, name: str, onnx: OnnxModel, sources: Mapping[str, Sequence[str]], **parts: Any) -> None:
        """Define a model with version 1.0.0 and an endpoint of the same name, and wait until it is ready."""
        await self.model(name)
        await self.register(name, "1.0.0", onnx, sources)
        await self.until_runtime(name, "1.0.0")
        await self.endpoint(name, name, version="1.0.0", **parts)

    async def write(
        self, view: str, keys: Mapping[str, Any], values: Mapping[str, Any], *, at_us: int | Sequence[int] = NOON_US
    ) -> None:
        """Write rows, as soon as the feature service knows the view."""
        times = [at_us] if isinstance(at_us, int) else at_us
        batch = features_pb.FeatureBatch(
            view=self.full(view), keys=tensors(keys), values=tensors(values), event_time_us=times
        )

        async def written() -> bool:
            try:
                request = features_pb.WriteFeaturesRequest(batch=batch)
                response = await self.mesh.features.WriteFeatures(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if failure_of(error).reason == "UNKNOWN_VIEW":
                    return False
                raise
            assert not response.rejected
            return True

        await eventually(written, f"view {view} at the feature service")

    def request(
        self,
        endpoint: str,
        entities: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        *,
        as_of_us: int | None = NOON_US,
        **parts: Any,
    ) -> gateway_pb.PredictRequest:
        """A request; stored features to override are given as `view:field` without the namespace."""
        request = gateway_pb.PredictRequest(
            endpoint=self.full(endpoint), entities=tensors(entities or {}), features=tensors(features or {}), **parts
        )
        for column in request.features:
            if ":" in column.name:
                column.name = self.full(column.name)
        if as_of_us is not None:
            request.as_of.FromMicroseconds(as_of_us)
        return request

    async def predict(self, endpoint: str, *columns: Any, **parts: Any) -> gateway_pb.PredictResponse:
        """Send a request made of the same arguments."""
        return await self.mesh.gateway.Predict(self.request(endpoint, *columns, **parts), timeout=TIMEOUT_S)

    async def close(self) -> None:
        """End the releases under way, and delete what was defined, what names others first."""
        snapshot = (await self.mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=TIMEOUT_S)).snapshot
        for release in snapshot.releases:
            if release.endpoint.startswith(self.full("")) and release.state in UNDER_WAY:
                request = RollbackRequest(endpoint=release.endpoint)
                await self.mesh.releases.Rollback(request, timeout=TIMEOUT_S)
        order = ("endpoint", "model", "feature_view")
        # Of models the newest first, since it may be composed of those before it.
        newest_first = list(reversed(self._made))
        for deletion in sorted(newest_first, key=lambda made: order.index(made.WhichOneof("target") or "")):
            await self.mesh.registry.Delete(deletion, timeout=TIMEOUT_S)


@asynccontextmanager
async def sandbox(mesh: Mesh) -> AsyncIterator[Sandbox]:
    """Open a namespace for the time of the context."""
    opened = Sandbox(mesh)
    try:
        yield opened
    finally:
        await opened.close()


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, within_s: float = LIMIT_S) -> None:
    """Return once `condition` holds; AssertionError if it does not in time."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {within_s:g} s") from None
