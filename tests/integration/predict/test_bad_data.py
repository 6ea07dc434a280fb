"""Bad features, artifacts and definitions: each is refused with its reason, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_FAILED
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from tests.support.onnx_models import OnnxModel, linear
from tests.worlds.failures import failure
from tests.worlds.resources import tensors, values, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

GOOD = {"rider_id": ["a"], "number": [1]}
GOOD_TRIP = {"path": [[1.0, 2.0]], "count": [1]}
INVALID = "INVALID_ARGUMENT"


BAD_WRITES: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[int], str, str, str]] = {
    "unknown view": ("nobody", GOOD, {"fare": [1.0]}, [1], "NOT_FOUND", "UNKNOWN_VIEW", "batch.view"),
    "unknown field": ("trip", GOOD, {"tip": [1.0]}, [1], INVALID, "UNKNOWN_FIELD", "batch.values[0]"),
    "wrong type": ("trip", GOOD, {"fare": ["x"]}, [1], INVALID, "TYPE_MISMATCH", "batch.values[0].strings"),
    "missing key column": ("trip", {"number": [1]}, {"fare": [1.0]}, [1], INVALID, "MISSING_KEY", "batch.keys"),
    "unknown key column": (
        "trip",
        {**GOOD, "x": [1]},
        {"fare": [1.0]},
        [1],
        INVALID,
        "UNKNOWN_ENTITY",
        "batch.keys[2]",
    ),
    "uneven columns": ("trip", GOOD, {"fare": [1.0, 2.0]}, [1], INVALID, "LENGTH_MISMATCH", "batch.values[0].floats"),
    "uneven times": ("trip", GOOD, {"fare": [1.0]}, [1, 2], INVALID, "LENGTH_MISMATCH", "batch.event_time_us"),
    "no time": ("trip", GOOD, {"fare": [1.0]}, [], INVALID, "MISSING_FIELD", "batch.event_time_us"),
}


@pytest.mark.parametrize(
    ("name", "keys", "columns", "times", "code", "reason", "path"), BAD_WRITES.values(), ids=BAD_WRITES.keys()
)
async def test_a_bad_write_is_refused(
    trips: Sandbox,
    name: str,
    keys: dict[str, Any],
    columns: dict[str, Any],
    times: list[int],
    code: str,
    reason: str,
    path: str,
) -> None:
    """Nothing of it is stored."""
    batch = features_pb.FeatureBatch(
        view=trips.full(name), keys=tensors(keys), values=tensors(columns), event_time_us=times
    )
    call = trips.mesh.features.WriteFeatures(features_pb.WriteFeaturesRequest(batch=batch), timeout=TIMEOUT_S)
    assert (code, reason, (path,)) == (await failure(call)).short
    answer = await trips.predict("trip", GOOD, GOOD_TRIP)
    assert ([1.0], [2, 1]) == (values(answer.outputs[0]), values(answer.outputs[2]))


async def test_a_corrupt_artifact_is_refused(own: Sandbox) -> None:
    """An upload whose bytes are not those that its header promises is not stored."""
    header = registry_pb.ArtifactHeader(sha256="0" * 64, size_bytes=4)
    parts = [
        registry_pb.UploadArtifactRequest(header=header),
        registry_pb.UploadArtifactRequest(chunk=b"four"),
    ]
    found = await failure(own.mesh.registry.UploadArtifact(iter(parts), timeout=TIMEOUT_S))
    assert ("INVALID_ARGUMENT", "DIGEST_MISMATCH", ("header.sha256",)) == found.short


async def test_a_binding_to_a_view_that_does_not_exist(own: Sandbox) -> None:
    """It is refused when it is registered."""
    await own.model("bound")
    found = await failure(own.register("bound", "1.0.0", linear(1.0, width=1), {"x": ["nothing:x"]}))
    assert (INVALID, "INVALID_BINDING", ("version.bindings[0].sources[0].field.view",)) == found.short


@pytest.mark.parametrize("bad", ["no model", "another signature"])
async def test_a_version_that_cannot_be_loaded(own: Sandbox, bad: str) -> None:
    """It says FAILED and why, nothing can be routed to it, and the version before goes on answering."""
    name = bad.replace(" ", "-")
    await own.serve(name, linear(1.0, width=1), {"x": ["request:x"]})
    content = b"no model" if bad == "no model" else linear(1.0, width=2).content
    await own.register(name, "2.0.0", OnnxModel(content, linear(1.0, width=1).signature), {"x": ["request:x"]})
    message = await own.until_runtime(name, "2.0.0", RUNTIME_STATE_FAILED)
    assert ("does not load the model" if bad == "no model" else "does not match its signature") in message
    found = await failure(own.endpoint(name, name, version="2.0.0"))
    assert ("FAILED_PRECONDITION", "VERSION_NOT_READY") == (found.code, found.reason)
    assert [3.0] == values((await own.predict(name, {}, {"x": [3.0]})).outputs[0])
    pinned = await failure(own.predict(name, {}, {"x": [3.0]}, version="2.0.0"))
    assert ("UNAVAILABLE", "VERSION_NOT_LOADED") == (pinned.code, pinned.reason)


async def test_bad_requests_have_changed_no_definition(own: Sandbox) -> None:
    """A refused Apply leaves the revision as it is."""
    before = (await own.mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=TIMEOUT_S)).snapshot
    for resource in (registry_pb.Resource(), registry_pb.Resource(feature_view=view("UPPER", entity="e", keys={}))):
        await failure(own.mesh.registry.Apply(registry_pb.ApplyRequest(resources=[resource]), timeout=TIMEOUT_S))
    after = (await own.mesh.registry.GetSnapshot(registry_pb.GetSnapshotRequest(), timeout=TIMEOUT_S)).snapshot
    assert before.revision == after.revision
