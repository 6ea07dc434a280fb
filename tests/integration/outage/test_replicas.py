"""Feature and model services die and come back: another replica answers, and without one every failure has a reason."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest

from tests.worlds.failures import Failure, failure_of
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic

REASONS = {
    "UPSTREAM_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "VERSION_NOT_LOADED",
    "SHUTTING_DOWN",
    "NOT_READY",
    "CIRCUIT_OPEN",
}


# A call that is only late, on a machine with much else to do, is not lost.
PATIENCE_S = 20.0


def replicas(whole: Parts, service: str) -> list[Part]:
    """The two of a service."""
    return whole.features if service == "features" else whole.models


@pytest.mark.parametrize(("service", "method"), [("features", "GetFeatures"), ("model", "ModelInfer")])
async def test_one_after_the_other_is_replaced(own: Sandbox, whole: Parts, service: str, method: str) -> None:
    """A rollout costs no call: not even the first ones of a replica that knows no plan and has loaded nothing yet."""
    async with traffic(own, "ride", timeout_s=PATIENCE_S) as calls:
        for replica in replicas(whole, service):
            replica.stop()
            await calls.more()
            replica.start()
            await replica.until_called(method)
            await calls.more()
    calls.flawless()


@pytest.mark.parametrize("service", ["features", "model"])
async def test_one_crashes(own: Sandbox, whole: Parts, service: str) -> None:
    """What was under way at a replica that is killed is asked of the other one."""
    async with traffic(own, "ride") as calls:
        replicas(whole, service)[0].kill()
        await calls.more()
        replicas(whole, service)[0].start()
        await replicas(whole, service)[0].until_ready()
        await calls.more()
    calls.flawless()


@pytest.mark.parametrize("service", ["features", "model"])
async def test_all_crash(own: Sandbox, whole: Parts, service: str) -> None:
    """Without a replica calls fail with a reason, and no answer is wrong; with one again they are answered."""
    async with traffic(own, "ride") as calls:
        for replica in replicas(whole, service):
            replica.kill()

        async def failing() -> bool:
            return len(calls.failures) > 20

        await eventually(failing, "failures")
        replicas(whole, service)[0].start()
        await calls.more()
    assert not calls.wrong
    assert {each.reason for each in calls.failures} <= REASONS
    assert not {each.message for each in calls.failures if "127.0.0.1" in each.message}
    assert {"UNAVAILABLE", "DEADLINE_EXCEEDED"} >= {each.code for each in calls.failures}


async def test_calls_under_way_when_a_gateway_stops(own: Sandbox, whole: Parts) -> None:
    """A gateway that is told to stop answers what it has taken; what comes later is told to go elsewhere."""
    async with traffic(own, "ride") as calls:
        whole.gateway.stop()
    assert not calls.wrong
    assert {"UNAVAILABLE"} >= {each.code for each in calls.failures}


async def test_the_store_keeps_what_it_acknowledged(own: Sandbox, whole: Parts) -> None:
    """Every write that was acknowledged before the store was killed is there when it is back."""
    acknowledged: list[int] = []

    async def write() -> Failure:
        for number in itertools.count(1):
            try:
                await own.write("rider", {"rider_id": [f"w{number}"]}, {"tens": [float(number)]})
            except grpc.aio.AioRpcError as error:
                return failure_of(error)
            acknowledged.append(number)
        raise AssertionError("unreachable")

    async def written() -> bool:
        return len(acknowledged) > 100

    writing = asyncio.create_task(write())
    await eventually(written, "writes")
    whole.store.kill()
    refused = await writing
    assert ("UNAVAILABLE", "STORE_UNAVAILABLE") == (refused.code, refused.reason)

    whole.store.start()
    async with traffic(own, "ride") as calls:
        await calls.more(1)
    assert not calls.wrong
    for numbers in batched(acknowledged, 256):
        answer = await own.predict("ride", {"rider_id": [f"w{number}" for number in numbers]})
        assert [float(number) for number in numbers] == values(answer.outputs[0])
        assert not answer.provenance.degradations


def batched(numbers: list[int], size: int) -> list[list[int]]:
    """Cut a list into lists of at most `size`."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
