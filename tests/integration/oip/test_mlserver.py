"""Versions whose model is at a real MLServer: answers, failures, and what happens while it is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from tests.integration.oip.conftest import VERSION, World
from tests.support.commands import succeed
from tests.support.valkey import free_port, wait_until

AWAY = {
    DegradationReason.DEGRADATION_REASON_RUNTIME_FAILED,
    DegradationReason.DEGRADATION_REASON_RUNTIME_NOT_READY,
}


def values(answer: PredictResponse) -> dict[str, list[float] | list[int]]:
    """Return the outputs by name."""
    return {tensor.name: list(tensor.floats) or list(tensor.ints) for tensor in answer.outputs}


def fallbacks(answer: PredictResponse) -> set[tuple[str, int]]:
    """Return which runtimes others stood in for, with the reason."""
    return {(found.subject, found.reason) for found in answer.provenance.degradations if found.subject != "plane"}


def code_of(world: World, version: str, word: str) -> tuple[grpc.StatusCode, str]:
    """Return what a prediction fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        world.predict(version, word)
    error: Any = caught.value
    return error.code(), error.details()


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_answer(world: World, version: str) -> None:
    """Stored and request-time values reach the server, texts as they are, and every output comes back."""
    answer = world.predict(version, "ab", "", "äöü")
    assert {"y": [11.5, 9.5, 15.5], "k": [2, 0, 6]} == values(answer)
    assert ("oip", set()) == (answer.provenance.runtime, fallbacks(answer))


def test_values_that_it_does_not_like(world: World) -> None:
    """What the server refuses is the caller's, what it fails on is the model's; both say no more than that."""
    assert (grpc.StatusCode.INVALID_ARGUMENT, "the inference server refused this input") == code_of(
        world, "1.0.0", "refuse"
    )
    assert (grpc.StatusCode.INTERNAL, "the inference server failed on this input") == code_of(world, "1.0.0", "fail")
    assert {"y": [10.5], "k": [1]} == values(world.predict("1.0.0", "a"))


def test_model_that_declares_nothing(world: World) -> None:
    """MLServer may know nothing of a model's tensors; the version's signature is then taken for true."""
    assert 0 == world.register("2.0.0", f"{world.server.grpc}/bare").code
    assert {"y": [10.5], "k": [1]} == values(world.predict("2.0.0", "a"))


@pytest.mark.parametrize(
    ("version", "model", "old", "message"),
    [
        ("3.0.0", "/nobody", "", "has no model 'nobody' that is ready"),
        ("3.0.1", "/lengths/4", "", "has no model 'lengths' of version '4' that is ready"),
        ("3.0.2", "", "", "has no model 'delay' that is ready"),
        ("3.0.3", "/lengths", "k, type: INT64", "'k' is INT64 in the model, FP32 in the signature"),
    ],
)
def test_wrong_model(world: World, version: str, model: str, old: str, message: str) -> None:
    """Who registers it is told at once, and `models show` tells everybody else."""
    document = VERSION.replace(old, "k, type: FP32") if old else VERSION
    outcome = world.register(version, world.server.grpc + model, document=document)
    assert (2, True) == (outcome.code, message in outcome.err), outcome.err
    shown = succeed("models", "show", "delay", *world.at)
    assert f"oip {world.server.grpc}{model}" in shown
    assert any(line.startswith(version) and message in line for line in shown.splitlines())
    succeed("models", "delete", "delay", version, "--yes", *world.at)


def test_server_that_is_not_there(world: World) -> None:
    """The fallback serves from the start, and answers say that the first choice is not ready."""
    target = f"127.0.0.1:{free_port()}/lengths"
    outcome = world.register("4.0.0", target, *world.onnx)
    assert (0, True) == (outcome.code, "ready on onnx" in outcome.out), outcome.err
    assert "not ready on oip" in outcome.out
    answer = world.predict("4.0.0", "ab")
    assert {"y": [9.5], "k": [-4]} == values(answer)
    assert ("onnx", {("oip", DegradationReason.DEGRADATION_REASON_RUNTIME_NOT_READY)}) == (
        answer.provenance.runtime,
        fallbacks(answer),
    )
    wait_until(lambda: "cannot be reached" in succeed("models", "show", "delay", *world.at), "a message")
    messages = json.loads(succeed("models", "show", "delay", "--json", *world.at))["messages"]
    assert ["oip: the inference server cannot be reached"] == messages["4.0.0"]
    succeed("models", "delete", "delay", "4.0.0", "--yes", *world.at)


class Traffic(threading.Thread):
    """Predictions of a version one after the other, with what came of them, until `stopped`."""

    def __init__(self, world: World, version: str) -> None:
        super().__init__()
        self.answers: list[PredictResponse] = []
        self.failures: list[grpc.RpcError] = []
        self.stopped = threading.Event()
        self._world = world
        self._version = version

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                self.answers.append(self._world.predict(self._version, "ab"))
            except grpc.RpcError as error:
                self.failures.append(error)

    def wait_for(self, runtime: str) -> None:
        """Wait for a new answer of a runtime."""
        seen = len(self.answers)
        wait_until(lambda: runtime in {each.provenance.runtime for each in self.answers[seen:]}, f"{runtime} answers")


@contextmanager
def traffic(world: World, version: str) -> Iterator[Traffic]:
    """Predict all the time that the context lasts."""
    running = Traffic(world, version)
    running.start()
    try:
        yield running
    finally:
        running.stopped.set()
        running.join()


def test_server_dies_and_comes_back(world: World) -> None:
    """No prediction fails while the server is away: ONNX Runtime answers and is named. Then the server answers again."""
    with traffic(world, "1.1.0") as predictions:
        predictions.wait_for("oip")
        with world.away():
            predictions.wait_for("onnx")
        predictions.wait_for("oip")
    assert [] == predictions.failures
    expected = {"oip": ({"y": [11.5], "k": [2]}, False), "onnx": ({"y": [9.5], "k": [-4]}, True)}
    for answer in predictions.answers:
        told = fallbacks(answer)
        assert expected[answer.provenance.runtime] == (values(answer), bool(told))
        assert all(subject == "oip" and reason in AWAY for subject, reason in told)


def test_version_without_a_fallback(world: World) -> None:
    """It is UNAVAILABLE while the server is away, and answers when it is back, without anybody's help."""
    with world.away():
        assert grpc.StatusCode.UNAVAILABLE is code_of(world, "1.0.0", "ab")[0]

    def answers() -> bool:
        try:
            return values(world.predict("1.0.0", "ab")) == {"y": [11.5], "k": [2]}
        except grpc.RpcError:
            return False

    wait_until(answers, "an answer")
