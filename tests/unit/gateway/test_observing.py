"""Who hears of what became of a request."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.gateway import predict
from services.gateway.prediction import Prediction
from services.gateway.request import PredictCall
from services.gateway.routing import Endpoint, Route
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError, Reason
from tests.support.predictions import StoredRow, call, column, snapshot, version, view
from tests.support.waiting import eventually
from tests.unit.gateway.world import World

BOUND = {"x:FP32": ["rider:a"]}
DEFINED = snapshot(view("rider", "a:FP32"), versions=[version(BOUND), version(BOUND, number="1.1.0", digest="e")])
ONE = column("rider_id", "a")


class Told:
    """What an observer has heard: versions answered, and reasons of failures."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []

    def answered(self, call: PredictCall, endpoint: Endpoint, prediction: Prediction, seconds: float) -> None:
        assert seconds > 0
        self.answers.append(prediction.route.target.version)

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        self.failures.append(error.reason)


class Faulty(Told):
    """An observer with a fault."""

    def answered(self, *told: object) -> None:
        raise KeyError("fault")

    def failed(self, *told: object) -> None:
        raise KeyError("fault")


@pytest.fixture
def told() -> Told:
    """An observer."""
    return Told()


@pytest.fixture
def world(told: Told) -> World:
    """A flow that tells one that fails, then the other."""
    made = World({"a": StoredRow({"rider:a": 2.0})}, Faulty(), told)
    made.flow.use(made.tables.build(DEFINED))
    return made


async def test_observers_hear_of_every_routed_request(
    world: World, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """Of answers and failures, the caller's too, but not of what leads nowhere; a faulty one harms nobody."""
    await world.flow.run(call(ONE, pin="1.1.0"))
    for wrong in (call(), call(endpoint="other"), call(pin="9.9.9")):
        with pytest.raises(MeshError):
            await world.flow.run(wrong)
    assert (["1.1.0"], [Reason.MISSING_KEY]) == (told.answers, told.failures)
    assert ["an answer could not be observed", "a failure could not be observed"] == [
        record.message for record in caplog.records
    ]


@pytest.mark.parametrize(
    ("left_s", "heard"), [(0.005, [Reason.DEADLINE_EXCEEDED]), (-0.1, [Reason.DEADLINE_EXCEEDED]), (5, []), (None, [])]
)
async def test_a_call_that_is_ended_at_its_deadline_has_failed(
    world: World, told: Told, left_s: float | None, heard: list[Reason]
) -> None:
    """GRPC cancels it, at times before we notice. A call that its caller cancels while there is time is none of ours."""
    world.features.gate.clear()
    deadline = None if left_s is None else Deadline.after(60)
    asking = asyncio.create_task(world.flow.run(call(ONE, deadline=deadline)))
    await eventually(lambda: bool(world.features.calls))
    if deadline is not None and left_s is not None:
        object.__setattr__(deadline, "at", time.monotonic() + left_s)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert heard == told.failures


async def test_a_fault_of_ours_is_a_failure(world: World, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a version makes go wrong speaks against it, errors that nobody has foreseen too."""

    def faulty(*given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(predict, "member_of", faulty)
    with pytest.raises(ZeroDivisionError):
        await world.flow.run(call(ONE))
    assert [Reason.INTERNAL] == told.failures
