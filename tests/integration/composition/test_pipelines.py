"""Graphs of several models: pre- and postprocessing, and models that take what others give, beside features of their own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from services.model.versions import Signature, TensorSpec
from tests.support.scripted_models import scalar
from tests.worlds.compositions import Compositions, looked_up, output, path, until_waiting
from tests.worlds.failures import failure, status_failure
from tests.worlds.graphs import ensemble, graph, node
from tests.worlds.models import affine, labelled, tables
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, TIMEOUT_S

RIDER = {"rider_id": "STRING"}
RIDERS = {"one": (2.0, 4.0), "two": (-1.0, 3.0), "three": (0.5, 5.0)}
SCALE = np.array([[0.5, 0.0], [0.0, 0.25]], np.float32)
LEFT = np.array([[1.0], [-2.0]], np.float32)
RIGHT = np.array([[3.0, 0.5], [0.25, 1.0]], np.float32)
STACK = np.array([[1.0, 0.0], [0.5, 1.0], [0.25, -1.0], [0.125, 2.0]], np.float32)


def naive(rider: str, hour: float) -> tuple[list[float], str, float]:
    """Score, label and what the left one makes of it, of one row."""
    trips, rating = RIDERS[rider]
    scaled = np.array([trips, hour], np.float32) @ SCALE + np.float32(1)
    left, right = scaled @ LEFT, scaled @ RIGHT
    score = np.concatenate([left, right, np.array([rating], np.float32)]) @ STACK
    return score.tolist(), "no" if score[0] >= score[1] else "yes", float(left[0])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stacked(whole: Compositions) -> Compositions:
    """Endpoint `stacked`: a preprocessing node, two models of what it gives, one of both and a feature, and labels."""
    await whole.own.view(view("rider", field("trips"), field("rating"), entity="rider", keys=RIDER))
    await whole.onnx("scale", affine(SCALE, 1.0), x=["rider:trips", "request:hour"])
    # What these are bound to is what they take where no other node feeds them.
    await whole.onnx("left", affine(LEFT), x=["request:left"])
    await whole.onnx("right", affine(RIGHT), x=["request:right"])
    await whole.onnx("stack", affine(STACK), x=["request:members"])
    await whole.onnx("label", labelled(b"no", b"yes"), p=["request:scores"])
    await whole.onnx("rating", affine([[1.0]]), x=["rider:rating"])
    nodes = [
        node("pre", "scale@1.0.0"),
        node("left", "left@1.0.0", {"x": "pre.y"}),
        node("right", "right@1.0.0", {"x": "pre"}),
        node("rating", "rating@1.0.0"),
        node("stack", "stack@1.0.0", {"x": ["left.y", "right.y", "rating.y"]}),
        node("post", "label@1.0.0", {"p": "stack.y"}),
    ]
    await whole.serve("stacked", graph(*nodes, label="post", score="stack.y", left="left"))
    keys = {"rider_id": list(RIDERS)}
    stored = {"trips": [trips for trips, _ in RIDERS.values()], "rating": [rating for _, rating in RIDERS.values()]}
    await whole.own.write("rider", keys, stored)
    return whole


async def test_every_row_is_what_its_nodes_make(stacked: Compositions) -> None:
    """Ports are put together in their order, features come from the store and the request, rows stay apart."""
    choose = np.random.default_rng(3)

    async def ask(riders: list[str], hours: list[float]) -> None:
        answer = await stacked.own.predict("stacked", {"rider_id": riders}, {"hour": hours})
        assert not answer.row_errors
        assert not answer.provenance.degradations
        found = [naive(rider, hour) for rider, hour in zip(riders, hours, strict=True)]
        assert [label for _, label, _ in found] == output(answer, "label")
        assert pytest.approx([value for score, _, _ in found for value in score], rel=1e-5) == output(answer, "score")
        assert pytest.approx([left for _, _, left in found], rel=1e-5) == output(answer, "left")

    requests = [[str(choose.choice(list(RIDERS))) for _ in range(choose.integers(1, 20))] for _ in range(40)]
    await asyncio.gather(*(ask(riders, choose.normal(12, 5, len(riders)).tolist()) for riders in requests))


async def test_provenance(stacked: Compositions) -> None:
    """Each model of the path with its time; the version is the composed one's."""
    answer = await stacked.own.predict("stacked", {"rider_id": ["one"]}, {"hour": [1.0]}, as_of_us=NOON_US + 5_000)
    told = answer.provenance
    assert (stacked.own.full("stacked"), "1.0.0", "onnx") == (told.model, told.version, told.runtime)
    names = ["pre", "left", "right", "rating", "stack", "post"]
    assert {name: [("COMPUTED", [], "")] for name in names} == path(answer)
    assert set(names[:4]) >= {step.node for step in told.nodes[:2]}
    assert all(step.duration_us > 0 for step in told.nodes)
    assert [(stacked.own.full("rider"), 5)] == [(each.view, each.oldest_age_ms) for each in told.views]
    assert {"queue", "features", "model"} == {hop.name for hop in told.hops}


async def test_sample_request(stacked: Compositions) -> None:
    """Callers are told what the nodes take that no other node feeds, and the request that is shown works."""
    listed = await stacked.own.mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=TIMEOUT_S)
    info = next(each for each in listed.endpoints if each.name == stacked.own.full("stacked"))
    assert ["rider_id"] == [each.name for each in info.sample.entities]
    assert ["hour"] == [each.name for each in info.sample.features]
    answer = await stacked.own.mesh.gateway.Predict(info.sample, timeout=TIMEOUT_S)
    assert ["label", "score", "left"] == [each.name for each in answer.outputs]


async def test_explain(stacked: Compositions) -> None:
    """What is shown are the inputs that come from outside, by node."""
    request = stacked.own.request("stacked", {"rider_id": ["one"]}, {"hour": [8.0]})
    explain = gateway_pb.ExplainRequest(request=request)
    explained = await stacked.own.mesh.gateway.Explain(explain, timeout=TIMEOUT_S)
    shown = {(each.input, tuple(values(each.value))) for each in explained.inputs}
    assert {("pre.x", (2.0,)), ("pre.x", (8.0,)), ("rating.x", (4.0,))} == shown
    score, label, _ = naive("one", 8.0)
    assert [label] == output(explained.prediction, "label")
    assert pytest.approx(score) == output(explained.prediction, "score")


async def test_features_from_the_request(stacked: Compositions) -> None:
    """A caller may bring a stored feature for any node; what a node feeds he may not."""
    brought = {"hour": [1.0], "rider:rating": [9.0]}
    answer = await stacked.own.predict("stacked", {"rider_id": ["one"]}, brought)
    usual = await stacked.own.predict("stacked", {"rider_id": ["one"]}, {"hour": [1.0]})
    assert pytest.approx(output(usual, "score")[0] + 5 * 0.125) == output(answer, "score")[0]
    given = stacked.own.predict("stacked", {"rider_id": ["one"]}, {"hour": [1.0], "left": [[1.0, 2.0]]})
    assert "UNKNOWN_FIELD" == (await failure(given)).reason


async def test_row_whose_feature_is_missing(stacked: Compositions) -> None:
    """Text that is not stored, say: the row fails with the reason, as at a plain version."""
    await stacked.own.view(view("car", field("seats", "INT64"), entity="car", keys={"car_id": "STRING"}))
    await stacked.own.write("car", {"car_id": ["known"]}, {"seats": [1]})
    await stacked.onnx("seats", tables(y=np.array([[1.5], [2.5]], np.float32)), x=["car:seats"])
    await stacked.onnx("twice", affine([[2.0]]), x=["request:nothing"])
    nodes = [node("seats", "seats@1.0.0"), node("post", "twice@1.0.0", {"x": "seats"})]
    await stacked.serve("car", graph(*nodes, y="post"))
    answer = await stacked.own.predict("car", {"car_id": ["known", "unknown"]})
    assert 5.0 == output(answer)[0]
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "FAILED_PRECONDITION", "MISSING_FEATURE") == (row, error.code, error.reason)


async def test_independent_nodes_run_at_the_same_time(whole: Compositions) -> None:
    """Both are asked before either has answered; what takes from both comes after them, once."""
    one, other = await whole.scripts(one=looked_up(1, 2), other=looked_up(10, 20))
    total = await whole.script("total", lambda inputs: {"y": inputs["a"] + inputs["b"]}, scalar("a", "b"))
    nodes = [node("one", "one@1.0.0"), node("other", "other@1.0.0")]
    await whole.serve("at-once", graph(*nodes, node("total", "total@1.0.0", {"a": "one", "b": "other"}), y="total"))
    with one.hanging(), other.hanging():
        asked = asyncio.create_task(whole.own.predict("at-once", {}, {"x": [1.0, 2.0]}))
        await until_waiting(one, other)
        assert not total.calls
    assert [11.0, 22.0] == output(await asked)
    assert ([1.0, 2.0], [10.0, 20.0]) == (total.asked("a"), total.asked("b"))


async def test_node_that_several_take_from(whole: Compositions) -> None:
    """It is computed once, and may be an output besides."""
    shared = await whole.script("shared", looked_up(3, 5))
    pair = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", ()),))
    await whole.script("sum", lambda inputs: {"y": inputs["x"].sum(axis=1)}, pair)
    nodes = [
        node("base", "shared@1.0.0"),
        node("more", "sum@1.0.0", {"x": ["base", "base"]}),
        node("most", "sum@1.0.0", {"x": ["more", "base"]}),
    ]
    everything = ensemble("largest", "MAX", ["base", "more", "most"])
    await whole.serve("shares", graph(*nodes, everything, base="base", y="largest"))
    answer = await whole.own.predict("shares", {}, {"x": [1.0, 2.0]})
    assert ([3.0, 5.0], [9.0, 15.0]) == (output(answer, "base"), output(answer))
    assert [[1.0, 2.0]] == [call["x"].tolist() for call in shared.calls]
