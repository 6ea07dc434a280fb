"""What callers, shadows and releases lead to stays, and so do the bytes that versions need."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import Artifact, Endpoint, GoldenSet, Route, Shadow, Version, WeightedVersion
from tests.integration.registry.test_golden import GOOD
from tests.support.definitions import CONTENT, SHA256, endpoint, version
from tests.support.registry import Client

BYTES = b"the bytes of another model"
OTHER = hashlib.sha256(BYTES).hexdigest()


def deletion(number: str) -> pb.DeleteRequest:
    """Of a version."""
    return pb.DeleteRequest(version=pb.VersionName(model="churn", version=number))


LEADING: dict[str, tuple[Endpoint, str]] = {
    "a version": (endpoint("e", route=Route(version="1.1.0")), "route of endpoint e"),
    "a range": (endpoint("e", route=Route(range="1.1.x")), "route of endpoint e (1.1.x)"),
    "a weight": (
        endpoint("e", route=Route(weights=(WeightedVersion("1.0.0", 99.0), WeightedVersion("1.1.0", 1.0)))),
        "route of endpoint e",
    ),
    "a shadow": (
        endpoint("e", route=Route(version="1.0.0"), shadow=Shadow("1.1.0", 10.0)),
        "shadow of endpoint e",
    ),
}


@pytest.mark.parametrize(("given", "user"), LEADING.values(), ids=LEADING.keys())
async def test_a_version_that_an_endpoint_leads_to_stays(full: Client, given: Endpoint, user: str) -> None:
    """However it is named; once nothing names it, it can go."""
    await full.register(version("1.1.0"))
    await full.apply(given)
    before = await full.snapshot()
    with pytest.raises(MeshError) as caught:
        await full.stub.Delete(deletion("1.1.0"))
    assert (Code.FAILED_PRECONDITION, Reason.IN_USE) == (caught.value.code, caught.value.reason)
    assert user in caught.value.message
    assert before == await full.snapshot()
    await full.stub.Delete(pb.DeleteRequest(endpoint="e"))
    await full.stub.Delete(deletion("1.1.0"))


async def test_a_range_holds_only_the_version_that_it_leads_to(full: Client) -> None:
    """An older one that it matches can go."""
    await full.register(version("1.1.0"))
    await full.register(version("1.1.1"))
    await full.apply(endpoint("e", route=Route(range="1.1.x")))
    await full.stub.Delete(deletion("1.1.0"))
    with pytest.raises(MeshError, match="endpoint e"):
        await full.stub.Delete(deletion("1.1.1"))


def needing(content: bytes, number: str) -> Version:
    """A version made of these bytes."""
    return version(number, artifacts=(Artifact("onnx", hashlib.sha256(content).hexdigest()),))


async def test_an_artifact_that_a_version_needs_stays(full: Client, tmp_path: Path) -> None:
    """Also where several need it; the caller is told which."""
    await full.register(version("1.1.0"))
    with pytest.raises(MeshError, match=r"churn@1\.0\.0, churn@1\.1\.0") as caught:
        await full.stub.Delete(pb.DeleteRequest(artifact=SHA256))
    assert (Code.FAILED_PRECONDITION, Reason.IN_USE) == (caught.value.code, caught.value.reason)
    assert ["artifact"] == [each.field for each in caught.value.violations]
    assert CONTENT == (tmp_path / "objects" / "artifacts" / SHA256).read_bytes()


async def test_a_golden_set_that_a_version_needs_stays(full: Client) -> None:
    """It is an artifact, too."""
    await full.upload(GOOD)
    digest = hashlib.sha256(GOOD).hexdigest()
    await full.register(replace(version("1.1.0"), golden=GoldenSet(digest)))
    with pytest.raises(MeshError, match=r"churn@1\.1\.0") as caught:
        await full.stub.Delete(pb.DeleteRequest(artifact=digest))
    assert Reason.IN_USE == caught.value.reason


async def test_an_artifact_goes_after_its_last_version(full: Client, tmp_path: Path) -> None:
    """Its bytes are gone, the definitions are as they were, and it can be uploaded anew."""
    await full.upload(BYTES)
    await full.register(needing(BYTES, "1.1.0"))
    await full.stub.Delete(deletion("1.1.0"))
    before = await full.snapshot()
    response = await full.stub.Delete(pb.DeleteRequest(artifact=OTHER))
    assert before.revision == response.revision
    assert not (tmp_path / "objects" / "artifacts" / OTHER).exists()
    assert before == await full.snapshot()
    assert not (await full.upload(BYTES)).existed


@pytest.mark.parametrize("digest", ["", "0" * 64, OTHER.upper(), "../snapshots/current"])
async def test_an_artifact_that_is_not_there_cannot_be_deleted(full: Client, digest: str, tmp_path: Path) -> None:
    """A mistyped digest is an error, and no path leads elsewhere."""
    await full.upload(BYTES)
    with pytest.raises(MeshError) as caught:
        await full.stub.Delete(pb.DeleteRequest(artifact=digest))
    assert (Code.NOT_FOUND, Reason.UNKNOWN_ARTIFACT) == (caught.value.code, caught.value.reason)
    assert {SHA256, OTHER} == {path.name for path in (tmp_path / "objects" / "artifacts").iterdir()}
