"""Composed versions in the registry: registering and deleting them, their log, and what may answer callers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.types.v1.tensor_pb2 import Tensor as PbTensor
from services.mesh.errors import Code, MeshError, Reason
from services.registry.convert import decode
from services.registry.definitions import (
    Artifact,
    DataType,
    GoldenSet,
    Graph,
    Route,
    Tensor,
    TrainingProfile,
    Version,
)
from tests.support.definitions import SHA256, asked, endpoint, field, model, spec, version, view
from tests.support.graphs import composed, graph, made, stage
from tests.support.registry import Client, registry
from tests.worlds.graphs import cascade, node

MLP = node("mlp", "churn@1.0.0")
TREES = node("trees", "churn@2.0.0")
CASCADE = graph(MLP, TREES, cascade("sure", ("mlp", 0.8), "trees"), probability="sure")


async def with_nodes(full: Client) -> Client:
    """Two versions of churn, and post@1.0.0, which takes words."""
    await full.apply(model("post"))
    await full.register(version("2.0.0"))
    words = {spec("w", DataType.BYTES): asked("w")}
    await full.register(replace(made("1.0.0", words, spec("l", DataType.BYTES)), digest=""), model="post")
    return full


@pytest.fixture
async def nodes(full: Client) -> Client:
    """A registry with versions to compose of; revision 6."""
    return await with_nodes(full)


async def refused(client: Client, given: Version) -> MeshError:
    """The error of a registration."""
    before = await client.snapshot()
    with pytest.raises(MeshError) as caught:
        await client.register(given)
    assert before == await client.snapshot()
    return caught.value


async def test_a_composed_version_comes_back_complete(nodes: Client) -> None:
    """With what follows from its graph, in answer, snapshot and log."""
    response = await nodes.register(composed(CASCADE), reason="surer")
    assert (7, False, []) == (response.revision, response.existed, list(response.warnings))
    given = decode(response.version, Version)
    assert ["mlp.x", "trees.x"] == [each.name for each in given.signature.inputs]
    assert ["mlp.x", "trees.x"] == [each.input for each in given.bindings]
    assert (spec("probability"),) == given.signature.outputs
    assert given.graph
    assert (64, (), {"auc": 0.8}) == (len(given.digest), given.artifacts, given.metrics)
    assert response.version == (await nodes.snapshot()).models[0].versions[2]
    assert '"threshold":0.8' in (await nodes.events())[-1].payload


async def test_the_same_graph_again_is_answered_as_before(nodes: Client) -> None:
    """However much of it is said."""
    first = await nodes.register(composed(CASCADE))
    long = graph(
        MLP,
        node("trees", "churn@2.0.0"),
        cascade("sure", stage("mlp", 0.8, "mlp.y", "PROBABILITY"), "trees"),
        probability="sure.y",
    )
    again = await nodes.register(composed(long))
    assert (True, 7) == (again.existed, again.revision)
    assert first.version == again.version


async def test_a_composed_version_is_immutable(nodes: Client) -> None:
    """In its thresholds as well as in its nodes, and in what it is made of at all."""
    await nodes.register(composed(CASCADE))
    surer = graph(MLP, node("trees", "churn@2.0.0"), cascade("sure", stage("mlp", 0.9), "trees"), probability="sure")
    for given, path in ((composed(surer), "version.graph"), (version("9.0.0"), "version.signature")):
        error = await refused(nodes, given)
        assert (Reason.ALREADY_EXISTS, path) == (error.reason, error.violations[0].field)


async def digest_of(client: Client, given: Version) -> str:
    """The digest that it would be given."""
    digest: str = (await client.register(given, dry_run=True)).version.digest
    return digest


def with_default(*, optional: bool = True, **values: Any) -> Graph:
    """A node that takes words, with a default."""
    return graph(node("w", "post@1.0.0", optional=optional, defaults={"l": PbTensor(name="l", **values)}), l="w")


async def test_digests_tell_graphs_apart(nodes: Client) -> None:
    """By all that is computed; not by how good it was found to be."""
    given = composed(CASCADE)
    others = [
        composed(graph(MLP, TREES, cascade("sure", stage("mlp", 0.9), "trees"), probability="sure")),
        composed(graph(MLP, TREES, cascade("sure", ("trees", 0.8), "mlp"), probability="sure")),
        composed(graph(MLP, probability="mlp")),
        composed(graph(node("mlp", "churn@2.0.0"), probability="mlp")),
        composed(graph(node("mlp", "churn@1.0.0", optional=True, defaults={"y": [0.5]}), probability="mlp")),
        composed(graph(node("mlp", "churn@1.0.0", optional=True, defaults={"y": [0.6]}), probability="mlp")),
        composed(with_default(strings=("a",))),
        composed(with_default(blobs=(b"\xff",))),
        composed(with_default(blobs=(b"\xfe",))),
    ]
    digests = [await digest_of(nodes, each) for each in (given, *others)]
    assert len(digests) == len(set(digests))
    assert digests[0] == await digest_of(nodes, replace(given, version="9.0.1", metrics={}))


async def test_a_digest_tells_apart_what_the_nodes_are(nodes: Client) -> None:
    """A number may be given anew to other content, once nothing is made of it."""
    before = await digest_of(nodes, composed(CASCADE))
    await nodes.stub.Delete(pb.DeleteRequest(version=pb.VersionName(model="churn", version="2.0.0")))
    await nodes.register(version("2.0.0", artifacts=(Artifact("onnx", SHA256), Artifact("oip", target="host:9000"))))
    assert before != await digest_of(nodes, composed(CASCADE))


async def test_digests_of_other_versions_stay(full: Client) -> None:
    """What has been registered without a graph is what it was."""
    digest = (await full.snapshot()).models[0].versions[0].digest
    assert "b8fa433a2792511febf8a94287ce74c03184dfbf3bbfc8e569ccb45f908bded7" == digest


GIVEN: dict[str, Any] = {
    "signature": version().signature,
    "bindings": version().bindings,
    "artifacts": (Artifact("onnx", SHA256),),
    "golden": GoldenSet(SHA256),
    "training_profile": TrainingProfile((), 10),
}


@pytest.mark.parametrize("part", GIVEN)
async def test_a_graph_takes_the_place_of_all_else(nodes: Client, part: str) -> None:
    """Nothing that could not act is taken."""
    error = await refused(nodes, composed(CASCADE, **{part: GIVEN[part]}))
    assert Reason.INVALID_DEFINITION is error.reason
    assert f"version.{part}" in {violation.field for violation in error.violations}
    assert "leave it out" in error.message


async def test_a_fault_names_its_edge(nodes: Client) -> None:
    """At its path in the request."""
    error = await refused(nodes, composed(graph(MLP, node("w", "post@1.0.0", {"w": "mlp"}), l="w")))
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_DEFINITION) == (error.code, error.reason)
    assert [("version.graph.nodes[1].model.inputs[0].sources[0]", "mlp -> w.w: gives FP32, and w.w takes BYTES")] == [
        (violation.field, violation.description) for violation in error.violations
    ]


async def test_a_composed_version_is_no_node(nodes: Client) -> None:
    """Of itself neither."""
    await nodes.register(composed(CASCADE))
    error = await refused(nodes, composed(graph(node("whole", "churn@9.0.0"), probability="whole"), "9.1.0"))
    assert "churn@9.0.0 is composed itself" in error.message
    error = await refused(nodes, composed(graph(node("whole", "churn@9.2.0"), probability="whole"), "9.2.0"))
    assert Reason.UNKNOWN_VERSION is error.reason


def deletion(name: str, number: str) -> pb.DeleteRequest:
    """Of a version."""
    return pb.DeleteRequest(version=pb.VersionName(model=name, version=number))


async def test_nodes_stay_as_long_as_what_is_composed_of_them(nodes: Client) -> None:
    """Then they can go, and so can their bytes."""
    await nodes.register(composed(graph(node("trees", "churn@2.0.0"), node("w", "post@1.0.0"), y="trees", l="w")))
    for request in (deletion("churn", "2.0.0"), deletion("post", "1.0.0"), pb.DeleteRequest(model="post")):
        with pytest.raises(MeshError) as caught:
            await nodes.stub.Delete(request)
        assert (Code.FAILED_PRECONDITION, Reason.IN_USE) == (caught.value.code, caught.value.reason)
        assert "of churn@9.0.0" in caught.value.message
    for name, number in (("churn", "9.0.0"), ("churn", "2.0.0"), ("post", "1.0.0")):
        await nodes.stub.Delete(deletion(name, number))


async def test_views_that_nodes_read_stay(nodes: Client) -> None:
    """A composed version is one more reader of them."""
    await nodes.register(composed(CASCADE))
    with pytest.raises(MeshError) as caught:
        await nodes.stub.Delete(pb.DeleteRequest(feature_view="rider_stats"))
    assert "churn@9.0.0" in caught.value.message
    await nodes.apply(endpoint(route=Route(version="9.0.0")))
    with pytest.raises(MeshError) as caught:
        await nodes.apply(view(fields=(field(default_value=Tensor(floats=(1.0,))), field("rating"))))
    assert "churn@9.0.0 reads trips and answers callers" in caught.value.message


async def test_a_restart_and_a_copy_keep_composed_versions(tmp_path: Path) -> None:
    """With their bytes, so that their digests hold."""
    async with registry(tmp_path / "first") as client:
        await client.apply(view(), model())
        await client.upload()
        await client.register()
        await with_nodes(client)
        await client.register(composed(CASCADE))
        await client.register(composed(with_default(blobs=(b"\xff",)), "9.1.0"))
        before, events = await client.snapshot(), await client.events()
    async with registry(tmp_path / "first") as client:
        assert before == await client.snapshot()
        assert (await client.register(composed(with_default(blobs=(b"\xff",)), "9.1.0"))).existed
    async with registry(tmp_path / "copy") as copy:
        await copy.load(events)
        assert before.models == (await copy.snapshot()).models


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"threshold":0.8', '"threshold":0.3', "0.3 is no threshold"),
        ('"name":"probability"', '"name":"score"', "is not what follows from the graph"),
        ('"name":"mlp.x"', '"name":"mlp.z"', "is not what follows from the graph"),
        ('"version":"2.0.0"}', '"version":"3.0.0"}', "no version '3.0.0'"),
    ],
)
async def test_a_copy_with_another_graph_is_none(nodes: Client, tmp_path: Path, old: str, new: str, text: str) -> None:
    """It would compute something else than was registered."""
    await nodes.register(composed(CASCADE))
    events = await nodes.events()
    assert old in events[-1].payload
    events[-1].payload = events[-1].payload.replace(old, new, 1)
    async with registry(tmp_path / "copy") as copy:
        with pytest.raises(MeshError) as caught:
            await copy.load(events)
        assert Code.INVALID_ARGUMENT is caught.value.code
        assert text in caught.value.message
        assert 0 == (await copy.snapshot()).revision


async def gates(client: Client) -> dict[str, bool]:
    """Which gates of churn@9.0.0 are passed."""
    request = release_pb.CheckGatesRequest(model="churn", version="9.0.0")
    return {gate.name: gate.passed for gate in (await client.releases.CheckGates(request)).gates}


async def test_a_composed_version_answers_when_its_nodes_are_ready(nodes: Client) -> None:
    """Released as any other: the endpoint as a whole has a version."""
    await nodes.register(composed(CASCADE))
    first, second, _ = (await nodes.snapshot()).models[0].versions
    await nodes.report(first)
    assert {"node/trees/ready"} == {name for name, passed in (await gates(nodes)).items() if not passed}
    start = release_pb.StartReleaseRequest(endpoint="churn", candidate="9.0.0", actor="test")
    with pytest.raises(MeshError) as caught:
        await nodes.releases.StartRelease(start)
    assert Reason.GATE_FAILED is caught.value.reason
    assert ["node/trees/ready"] == [violation.field for violation in caught.value.violations]
    await nodes.report(first, second)
    assert all((await gates(nodes)).values())
    assert "9.0.0" == (await nodes.releases.StartRelease(start)).release.candidate
    await nodes.releases.Promote(release_pb.PromoteRequest(endpoint="churn", actor="test"))
    assert "9.0.0" == (await nodes.snapshot()).models[0].aliases["champion"]
