"""Snapshots as messages, each made once for all who read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.endpoint_pb2 import Endpoint
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.release_pb2 import Release
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.registry import definitions
from services.registry.convert import encode
from services.registry.errors import SnapshotTooLarge
from services.registry.ledger import Revision


class Snapshots:
    """Messages of revisions, of at most `max_bytes`; `now` is the time in UTC.

    Messages that are concatenated are merged, lists appended: so the bytes of every definition are kept, a change
    encodes what it changed, and a snapshot is their concatenation.
    """

    def __init__(self, max_bytes: int, now: Callable[[], datetime]) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._parts = _Parts({})
        self._data: tuple[Revision, bytes] | None = None
        self._response: tuple[Revision, pb.WatchSnapshotResponse] | None = None

    def admit(self, revision: Revision) -> None:
        """Refuse a revision that readers could not receive."""
        size = len(self.data(revision))
        if size > self._max_bytes:
            raise SnapshotTooLarge(
                f"all definitions together would be {size} bytes and {self._max_bytes} can be sent: delete old versions",
                size_bytes=size,
            )

    def data(self, revision: Revision) -> bytes:
        """The snapshot of a revision, serialized."""
        if self._data is None or self._data[0] is not revision:
            head = Snapshot(revision=revision.number, log_id=revision.log_id)
            head.create_time.FromDatetime(self._now())
            self._parts = _Parts(self._parts.kept)
            self._data = (revision, head.SerializeToString() + self._parts.join(revision))
        return self._data[1]

    def message(self, revision: Revision) -> Snapshot:
        """The snapshot of a revision; not to be changed."""
        return self.response(revision).snapshot

    def response(self, revision: Revision) -> pb.WatchSnapshotResponse:
        """What a watcher is sent; not to be changed."""
        if self._response is None or self._response[0] is not revision:
            response = pb.WatchSnapshotResponse(revision=revision.number)
            response.snapshot.ParseFromString(self.data(revision))
            self._response = (revision, response)
        return self._response[1]


class _Parts:
    """The bytes of each definition of one revision; those of the revision before are taken over where it is the same."""

    def __init__(self, known: dict[int, tuple[object, bytes]]) -> None:
        self._known = known
        # By identity, which the definition beside the bytes keeps from being given to another.
        self.kept: dict[int, tuple[object, bytes]] = {}

    def join(self, revision: Revision) -> bytes:
        """Everything in the catalog."""
        catalog = revision.catalog
        return b"".join(
            [
                *(self._part(view, _view) for view in catalog.views.values()),
                *map(self._model, catalog.models.values()),
                *(self._part(endpoint, _endpoint) for endpoint in catalog.endpoints.values()),
                *(self._part(release, _release) for release in catalog.releases.values()),
            ]
        )

    def _part(self, definition: object, serialize: Callable[..., bytes]) -> bytes:
        entry = self._known.get(id(definition)) or (definition, serialize(definition))
        self.kept[id(definition)] = entry
        return entry[1]

    def _model(self, model: definitions.Model) -> bytes:
        """Versions have parts of their own: a model changes often, and they never do."""
        versions = [self._part(version, _version) for version in model.versions]
        return self._part(model, lambda _: _snapshot_of_model(model, versions))


def _snapshot_of_model(model: definitions.Model, versions: list[bytes]) -> bytes:
    head = encode(replace(model, versions=()), Model()).SerializeToString()
    return Snapshot(models=[Model.FromString(b"".join([head, *versions]))]).SerializeToString()


def _view(view: definitions.FeatureView) -> bytes:
    return Snapshot(feature_views=[encode(view, FeatureView())]).SerializeToString()


def _version(version: definitions.Version) -> bytes:
    # Training profiles are most of a version's bytes, and nobody on the path of a prediction reads them.
    served = replace(version, training_profile=None)
    return Model(versions=[encode(served, Version())]).SerializeToString()


def _endpoint(endpoint: definitions.Endpoint) -> bytes:
    return Snapshot(endpoints=[encode(endpoint, Endpoint())]).SerializeToString()


def _release(release: definitions.Release) -> bytes:
    return Snapshot(releases=[encode(release, Release())]).SerializeToString()
