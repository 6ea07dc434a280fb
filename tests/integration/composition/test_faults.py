"""Nodes that fail in every way there is: required ones fail the row with a clear reason, optional ones are done without.

Never does a row get an answer that its nodes have not given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from services.model.versions import Signature, TensorSpec
from tests.support.scripted_models import Arrays, ScriptedModel, refused, scalar
from tests.worlds.compositions import Compositions, degraded, looked_up, numbered, output, path
from tests.worlds.failures import failure, status_failure
from tests.worlds.graphs import cascade, ensemble, graph, node
from tests.worlds.sandbox import Sandbox

GOOD, OTHER = (1.0, 2.0, 3.0), (10.0, 20.0, 60.0)
BROUGHT_S = 1.5
# How much later than at its deadline a call may end here, on a machine that is busy otherwise.
LATE_S = 1.0


def not_a_number(inputs: Arrays) -> Arrays:
    """Each row is NaN."""
    return {"y": np.full(len(inputs["x"]), np.nan, np.float32)}


def misshapen(inputs: Arrays) -> Arrays:
    """A row has two values."""
    return {"y": np.ones((len(inputs["x"]), 2), np.float32)}


def too_few(inputs: Arrays) -> Arrays:
    """There is a row less."""
    return {"y": np.ones(len(inputs["x"]) - 1, np.float32)}


@dataclass(frozen=True)
class Fault:
    """What is done to a model, and the codes and reasons that rows may fail with then."""

    done: Callable[[ScriptedModel], AbstractContextManager[None]]
    told: set[tuple[str, str]]


UNAVAILABLE, LATE = ("UNAVAILABLE", "VERSION_NOT_LOADED"), ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
WRONG = ("INTERNAL", "INVALID_OUTPUT")
FAULTS = {
    "refuses the values": Fault(lambda model: model.answering(refused), {("INTERNAL", "RUNTIME_FAILED")}),
    "fails": Fault(lambda model: model.failing(grpc.StatusCode.INTERNAL), {UNAVAILABLE}),
    "is away": Fault(lambda model: model.failing(grpc.StatusCode.UNAVAILABLE), {UNAVAILABLE}),
    "hangs": Fault(lambda model: model.hanging(), {LATE}),
    "NaN": Fault(lambda model: model.answering(not_a_number), {WRONG}),
    "wrong shape": Fault(lambda model: model.answering(misshapen), {WRONG}),
    "too few rows": Fault(lambda model: model.answering(too_few), {WRONG}),
}
faults = pytest.mark.parametrize("name", FAULTS)


async def shaky(whole: Compositions, endpoint: str, **parts: object) -> ScriptedModel:
    """The mean of a good model and of one that will fail, at an endpoint; parts are those of the second node."""
    bad, _ = await whole.scripts(**{f"{endpoint}-bad": looked_up(*OTHER), f"{endpoint}-good": looked_up(*GOOD)})
    nodes = [node("good", f"{endpoint}-good@1.0.0"), node("bad", f"{endpoint}-bad@1.0.0", **parts)]  # type: ignore[arg-type]
    await whole.serve(endpoint, graph(*nodes, ensemble("both", "MEAN", ["good", "bad"]), y="both"))
    answer = await whole.own.predict(endpoint, {}, numbered(3))
    assert [5.5, 11.0, 31.5] == output(answer)
    assert not answer.provenance.degradations
    return bad


def named(endpoint: str, name: str) -> str:
    """A name for what a fault is tried at."""
    return f"{endpoint}-{name.lower().replace(' ', '-')}"


@faults
async def test_required_node(whole: Compositions, name: str) -> None:
    """The call fails in time, with the reason of the node's failure and the node's name."""
    fault, endpoint = FAULTS[name], named("required", name)
    bad = await shaky(whole, endpoint)
    started = time.monotonic()
    with fault.done(bad):
        request = whole.own.request(endpoint, {}, numbered(3))
        found = await failure(whole.own.mesh.gateway.Predict(request, timeout=BROUGHT_S))
    assert time.monotonic() - started < BROUGHT_S + LATE_S
    assert (found.code, found.reason) in fault.told or found.code == "DEADLINE_EXCEEDED" == next(iter(fault.told))[0]
    if found.code != "DEADLINE_EXCEEDED":
        assert "bad" in found.message


@faults
@pytest.mark.parametrize("default", [None, 7.0])
async def test_optional_node(whole: Compositions, name: str, default: float | None) -> None:
    """The prediction is made without it or with its default, in time, and says so; it is well again by itself."""
    fault, endpoint = FAULTS[name], named("optional" if default is None else "default", name)
    bad = await shaky(whole, endpoint, optional=True, defaults=None if default is None else {"y": [default]})
    started = time.monotonic()
    with fault.done(bad):
        request = whole.own.request(endpoint, {}, numbered(3))
        answer = await whole.own.mesh.gateway.Predict(request, timeout=BROUGHT_S)
    assert time.monotonic() - started < BROUGHT_S
    assert not answer.row_errors
    assert [good if default is None else (good + default) / 2 for good in GOOD] == output(answer)
    assert [("NODE_FAILED", "bad", [])] == degraded(answer)
    ((state, rows, cause),) = path(answer)["bad"]
    assert ("LEFT_OUT" if default is None else "DEFAULTED", []) == (state, rows)
    assert cause in {reason for _, reason in fault.told}
    assert [("COMPUTED", [], "")] == path(answer)["good"]


@pytest.mark.parametrize("default", [None, 7.0])
async def test_rows_of_an_optional_node(whole: Compositions, default: float | None) -> None:
    """Those that it fails are answered without it, the others with it."""
    endpoint = "rows-left-out" if default is None else "rows-defaulted"
    bad = await shaky(whole, endpoint, optional=True, defaults=None if default is None else {"y": [default]})

    def some(inputs: Arrays) -> Arrays:
        return refused(inputs) if 2 in inputs["x"] else bad.answer(inputs)

    with bad.answering(some):
        answer = await whole.own.predict(endpoint, {}, numbered(3))
    assert [5.5, 2.0 if default is None else 4.5, 31.5] == output(answer)
    assert [("NODE_FAILED", "bad", [1])] == degraded(answer)
    failed = ("LEFT_OUT" if default is None else "DEFAULTED", [1], "RUNTIME_FAILED")
    assert [("COMPUTED", [0, 2], ""), failed] == sorted(path(answer)["bad"])


async def test_rows_of_a_required_node(whole: Compositions) -> None:
    """Those that it fails fail alone."""
    bad = await shaky(whole, "rows-required")

    def some(inputs: Arrays) -> Arrays:
        return refused(inputs) if 2 in inputs["x"] else bad.answer(inputs)

    with bad.answering(some):
        answer = await whole.own.predict("rows-required", {}, numbered(3))
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "INTERNAL", "RUNTIME_FAILED") == (row, error.code, error.reason)
    assert [5.5, 31.5] == output(answer)[::2]


async def test_not_a_number_for_another_model(whole: Compositions) -> None:
    """It is handed on where it is allowed; for an input that must be finite it is a failure of the node that gives it."""
    await whole.script("holes", looked_up(1.0, np.nan))
    for name, finite in (("open", False), ("strict", True)):
        signature = Signature((TensorSpec("p", "FP32", (), finite),), scalar().outputs)
        await whole.script(name, lambda inputs: {"y": np.nan_to_num(inputs["p"], nan=-1.0)}, signature)
        nodes = [node("holes", "holes@1.0.0"), node("next", f"{name}@1.0.0", {"p": "holes"})]
        await whole.serve(f"to-{name}", graph(*nodes, y="next"))
    assert [1.0, -1.0] == output(await whole.own.predict("to-open", {}, numbered(2)))
    answer = await whole.own.predict("to-strict", {}, numbered(2))
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "INTERNAL", "INVALID_OUTPUT") == (row, error.code, error.reason)
    assert "node holes" in error.message
    assert 1.0 == output(answer)[0]


async def test_default_that_another_model_takes(whole: Compositions) -> None:
    """It stands in for the node that failed, and for that alone."""
    bad = await whole.script("source", looked_up(1, 2, 3))
    await whole.script("tenfold", lambda inputs: {"y": inputs["p"] * 10}, scalar("p"))
    nodes = [
        node("source", "source@1.0.0", optional=True, defaults={"y": [-4.0]}),
        node("next", "tenfold@1.0.0", {"p": "source"}),
    ]
    await whole.serve("handed-on", graph(*nodes, y="next", raw="source"))
    with bad.answering(refused):
        answer = await whole.own.predict("handed-on", {}, numbered(3))
    assert ([-40.0] * 3, [-4.0] * 3) == (output(answer), output(answer, "raw"))
    assert [("NODE_FAILED", "source", [])] == degraded(answer)


async def test_optional_node_behind_one_that_failed(whole: Compositions) -> None:
    """A required node's failure is not hidden by what takes from it: a node without its input has no answer."""
    first, _ = await whole.scripts(first=looked_up(1, 2, 3), steady=looked_up(5, 6, 7))
    await whole.script("second", lambda inputs: {"y": inputs["p"]}, scalar("p"))
    nodes = [
        node("first", "first@1.0.0"),
        node("second", "second@1.0.0", {"p": "first"}, optional=True),
        node("steady", "steady@1.0.0"),
    ]
    await whole.serve("behind", graph(*nodes, ensemble("all", "MEAN", ["second", "steady"]), y="all"))
    with first.answering(refused):
        found = await failure(whole.own.predict("behind", {}, numbered(3)))
    assert ("INTERNAL", "RUNTIME_FAILED") == (found.code, found.reason)


async def test_hung_optional_node_leaves_time_for_what_follows(whole: Compositions) -> None:
    """Both the node behind it and a later stage of the cascade are answered within the deadline."""
    hung, last = await whole.scripts(hung=looked_up(0.9, 0.9, 0.9), last=looked_up(0.1, 0.2, 0.3))
    await whole.script("doubled", lambda inputs: {"y": inputs["p"] * 2}, scalar("p"))
    nodes = [
        node("hung", "hung@1.0.0", optional=True),
        node("last", "last@1.0.0"),
        cascade("both", ("hung", 0.8), "last"),
        node("next", "doubled@1.0.0", {"p": "both"}),
    ]
    await whole.serve("in-time", graph(*nodes, y="next"))
    for _ in range(20):
        await whole.own.predict("in-time", {}, numbered(3))
    with hung.hanging():
        request = whole.own.request("in-time", {}, numbered(3))
        answer = await whole.own.mesh.gateway.Predict(request, timeout=BROUGHT_S)
    assert pytest.approx([0.2, 0.4, 0.6]) == output(answer)
    assert [("NODE_FAILED", "hung", [])] == degraded(answer)
    assert [("CHOSEN", [], "last")] == path(answer)["both"]
    assert [1.0, 2.0, 3.0] == last.asked()


async def test_version_of_a_node_that_is_loaded_nowhere(whole: Compositions, own: Sandbox) -> None:
    """An endpoint is led to it only by who insists, and fails with the reason that a plain one has."""
    await own.model("absent")
    await own.register_at(whole.server.target("nobody"), "absent", "1.0.0", scalar(), {"x": ["request:x"]})
    await own.model("led")
    await own.compose("led", "1.0.0", graph(node("a", "absent@1.0.0"), y="a"))
    refusal = await failure(own.endpoint("led", "led", version="1.0.0"))
    assert ("FAILED_PRECONDITION", "VERSION_NOT_READY") == (refusal.code, refusal.reason)
    assert "absent@1.0.0" in refusal.message
    await own.endpoint("led", "led", version="1.0.0", allow_unready=True)
    found = await failure(own.predict("led", {}, numbered(1)))
    assert ("UNAVAILABLE", "VERSION_NOT_LOADED") == (found.code, found.reason)
