"""A composed version and its ladder from the command line: drawn, with what goes along its edges, and asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import grpc
import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed
from tests.support.waiting import until

# Nothing stored counts 2.5 in all, so `plain` gives 2.5 more than the distance: it is sure from a distance of 7.5 on.
COMPOSED = """\
kind: Version
model: delay
version: 3.0.0
graph:
  nodes:
    plain: {model: delay@1.0.0}
    double: {model: delay@2.0.0, optional: true, defaults: {y: [-1]}}
    both: {ensemble: mean, of: [plain.y, double.y]}
    sure: {cascade: [{node: plain, threshold: 10, measure: value}, {node: both}]}
  outputs: {y: sure}
"""
ENDPOINT = """\
kind: Endpoint
name: delay-composed
model: delay
route: {version: 3.0.0}
fallbacks:
- version: 1.0.0
- answer: {y: [0.25]}
"""
DRAWN = """\
delay-composed: delay 3.0.0

      ┌─ plain  delay 1.0.0
     ▸│  x         FP32[4]  plane (2), request (distance)
╭─────┴─ y         FP32[1]
│
│     ┌─ double  delay 2.0.0, optional, else y -1.0
│    ▸│  x         FP32[4]  plane (2), request (distance)
│ ╭───┴─ y         FP32[1]
│ │
│ │   ┌─ both  mean
├─┼──▸│  plain.y   FP32[1]
│ ╰──▸│  double.y  FP32[1]
│ ╭───┴─ y         FP32[1]
│ │
│ │   ┌─ sure  cascade
╰─┼──▸│  plain.y   FP32[1]  stage 1, stands from value 10
  ╰──▸│  both.y    FP32[1]  stage 2, stands always
╭─────┴─ y         FP32[1]
│
│     ┌─ answer
╰────▸│  sure.y    FP32[1]
      └─

fallback ladder, for rows that fail:
1. version 1.0.0
2. answer y 0.25
"""


@pytest.fixture(scope="module")
def composed(world: World) -> Iterator[World]:
    """An endpoint that a composed version answers, for the time of these tests."""
    succeed("models", "register", "-f", world.file("3.0.0.yaml", COMPOSED), *world.at)
    succeed("apply", "-f", world.file("composed.yaml", ENDPOINT), *world.at)
    until(lambda: succeed("endpoints", *world.at), lambda shown: "delay-composed" in shown)
    yield world
    succeed("endpoints", "delete", "delay-composed", "--yes", *world.at)
    succeed("models", "delete", "delay", "3.0.0", "--yes", *world.at)


@contextmanager
def callers(world: World) -> Iterator[None]:
    """One caller after the other, of whom each fifth needs both nodes."""
    over = threading.Event()

    def call() -> None:
        with grpc.insecure_channel(world.up.addresses.gateway) as channel:
            stub = PredictionServiceStub(channel)
            for number in count():
                if over.wait(0.002):
                    return
                distance = 0.0 if number % 5 == 0 else 20.0
                entities = [Tensor(name="tail", strings=["N1"]), Tensor(name="slot", ints=[1])]
                features = [Tensor(name="distance", floats=[distance])]
                stub.Predict(
                    PredictRequest(endpoint="delay-composed", entities=entities, features=features), timeout=10
                )

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_drawn(composed: World) -> None:
    """Nodes, types on the edges, and the ladder, as registered."""
    assert DRAWN == succeed("graph", "show", "delay-composed", *composed.at)


def test_other_versions(composed: World) -> None:
    """A plain version is one block; an endpoint or a version that is not there is a mistake."""
    shown = succeed("graph", "show", "delay-composed", "--version", "1.0.0", *composed.at)
    assert "┌─ delay  1.0.0\n" in shown
    assert "no fallback ladder" in succeed("graph", "show", "delay", *composed.at)
    assert (2, True) == _refused(run("graph", "show", "nobody", *composed.at), "[UNKNOWN_ENDPOINT]")
    assert (2, True) == _refused(
        run("graph", "show", "delay-composed", "--version", "9.x", *composed.at), "[UNKNOWN_VERSION]"
    )


def _refused(outcome: Any, reason: str) -> tuple[int, bool]:
    return outcome.code, reason in outcome.err


def test_live(composed: World) -> None:
    """Edges tell the rows that gateways have counted meanwhile, and how long the calls took."""
    with callers(composed):
        shown = json.loads(
            succeed("graph", "show", "delay-composed", "--live", "--interval", "500ms", "--json", *composed.at)
        )
    (version,) = shown["versions"]
    assert version["calls"]["per_second"] > 0
    assert 1 == version["calls"]["share"]
    flows = {(block["name"], edge["label"]): edge["flow"] for block in version["blocks"] for edge in block["takes"]}
    first, second = flows["sure", "plain.y"], flows["sure", "both.y"]
    assert 1 == pytest.approx(first["share"], abs=0.1)
    assert 0.2 == pytest.approx(second["share"], abs=0.1)
    assert 0 < first["p50_s"] <= first["p99_s"]
    assert second["p50_s"] is None
    assert flows["both", "double.y"]["p50_s"] > 0


def test_live_without_gateway(composed: World) -> None:
    """A gateway that does not answer is named with the option that names others."""
    outcome = run("graph", "show", "delay-composed", "--live", "--http", "127.0.0.1:1", *composed.at)
    assert (1, True) == (outcome.code, "cannot reach the gateway at 127.0.0.1:1 (--http)" in outcome.err)


def test_path_of_an_answer(composed: World) -> None:
    """An answer tells its path, node by node."""
    asked = ("delay-composed", "--entity", "tail=N1", "--entity", "slot=1", "--feature")
    sure = succeed("predict", *asked, "distance=20", *composed.at)
    assert ["double", "skipped", "all", "plain", "was", "sure"] == _line(sure, "double")
    assert ["sure", "chosen", "all", "plain", "stands"] == _line(sure, "sure")
    unsure = succeed("explain", *asked, "distance=0", *composed.at)
    assert ["double", "computed", "all"] == _line(unsure, "double")[:3]
    assert ["sure", "chosen", "all", "both", "stands"] == _line(unsure, "sure")


def _line(shown: str, node: str) -> list[str]:
    """The words of a node's line."""
    return next(line.split() for line in shown.splitlines() if line.startswith(f"{node} "))
