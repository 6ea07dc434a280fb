"""The rpcs of the registry: decode, call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Version as PbVersion
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceServicer
from services.mesh.context import caller_name
from services.mesh.errors import InvalidArgument, MissingField
from services.mesh.methods import ServerContext
from services.registry.convert import decode, decode_event, decode_resource, decode_target, decode_version, encode
from services.registry.ledger import Author
from services.registry.readiness import RuntimeStatus
from services.registry.registry import Registry
from services.registry.snapshots import Snapshots
from services.registry.vetting import Waivers
from services.registry.watching import watch

DEFAULT_PAGE = 100
MAX_PAGE = 1000


class RegistryServicer(RegistryServiceServicer):
    """Serves `registry`; a watcher gets a sign of life every `heartbeat_s`, a page of events is about `page_bytes`."""

    def __init__(self, registry: Registry, snapshots: Snapshots, *, heartbeat_s: float, page_bytes: int) -> None:
        self._registry = registry
        self._ledger = registry.ledger
        self._snapshots = snapshots
        self._heartbeat_s = heartbeat_s
        self._page_bytes = page_bytes

    async def Apply(self, request: pb.ApplyRequest, context: ServerContext) -> pb.ApplyResponse:
        """Create or update resources."""
        revision, applied = await self._registry.apply(
            [decode_resource(resource) for resource in request.resources],
            _author(request, context),
            dry_run=request.dry_run,
            waivers=Waivers(allow_unready=request.allow_unready, force=request.force),
            expected_revision=request.expected_revision if request.HasField("expected_revision") else None,
        )
        changes = [encode(change, pb.ResourceChange()) for change in applied.changes]
        return pb.ApplyResponse(revision=revision, changes=changes)

    async def RegisterVersion(
        self, request: pb.RegisterVersionRequest, context: ServerContext
    ) -> pb.RegisterVersionResponse:
        """Add a version."""
        revision, registered = await self._registry.register(
            request.model,
            decode_version(request.version),
            _author(request, context),
            dry_run=request.dry_run,
        )
        response = pb.RegisterVersionResponse(
            revision=revision, existed=registered.event is None, warnings=registered.warnings
        )
        encode(registered.version, response.version)
        return response

    async def GetVersion(self, request: pb.GetVersionRequest, context: ServerContext) -> pb.GetVersionResponse:
        """Answer one version."""
        version = self._registry.version(request.name.model, request.name.version)
        return pb.GetVersionResponse(version=encode(version, PbVersion()))

    async def UploadArtifact(
        self, request: AsyncIterator[pb.UploadArtifactRequest], context: ServerContext
    ) -> pb.UploadArtifactResponse:
        """Store an artifact."""
        first = await anext(request, pb.UploadArtifactRequest())
        if not first.HasField("header"):
            raise MissingField("the first message is the header", field="header")
        header = first.header
        existed = await self._registry.artifacts.upload(header.sha256, header.size_bytes, _chunks(request))
        return pb.UploadArtifactResponse(sha256=header.sha256, size_bytes=header.size_bytes, existed=existed)

    async def Delete(self, request: pb.DeleteRequest, context: ServerContext) -> pb.DeleteResponse:
        """Delete a resource."""
        return pb.DeleteResponse(
            revision=await self._registry.delete(decode_target(request), _author(request, context))
        )

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: ServerContext) -> pb.GetSnapshotResponse:
        """Answer the present definitions."""
        return pb.GetSnapshotResponse(snapshot=self._snapshots.message(self._ledger.newest.value))

    async def WatchSnapshot(
        self, request: pb.WatchSnapshotRequest, context: ServerContext
    ) -> AsyncIterator[pb.WatchSnapshotResponse]:
        """Send snapshots as they come."""
        newest = self._ledger.newest
        async for revision in watch(newest, request.known_log_id, request.known_revision, self._heartbeat_s):
            if revision is None:
                yield pb.WatchSnapshotResponse(revision=newest.value.number)
            else:
                yield self._snapshots.response(revision)

    async def ReportRuntime(self, request: pb.ReportRuntimeRequest, context: ServerContext) -> pb.ReportRuntimeResponse:
        """Take a model process's word."""
        statuses = tuple(decode(status, RuntimeStatus) for status in request.runtimes)
        self._registry.readiness.report(request.instance_id, statuses)
        return pb.ReportRuntimeResponse(expires_in_ms=int(self._registry.readiness.expiry_s * 1000))

    async def ListRuntimes(self, request: pb.ListRuntimesRequest, context: ServerContext) -> pb.ListRuntimesResponse:
        """List what model processes said."""
        reports = self._registry.readiness.reports()
        return pb.ListRuntimesResponse(instances=[encode(report, pb.InstanceReport()) for report in reports])

    async def ListEvents(self, request: pb.ListEventsRequest, context: ServerContext) -> pb.ListEventsResponse:
        """List events of the log."""
        if not 0 <= request.page_size <= MAX_PAGE:
            raise InvalidArgument(f"a page has 1 to {MAX_PAGE} events", field="page_size")
        size = request.page_size or DEFAULT_PAGE
        events = await self._ledger.events(request.after_revision, size, self._page_bytes)
        return pb.ListEventsResponse(events=[encode(event, pb.Event()) for event in events])

    async def ImportEvents(
        self, request: AsyncIterator[pb.ImportEventsRequest], context: ServerContext
    ) -> pb.ImportEventsResponse:
        """Write the events of a backup."""
        events = [decode_event(each) async for each in request]
        return pb.ImportEventsResponse(revision=await self._ledger.load(events))


def _author(request: pb.ApplyRequest | pb.RegisterVersionRequest | pb.DeleteRequest, context: ServerContext) -> Author:
    return Author.asking(caller_name() or request.actor or context.peer(), request.reason)


async def _chunks(requests: AsyncIterator[pb.UploadArtifactRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not request.HasField("chunk"):
            raise InvalidArgument("after the header come chunks", field="chunk")
        yield request.chunk
