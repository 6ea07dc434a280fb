"""Snapshots as messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.registry.catalog import Catalog
from services.registry.changes import ResourceDeleted, ResourcesApplied, VersionRegistered
from services.registry.errors import SnapshotTooLarge
from services.registry.ledger import Revision
from services.registry.snapshots import Snapshots
from tests.support.definitions import endpoint, field, model, version, view

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = (
    ResourcesApplied((view("a"), view("b")), (model("m"), model("n")), (endpoint("e"),)),
    VersionRegistered("m", version("1.0.0")),
    VersionRegistered("m", version("1.1.0")),
    ResourcesApplied(models=(model("m", champion="1.0.0"),)),
    ResourcesApplied((replace(view("a"), fields=(*view("a").fields, field("new"))),)),
    ResourceDeleted("version", "m", "1.1.0"),
    ResourceDeleted("feature_view", "b"),
    ResourcesApplied((view("b", description="again"),)),
    ResourceDeleted("model", "n"),
    ResourceDeleted("endpoint", "e"),
)


def revisions() -> list[Revision]:
    """One after each change."""
    shown = [Revision("log", 0, Catalog())]
    for change in HISTORY:
        shown.append(Revision("log", shown[-1].number + 1, shown[-1].catalog.after(change)))
    return shown


def test_what_is_taken_over_is_what_would_be_made() -> None:
    """A snapshot does not depend on those before it."""
    snapshots = Snapshots(1_000_000, lambda: NOW)
    for revision in revisions():
        fresh = Snapshots(1_000_000, lambda: NOW)
        assert snapshots.data(revision) == fresh.data(revision)
        assert snapshots.message(revision) == Snapshot.FromString(fresh.data(revision))


def test_a_snapshot_holds_everything() -> None:
    """Definitions come in the order in which they were made, versions within their model."""
    snapshots = Snapshots(1_000_000, lambda: NOW)
    message = snapshots.message(revisions()[4])
    assert (message.revision, message.log_id) == (4, "log")
    assert message.create_time.ToDatetime(UTC) == NOW
    assert [each.name for each in message.feature_views] == ["a", "b"]
    assert [[version.version for version in each.versions] for each in message.models] == [["1.0.0", "1.1.0"], []]
    assert dict(message.models[0].aliases) == {"champion": "1.0.0"}
    assert [each.name for each in message.endpoints] == ["e"]


def test_a_message_is_made_once() -> None:
    """However many watch."""
    snapshots, revision = Snapshots(1_000_000, lambda: NOW), revisions()[-1]
    assert snapshots.response(revision) is snapshots.response(revision)


def test_too_large_a_snapshot_is_refused() -> None:
    """The caller learns the size, and what to do."""
    revision = revisions()[4]
    size = len(Snapshots(1_000_000, lambda: NOW).data(revision))
    Snapshots(size, lambda: NOW).admit(revision)
    with pytest.raises(SnapshotTooLarge, match="delete"):
        Snapshots(size - 1, lambda: NOW).admit(revision)
