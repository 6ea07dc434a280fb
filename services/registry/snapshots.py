"""Snapshots as messages, each made once for all who read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.endpoint_pb2 import Endpoint
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.registry import definitions
from services.registry.convert import encode
from services.registry.errors import SnapshotTooLarge
from services.registry.ledger import Revision

M = TypeVar("M", bound=Message)


class Snapshots:
    """Messages of revisions, of at most `max_bytes`; `now` is the time in UTC.

    The message of the last revision is kept, and that of every definition in it: a change encodes what it changed.
    """

    def __init__(self, max_bytes: int, now: Callable[[], datetime]) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._last: tuple[Revision, pb.WatchSnapshotResponse] | None = None
        # By identity, which the definition beside the message keeps from being given to another.
        self._known: dict[int, tuple[object, Message]] = {}

    def admit(self, revision: Revision) -> None:
        """Refuse a revision that readers could not receive."""
        size = self.response(revision).ByteSize()
        if size > self._max_bytes:
            raise SnapshotTooLarge(
                f"all definitions together would be {size} bytes and {self._max_bytes} can be sent: delete old versions",
                size_bytes=size,
            )

    def message(self, revision: Revision) -> Snapshot:
        """The snapshot of a revision; not to be changed."""
        return self.response(revision).snapshot

    def response(self, revision: Revision) -> pb.WatchSnapshotResponse:
        """What a watcher is sent; not to be changed."""
        if self._last is None or self._last[0] is not revision:
            response = pb.WatchSnapshotResponse(revision=revision.number, snapshot=self._snapshot(revision))
            self._last = (revision, response)
        return self._last[1]

    def _snapshot(self, revision: Revision) -> Snapshot:
        known, self._known = self._known, {}
        catalog = revision.catalog
        snapshot = Snapshot(
            revision=revision.number,
            log_id=revision.log_id,
            feature_views=[self._message(each, FeatureView, known) for each in catalog.views.values()],
            models=[self._model(each, known) for each in catalog.models.values()],
            endpoints=[self._message(each, Endpoint, known) for each in catalog.endpoints.values()],
        )
        snapshot.create_time.FromDatetime(self._now())
        return snapshot

    def _model(self, model: definitions.Model, known: dict[int, tuple[object, Message]]) -> Model:
        message = encode(replace(model, versions=()), Model())
        message.versions.extend(self._message(version, Version, known) for version in model.versions)
        return message

    def _message(self, definition: object, kind: type[M], known: dict[int, tuple[object, Message]]) -> M:
        entry = known.get(id(definition)) or (definition, encode(definition, kind()))
        self._known[id(definition)] = entry
        message = entry[1]
        assert isinstance(message, kind)
        return message
